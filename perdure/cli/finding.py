"""What `perdure doctor` says."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One line. A `problem` keeps the server from starting; a `note` is missing, and it starts all the same."""

    mark: Literal["ok", "note", "problem"]
    subject: str
    text: str
