"""What a store offers the floors above: units of work, read or write.

A unit is one plain function `fn(conn)`. It may run in another thread (SQLite) or a greenlet (PostgreSQL), so it touches
nothing but its connection and its arguments, and it may run again after a transient failure.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from perdure.domain.errors import Unavailable

VERSION_TABLE: Final = "alembic_version"
"""The table that says which migration a database is at."""
NOT_OURS: Final = (
    "The database holds tables that are not Perdure's, perhaps those of a Letta server. Choose an empty one with "
    "--database-url, or another --data directory."
)

MAX_WAITING: Final = 20_000
"""Units that may wait to be run, before more are refused."""
BEHIND: Final = "The database cannot keep up with what it is asked for. Try again later."
RETRY_S: Final = 5
"""Seconds after which a caller is asked to try again what the database could not do."""

T = TypeVar("T")
Unit = Callable[[Connection], T]


class Database(Protocol):
    """One open database."""

    @property
    def location(self) -> str:
        """Where the data is, for people: a path or a URL without its password."""
        ...

    async def read(self, unit: Unit[T]) -> T:
        """Run `unit` on a consistent snapshot. Raises Unavailable where the database cannot be reached."""
        ...

    async def write(self, unit: Unit[T], *, repeatable: bool = False) -> T:
        """Run `unit` in a transaction of its own and return once it is durable.

        Units submitted together may share one commit; an exception undoes its own unit alone and is raised here.
        Raises Unavailable where the commit itself fails; then nothing of the unit is kept. A `repeatable` unit finds
        out by itself whether it was kept before, so where that is unclear it just runs again.
        """
        ...

    async def migrate(self, unit: Unit[T]) -> T:
        """Run `unit`, which changes the schema, in a transaction that no other process does this beside."""
        ...

    async def backup(self, name: str) -> str | None:
        """Make a consistent copy beside the data, with `name` in its own; returns where it is.

        None where the database is not ours to copy.
        """
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may use it at the same time."""
        ...

    @property
    def wakes(self) -> bool:
        """Whether signals of other processes arrive now. Where they do not, whoever waits for one has to look.

        True also where there can be no other process.
        """
        ...

    def listen(self, handler: Callable[[str], None]) -> None:
        """Call `handler` on the event loop with each signal from now on (`store/signals.py`), our own too.

        With an empty text where some may have been missed: whenever the connection that listens was made, or made anew.
        """
        ...

    async def close(self) -> None:
        """Finish what is queued and let go of the files."""
        ...


_PASSING: Final = ("08", "25P03", "3F", "40", "42501", "42P01", "53", "55P03", "57", "58")
"""SQLSTATEs, by their beginnings: connections that broke, transactions that collided, lack of resources, and tables or
rights that somebody took away."""


def is_passing(error: BaseException) -> bool:
    """Whether an error of the database says nothing about the statement, so that the transaction is worth repeating."""
    if isinstance(error, Unavailable | OperationalError | OSError) or hasattr(error, "sqlite_errorcode"):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "").startswith(_PASSING)


class SavepointWanted(BaseException):
    """A part of a unit failed that could be undone only with all of it: the unit is to run again with savepoints."""


class Savepoint:
    """Undoes one part of a unit of work when it raises, and leaves the rest of the transaction alone.

    Where each statement is a journey, a store may hope for the best, and set none until a unit turns out to want one.
    """

    def __init__(self, conn: Connection) -> None:
        self._is_set = conn.info.get("savepoints", True)
        driver = conn.info.get("driver")
        self._execute: Callable[[str], object] = conn.exec_driver_sql if driver is None else driver.execute
        self._faults: tuple[type[Exception], ...] = conn.info["faults"]

    def __enter__(self) -> None:
        if self._is_set:
            self._execute("SAVEPOINT part")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._is_set:
            if error is not None:
                raise SavepointWanted from error
            return
        if kind is None:
            self._execute("RELEASE SAVEPOINT part")
            return
        # A full disk ends the whole transaction, and the savepoint with it; what is raised is the reason.
        with suppress(*self._faults):
            self._execute("ROLLBACK TO SAVEPOINT part")
            self._execute("RELEASE SAVEPOINT part")
