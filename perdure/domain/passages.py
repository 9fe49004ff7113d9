"""A passage is one text of an archive."""

from typing import Any, Final

import msgspec

MAX_TOKENS: Final = 8_192
BYTES_PER_TOKEN: Final = 4
MAX_BYTES: Final = MAX_TOKENS * BYTES_PER_TOKEN
"""How much text a passage may hold: about so many tokens, which is what embedding models take."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One text. `created_at` is when it was written, as its writer says; `seq` numbers passages as they are stored.

    `embedding_model` is the handle of the model that made its vector; None while there is none.
    """

    id: str
    archive_id: str
    text: str
    created_at: int
    updated_at: int
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    embedding_model: str | None = None
    seq: int = 0
