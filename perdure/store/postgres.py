"""PostgreSQL: a few connections, each worked by a task that takes units of work from one queue.

A unit that another transaction was in the way of runs again, as does one whose connection broke. Where the database is
out of reach, units fail with Unavailable, and the next ones try it anew.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from perdure.domain.errors import Unavailable
from perdure.logs import Log
from perdure.store.database import BEHIND, MAX_WAITING, RETRY_S, Unit
from perdure.store.options import PostgresOptions
from perdure.store.postgres_faults import FAULTS, Kind, kind_of, unavailable
from perdure.store.postgres_link import Link, Linker, Target, Unsettled
from perdure.store.postgres_signals import Listener
from perdure.store.tables import metadata
from perdure.telemetry import metrics

T = TypeVar("T")

RERUNS: Final[Mapping[Kind, int]] = {"again": 8, "taken": 3, "lost": 1}
"""How often a unit runs again, by what was in its way."""
SETTLE_SECONDS: Final = 60.0
"""How long is waited for the database to come back and say whether a commit was carried out."""

MIGRATION_LOCK: Final = 5_283_016_407_713
"""The number of the advisory lock that whoever changes the schema holds. Every version has to use the same."""

_Work = Callable[[Link], Awaitable[T]]
"""A unit, and how it is to be run."""

log = Log(__name__)


class PostgresDatabase:
    """The open database. Make one with `open_postgres`, inside the event loop that uses it."""

    def __init__(self, target: Target, listener: Listener, connections: int, wait_seconds: float) -> None:
        self._target = target
        self._listener = listener
        self._linker = Linker(target)
        self._most = connections
        self._wait_seconds = wait_seconds
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._idle = 0
        self._workers: list[asyncio.Task[None]] = []

    @property
    def location(self) -> str:
        return self._target.location

    @property
    def shared(self) -> bool:
        return True

    @property
    def wakes(self) -> bool:
        return self._listener.wakes

    def listen(self, handler: Callable[[str], None]) -> None:
        self._listener.add(handler)

    async def read(self, unit: Unit[T]) -> T:
        return await metrics.database_unit("read", self._submitted(lambda link: link.read(unit)))

    async def write(self, unit: Unit[T], *, repeatable: bool = False) -> T:
        work = self._submitted(lambda link: link.write(unit, repeatable=repeatable))
        return await metrics.database_unit("write", work)

    async def migrate(self, unit: Unit[T]) -> T:
        try:
            link = await Linker(msgspec.structs.replace(self._target, statement_seconds=None)).link()
            try:
                return await link.write(_alone(unit))
            finally:
                await link.close()
        except FAULTS as error:
            raise unavailable(self.location, error) from error

    async def backup(self, name: str) -> str | None:
        """None: a migration is one transaction, and pg_dump is there for the rest."""

    async def close(self) -> None:
        for _ in self._workers:
            self._jobs.put_nowait(None)
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._listener.close()

    async def _submitted(self, work: "_Work[T]") -> T:
        if self._jobs.qsize() >= MAX_WAITING:
            raise Unavailable(BEHIND, retry_after=RETRY_S)
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future())
        if self._jobs.qsize() >= self._idle:
            if len(self._workers) < self._most:
                self._workers.append(asyncio.create_task(self._work(), name="postgres"))
            else:
                job.timer = loop.call_later(self._wait_seconds, self._expire, job)
        self._jobs.put_nowait(job)
        return await job.future

    def _expire(self, job: "_Job") -> None:
        job.fail(
            Unavailable(
                f"No connection to the database {self.location} came free within {self._wait_seconds:g} seconds. Try "
                "again later; PERDURE_DATABASE_CONNECTIONS says how many there are.",
                retry_after=RETRY_S,
            )
        )

    async def _work(self) -> None:
        """The task of one connection."""
        lane = _Lane(self._linker, self.location)
        try:
            while True:
                self._idle += 1
                job = await self._jobs.get()
                self._idle -= 1
                if job is None:
                    return
                if job.begin():
                    await job.run(lane)
        finally:
            await lane.close()


class _Job:
    """A unit on its way to a connection, and who waits for what comes of it."""

    __slots__ = ("future", "timer", "work")

    def __init__(self, work: "_Work[Any]", future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.timer: asyncio.TimerHandle | None = None

    def begin(self) -> bool:
        """Whether it is still to be run. One whose caller went away is, as one that has begun already would be."""
        if self.timer is not None:
            self.timer.cancel()
        return not self.future.done() or self.future.cancelled()

    async def run(self, lane: "_Lane") -> None:
        try:
            result = await lane.carry_out(self.work)
        except BaseException as error:
            self.fail(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            if not self.future.done():
                self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Lane:
    """One connection, made when first needed and anew whenever it is found broken."""

    def __init__(self, linker: Linker, location: str) -> None:
        self._linker = linker
        self._location = location
        self._link: Link | None = None

    async def carry_out(self, work: "_Work[T]") -> T:
        """Run a unit until something comes of it. Raises what it raises, or Unavailable."""
        for attempt in count():
            try:
                return await work(await self._usable())
            except Unsettled as broken:
                await self.close(broken=True)
                if await self._was_committed(broken.number):
                    return broken.result
            except FAULTS as error:
                kind = kind_of(error)
                if kind == "lost":
                    await self.close(broken=True)
                if attempt < RERUNS.get(kind, 0):
                    await asyncio.sleep(random.uniform(0.0, min(0.2, 0.005 * 2**attempt)) if kind == "again" else 0)
                elif kind in ("taken", "own"):
                    raise
                else:
                    raise unavailable(self._location, error) from error
        raise AssertionError

    async def close(self, *, broken: bool = False) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close(broken=broken)

    async def _usable(self) -> Link:
        if self._link is not None and self._link.gone:
            await self.close(broken=True)
        if self._link is None:
            try:
                self._link = await self._linker.link()
            except FAULTS as error:
                raise unavailable(self._location, error) from error
        await self._link.check()
        return self._link

    async def _was_committed(self, number: str) -> bool:
        """What became of a transaction whose commit was never confirmed. Raises Unavailable where nobody can say."""
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            try:
                status = await (await self._usable()).status(number)
            except (*FAULTS, Unavailable) as error:
                log.warning("cannot tell yet whether a change was committed", error=str(error))
            else:
                if status != "in progress":
                    return status == "committed"
            await asyncio.sleep(0.1)
        raise Unavailable(
            f"The connection to the database {self._location} broke while a change was committed, and it has not come "
            "back to say whether it was. Look before you repeat the request."
        )


def _alone(unit: Unit[T]) -> Unit[T]:
    """A unit that changes the schema, while no other process does, in a database that has what our tables need."""

    def alone(conn: Connection) -> T:
        conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        if conn.exec_driver_sql("SELECT 1 FROM pg_extension WHERE extname = 'vector'").first() is None:
            _add_vectors(conn)
        return unit(conn)

    return alone


def _add_vectors(conn: Connection) -> None:
    try:
        conn.exec_driver_sql("CREATE EXTENSION vector")
    except DBAPIError as error:
        raise Unavailable(
            f"The database has no pgvector ({error.orig}). Install it where the database runs (the package "
            "postgresql-18-pgvector, or the image pgvector/pgvector:pg18), then let a superuser of the database say "
            "CREATE EXTENSION vector."
        ) from error


def _add_conditions() -> None:
    """Tell SQLAlchemy which of our indexes are partial: the tables leave that to each store."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options["postgresql"]["where"] = text(index.info["where"])


async def open_postgres(options: PostgresOptions) -> PostgresDatabase:
    """Open a database that is there. Raises Unavailable, with what to do, where it cannot be reached or used."""
    _add_conditions()
    target = Target(url=options.url, pooler=options.pooler, statement_seconds=options.seconds)
    direct = Target(url=options.listen_url or options.url, statement_seconds=options.seconds)
    listener = Listener(None if options.pooler and options.listen_url is None else Linker(direct).connect)
    db = PostgresDatabase(target, listener, options.connections, options.seconds)
    try:
        await db.read(lambda conn: None)
    except Unavailable:
        await db.close()
        raise
    return db
