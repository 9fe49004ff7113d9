"""Waking other processes on the same database: one sends a line of text as part of a unit of work, all others get it.

A signal says that something is worth looking at, and is never the only way to find out: one that is sent while the
receiver's connection is down is lost (see `Database.wakes`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from perdure.store.hot import Hot

CHANNEL: Final = "perdure"
MAX_BYTES: Final = 7_999
"""What one signal may hold, encoded as UTF-8."""
IDS_IN_A_SIGNAL: Final = 150

_NOTIFY: Final = Hot(select(func.pg_notify(CHANNEL, bindparam("text"))))


def notify(conn: Connection, text: str) -> None:
    """Send `text` to everyone who listens on this database, this process included, once the unit is committed.

    The same text sent twice in one unit arrives once. `text` is at most `MAX_BYTES` long. Nothing happens on a database
    that only one process can open.
    """
    _SENDERS[conn.dialect.name](conn, text)


def notify_of(conn: Connection, what: str, ids: Sequence[str]) -> None:
    """Send the word `what`, and after a space these ids with commas between; as several signals, if need be."""
    for at in range(0, len(ids), IDS_IN_A_SIGNAL):
        notify(conn, f"{what} {','.join(ids[at : at + IDS_IN_A_SIGNAL])}")


def _notify_nobody(conn: Connection, text: str) -> None:
    """One process, which knows."""


def _notify_all(conn: Connection, text: str) -> None:
    _NOTIFY.rows(conn, text=text)


_SENDERS: Final[Mapping[str, Callable[[Connection, str], None]]] = {
    "sqlite": _notify_nobody,
    "postgresql": _notify_all,
}
