"""The two databases as tests see them: an empty place in either, looked at from outside, blocked, filled, crashed."""

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection

from perdure.domain.errors import Unavailable
from perdure.store.database import Database
from perdure.store.options import PostgresOptions
from perdure.store.postgres import open_postgres
from perdure.store.sqlite import open_sqlite
from tests.rig import postgres

SQLITE, POSTGRESQL = "sqlite", "postgresql"
NAMES = (SQLITE, POSTGRESQL)


class Place(Protocol):
    """Where one database is or will be. It outlives those who open it."""

    @property
    def environment(self) -> dict[str, str]:
        """What makes a server use it."""
        ...

    async def open(self, patience: float = 5.0) -> Database:
        """Open it; what is in its way is waited for so many seconds."""
        ...

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What is durable now, seen through a connection of its own."""
        ...

    def held(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Somebody else is busy with it meanwhile, so that nothing can be written."""
        ...

    def full(self, db: Database) -> contextlib.AbstractAsyncContextManager[None]:
        """There is no room meanwhile for what it is asked to keep of runs."""
        ...

    def crashed(self) -> "Place":
        """A copy as a process that is killed now would leave it: what is committed, and nothing after."""
        ...

    def close(self) -> None: ...


class SqlitePlace:
    """A data directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def environment(self) -> dict[str, str]:
        return {"PERDURE_DATA": str(self.directory)}

    @property
    def file(self) -> Path:
        return self.directory / "perdure.db"

    async def open(self, patience: float = 5.0) -> Database:
        return open_sqlite(self.directory, "normal", patience=patience)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.file)) as conn:
            return conn.execute(sql).fetchall()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as somebody:
            somebody.execute("BEGIN IMMEDIATE")
            yield
            somebody.execute("ROLLBACK")

    @contextlib.asynccontextmanager
    async def full(self, db: Database) -> AsyncIterator[None]:
        await db.write(lambda conn: _grow_to(conn, self.query("PRAGMA page_count")[0][0]))
        yield
        # Tried again where it shares a commit with what still does not fit.
        for _ in range(100):
            with contextlib.suppress(Unavailable):
                await db.write(lambda conn: _grow_to(conn, 1_000_000))
                return
        raise AssertionError("the disk stays full")

    def crashed(self) -> "SqlitePlace":
        copy = self.directory.with_name(f"{self.directory.name}-crashed")
        copy.mkdir()
        for file in self.directory.glob("perdure.db*"):
            shutil.copy(file, copy)
        return SqlitePlace(copy)

    def close(self) -> None:
        """Nothing: the test's own directory goes with the test."""


def _grow_to(conn: Connection, pages: int) -> None:
    conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


class PostgresPlace:
    """A database of the shared cluster, with our tables in it and nothing else."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = postgres.shared().url(name)
        self._copies: list[PostgresPlace] = []

    @property
    def environment(self) -> dict[str, str]:
        return {"PERDURE_DATABASE_URL": self.url}

    async def open(self, patience: float = 5.0) -> Database:
        return await open_postgres(PostgresOptions(url=self.url, connections=5, seconds=patience))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return postgres.query(self.url, sql)

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        async with postgres.transaction(self.url, "LOCK TABLE runs, run_events, messages IN EXCLUSIVE MODE"):
            yield

    @contextlib.asynccontextmanager
    async def full(self, db: Database) -> AsyncIterator[None]:
        for table in ("run_events", "messages"):
            self.query(f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()")
        try:
            yield
        finally:
            for table in ("run_events", "messages"):
                self.query(f"DROP TRIGGER full_disk ON {table}")

    def crashed(self) -> "PostgresPlace":
        self._copies.append(PostgresPlace(postgres.copy_of(self.name)))
        # As when the lease of the process has run out, for which nobody need wait here.
        self._copies[-1].query("DELETE FROM servers")
        return self._copies[-1]

    def close(self) -> None:
        for copy in self._copies:
            postgres.drop(copy.name)
        postgres.give_back(self.name)


def new_place(store: str, directory: Path) -> Place:
    """An empty place in a database of this kind."""
    return SqlitePlace(directory) if store == SQLITE else PostgresPlace(postgres.borrow())


@contextlib.contextmanager
def places(store: str, directory: Path) -> Iterator[Any]:
    """Makes places, `directory` being for those that are files; all are closed in the end."""
    made: list[Place] = []

    def new() -> Place:
        made.append(new_place(store, directory / f"data{len(made)}"))
        return made[-1]

    try:
        yield new
    finally:
        for place in made:
            place.close()
