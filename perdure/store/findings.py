"""What `perdure check` finds: something in a database that ought not to be, and what was done about it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

IDS_NAMED: Final = 20
"""Ids that one finding names; where there are more it says how many."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `ids` are of the rows it is about; `repaired` says what was done, None for nothing."""

    check: str
    problem: str
    ids: tuple[str, ...]
    repaired: str | None = None


Check = Callable[[Connection, bool], Iterator[Finding]]
"""Looks through a database; with True it mends what it finds."""


def finding(check: str, problem: str, ids: Iterable[Any], repaired: str | None = None) -> Finding:
    """A finding about these rows, of which it names the first ones."""
    every = [str(each) for each in ids]
    more = f" ({len(every)} in all)" if len(every) > IDS_NAMED else ""
    return Finding(check=check, problem=problem + more, ids=tuple(every[:IDS_NAMED]), repaired=repaired)
