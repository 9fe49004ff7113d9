"""One connection to PostgreSQL, and the transactions in which units of work run on it.

A unit is a plain function, so it runs in a greenlet: what it sends to the database is awaited outside of it.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_, greenlet_spawn

from perdure.store.database import SavepointWanted, Unit
from perdure.store.postgres_faults import FAULTS

T = TypeVar("T")

CONNECT_SECONDS: Final = 10
IDLE_SECONDS: Final = 30.0
"""After so long a silence a connection is tried before it is used: what lies between may have dropped it unsaid."""
PING_SECONDS: Final = 5.0
CACHED_STATEMENTS: Final = 512
STUCK_SECONDS: Final = 15
"""How long a transaction may stand still before the database ends it, and lets go of what it locked."""

_PASSWORD: Final = re.compile(r"(?<=://)([^:@/?]*):[^@/?]*(?=@)|(?<=password=)[^&]*")
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database is and how it is spoken to.

    `url` is as libpq has it. `pooler` says that something between lends a connection for one transaction only, so that
    nothing may outlive that. A statement ends in an error after `statement_seconds`; None lets it take its time.
    """

    url: str
    pooler: bool = False
    statement_seconds: float | None

    @property
    def location(self) -> str:
        """The URL without its password."""
        return _PASSWORD.sub(lambda found: f"{found[1]}:***" if found[1] is not None else "***", self.url)

    @property
    def limits(self) -> dict[str, str]:
        """Settings of the database that hold for each of our transactions. 0 stands for no limit."""
        unlimited = self.statement_seconds is None
        return {
            "statement_timeout": "0" if self.statement_seconds is None else f"{self.statement_seconds * 1000:.0f}",
            "idle_in_transaction_session_timeout": "0" if unlimited else f"{STUCK_SECONDS * 1000}",
        }


class Link:
    """An open connection. Make one with `Linker.link`; it runs one unit at a time."""

    def __init__(self, conn: Connection, raw: asyncpg.Connection, prologue: str) -> None:
        self._conn = conn
        self._raw = raw
        self._prologue = prologue
        self._used_at = time.monotonic()
        conn.info["driver"] = _Driver(raw)
        conn.info["faults"] = FAULTS

    @property
    def gone(self) -> bool:
        """Whether it is known to be broken."""
        return self._raw.is_closed()

    async def check(self) -> None:
        """Find out whether it still works, after a long silence. Raises what the driver raises where it does not."""
        if time.monotonic() - self._used_at > IDLE_SECONDS:
            await asyncio.wait_for(self._raw.execute(""), PING_SECONDS)

    async def read(self, unit: Unit[T]) -> T:
        """Run `unit` on one snapshot."""
        self._conn.info["savepoints"] = True
        await self._raw.execute(_READ + self._prologue)
        try:
            return await greenlet_spawn(unit, self._conn)
        finally:
            await self._roll_back()

    async def write(self, unit: Unit[T], *, repeatable: bool = False) -> T:
        """Run `unit` in a transaction of its own. Raises Unsettled where the connection breaks while it is committed.

        Its statements each see what others have committed by then, so that one which waited for a lock sees why.
        """
        try:
            return await self._write(unit, repeatable=repeatable, savepoints=False)
        except SavepointWanted:
            return await self._write(unit, repeatable=repeatable, savepoints=True)

    async def _write(self, unit: Unit[T], *, repeatable: bool, savepoints: bool) -> T:
        self._conn.info["savepoints"] = savepoints
        number: str | None = None
        await self._raw.execute(_WRITE + self._prologue)
        try:
            result = await greenlet_spawn(unit, self._conn)
            if not repeatable:
                number = await self._raw.fetchval("SELECT pg_current_xact_id_if_assigned()::text")
        except BaseException:
            await self._roll_back()
            raise
        try:
            await self._raw.execute("COMMIT")
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError) as error:
            if number is None:  # nothing was written, or the unit will see by itself
                raise
            raise Unsettled(number, result) from error
        self._used_at = time.monotonic()
        return result

    async def status(self, number: str) -> str | None:
        """What became of a transaction: `committed`, `aborted` or `in progress`; None where that is forgotten."""
        return await self._raw.fetchval("SELECT pg_xact_status($1::text::xid8)", number)

    async def close(self, *, broken: bool = False) -> None:
        """Let go of it; one that is `broken` is not asked to say goodbye."""
        try:
            if not broken:
                await self._raw.close(timeout=PING_SECONDS)
        except FAULTS:
            broken = True
        if broken:
            self._raw.terminate()
        await greenlet_spawn(self._conn.invalidate)
        await greenlet_spawn(self._conn.close)

    async def _roll_back(self) -> None:
        self._used_at = time.monotonic()
        if self._raw.is_closed():
            return
        try:
            await self._raw.execute("ROLLBACK")
        except FAULTS:
            # The database undoes what its client leaves behind.
            self._raw.terminate()


class Unsettled(Exception):
    """The connection broke while a transaction was committed: only the database knows whether it was.

    `number` is what it knows the transaction by, `result` what the unit gave.
    """

    def __init__(self, number: str, result: Any) -> None:
        super().__init__(number)
        self.number = number
        self.result = result


class Linker:
    """Makes connections to one database."""

    def __init__(self, target: Target) -> None:
        self._target = target
        options = {
            "async_creator_fn": self.connect,
            "prepared_statement_cache_size": 0 if target.pooler else CACHED_STATEMENTS,
            "prepared_statement_name_func": _no_name if target.pooler else None,
        }
        # Transactions are begun and committed here by hand; AUTOCOMMIT keeps SQLAlchemy from adding its own.
        engine = create_async_engine(
            "postgresql+asyncpg://", connect_args=options, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        self._engine: Engine = engine.sync_engine
        limits = "".join(f"; SET LOCAL {name} = {value}" for name, value in target.limits.items())
        self._prologue = limits if target.pooler else ""

    async def link(self) -> Link:
        """A new connection. Raises what the driver raises where there is none to be had."""
        conn = await greenlet_spawn(self._engine.connect)
        raw = conn.connection.driver_connection
        assert isinstance(raw, asyncpg.Connection)
        if self._target.pooler:
            await raw.execute("COMMIT")
        return Link(conn, raw, self._prologue)

    async def connect(self, *_: Any, **__: Any) -> asyncpg.Connection:
        """The driver's own connection."""
        target = self._target
        raw = await asyncpg.connect(
            target.url,
            timeout=CONNECT_SECONDS,
            # The database's own limit comes first; this one is for when nothing comes back at all.
            command_timeout=None if target.statement_seconds is None else target.statement_seconds + PING_SECONDS,
            # Behind a pooler the next transaction may meet another session, which knows no statement of ours.
            statement_cache_size=0 if target.pooler else CACHED_STATEMENTS,
            max_cached_statement_lifetime=0,
            server_settings=None if target.pooler else {"application_name": "perdure", **target.limits},
        )
        if target.pooler:
            # What SQLAlchemy asks of a new connection takes several messages, which must meet one session.
            await raw.execute("BEGIN")
        return raw


def _no_name() -> str:
    """The name of a statement that is used at once, and forgotten with the next."""
    return ""


class _Driver:
    """The driver's connection as units see it, with the few methods that they use of SQLite's."""

    def __init__(self, raw: asyncpg.Connection) -> None:
        self._raw = raw

    def execute(self, sql: str, values: Sequence[Any] = ()) -> "_Rows":
        """Raises what PostgreSQL says, IntegrityError where that is a constraint's violation.

        Raises OperationalError where the connection or a statement of before cannot be used any more.
        """
        return _Rows(self._run(sql, self._raw.fetch(sql, *values)))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Raises what `execute` raises."""
        self._run(sql, self._raw.executemany(sql, rows))

    def _run(self, sql: str, work: Awaitable[T]) -> T:
        try:
            return await_(work)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise IntegrityError(sql, None, error) from error
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.InvalidCachedStatementError) as error:
            raise OperationalError(sql, None, error) from error


class _Rows:
    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def fetchall(self) -> Sequence[Any]:
        return self._rows
