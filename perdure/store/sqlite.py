"""SQLite: one file, one writer thread whose queue drains into shared commits, and a few reader threads.

Everything that only SQLite understands stands in this file.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from perdure.domain.errors import PerdureError, Unavailable
from perdure.store import sqlite_copy
from perdure.store.database import BEHIND, MAX_WAITING, NOT_OURS, RETRY_S, VERSION_TABLE, Unit
from perdure.store.sqlite_lock import take_lock
from perdure.telemetry import metrics

T = TypeVar("T")
Sync = Literal["normal", "full"]

PATIENCE: Final = 5.0
"""Seconds to wait for another process that has the file locked, a backup for one."""
MAX_BATCH: Final = 256
"""Units that may share one commit."""
READERS: Final = 2
GONE: Final = (
    "The data file {path} was moved, removed or replaced. Put it back where it was, or stop the server and start it "
    "with the data that is to be used."
)


class SqliteDatabase:
    """The open file. Make one with `open_sqlite`."""

    def __init__(self, path: Path, sync: Sync, lock: int, patience: float) -> None:
        self._path = path
        self._lock = lock
        self._engine = _engine(path, sync, patience)
        # The first connection turns the file to WAL, which several at once would be refused.
        self._engine.connect().close()
        self._identity = _identity(path)
        self._open: list[Connection] = []
        self._writes: _Queue = queue.SimpleQueue()
        self._reads: _Queue = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._write_all, name="sqlite-writer", daemon=True)]
        self._threads += [
            threading.Thread(target=self._read_all, name="sqlite-reader", daemon=True) for _ in range(READERS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def location(self) -> str:
        return str(self._path)

    @property
    def shared(self) -> bool:
        return False

    async def read(self, unit: Unit[T]) -> T:
        return await metrics.database_unit("read", _submitted(self._reads, unit))

    async def write(self, unit: Unit[T], *, repeatable: bool = False) -> T:
        return await metrics.database_unit("write", _submitted(self._writes, unit))

    async def migrate(self, unit: Unit[T]) -> T:
        return await self.write(unit)

    async def backup(self, name: str) -> str:
        copy = self._path.with_name(f"{self._path.stem}.{name}.backup{self._path.suffix}")
        await asyncio.to_thread(sqlite_copy.copy, self._path, copy)
        return str(copy)

    @property
    def wakes(self) -> bool:
        return True

    def listen(self, handler: Callable[[str], None]) -> None:
        """Nobody else has the file open, so there is nothing to hear."""

    async def close(self) -> None:
        for waiting in (self._writes, *[self._reads] * READERS):
            waiting.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        # One after the other: only the last to leave takes the write-ahead log along.
        for conn in self._open:
            conn.close()
        self._engine.dispose()
        os.close(self._lock)

    def _read_all(self) -> None:
        """A reader thread: each unit sees one snapshot."""
        conn, driver = self._connect()
        while (job := self._reads.get()) is not None:
            driver.execute("BEGIN")
            job.run(conn)
            driver.execute("ROLLBACK")
            _deliver([job])

    def _write_all(self) -> None:
        """The writer thread: take what is queued, run it in one transaction, commit, tell everyone at once."""
        conn, driver = self._connect()
        while (job := self._writes.get()) is not None:
            batch = [job]
            while len(batch) < MAX_BATCH and not self._writes.empty():
                following = self._writes.get()
                if following is None:
                    self._writes.put(None)
                    break
                batch.append(following)
            if _identity(self._path) == self._identity:
                _commit(driver, conn, batch)
            else:
                # SQLite would go on in a file that nobody finds again.
                _fail(batch, Unavailable(GONE.format(path=self._path), retry_after=RETRY_S))
            _deliver(batch)

    def _connect(self) -> tuple[Connection, sqlite3.Connection]:
        conn = self._engine.connect()
        self._open.append(conn)
        return conn, conn.info["driver"]


class _Job:
    """A unit on its way through the writer thread, and what came of it."""

    __slots__ = ("error", "future", "loop", "result", "unit")

    def __init__(self, unit: Unit[Any], loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        self.unit = unit
        self.loop = loop
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, conn: Connection) -> None:
        try:
            self.result, self.error = self.unit(conn), None
        except BaseException as error:  # noqa: BLE001 - carried to the caller's own await, never swallowed
            self.error = error

    def resolve(self) -> None:
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


_Queue = queue.SimpleQueue["_Job | None"]


async def _submitted(jobs: _Queue, unit: Unit[T]) -> T:
    if jobs.qsize() >= MAX_WAITING:
        raise Unavailable(BEHIND, retry_after=RETRY_S)
    loop = asyncio.get_running_loop()
    job = _Job(unit, loop, loop.create_future())
    jobs.put(job)
    return await job.future


_OUTSIDE_FAULTS: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
     sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM}
)  # fmt: skip
"""What the disk or another process does to us: everybody's, and passing."""


def _is_outside(error: BaseException | None) -> bool:
    cause = getattr(error, "orig", error)
    return isinstance(cause, sqlite3.Error) and (cause.sqlite_errorcode & 0xFF) in _OUTSIDE_FAULTS


def _commit(driver: sqlite3.Connection, conn: Connection, batch: list[_Job]) -> None:
    """Run a batch in one transaction. A unit that raises is undone alone; a failed commit fails them all."""
    try:
        driver.execute("BEGIN IMMEDIATE")
        for job in batch:
            driver.execute("SAVEPOINT unit")
            job.run(conn)
            if _is_outside(job.error):
                raise _unavailable(job.error)
            if job.error is not None:
                driver.execute("ROLLBACK TO unit")
            driver.execute("RELEASE unit")
        driver.execute("COMMIT")
    except (sqlite3.Error, Unavailable) as error:
        if driver.in_transaction:
            driver.execute("ROLLBACK")
        _fail(batch, error if isinstance(error, Unavailable) else _unavailable(error))


def _fail(batch: list[_Job], failed: Unavailable) -> None:
    for job in batch:
        job.error = job.error if isinstance(job.error, PerdureError) else failed


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands there, or None for none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _deliver(batch: list[_Job]) -> None:
    """Hand results to their event loops, with one wake-up for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        job.resolve()


def _unavailable(error: BaseException | None) -> Unavailable:
    text = f"The data file could not be written ({error}). Free some disk space or mend its permissions."
    return Unavailable(text, retry_after=RETRY_S)


def _engine(path: Path, sync: Sync, patience: float) -> Engine:
    def connect() -> sqlite3.Connection:
        driver = sqlite3.connect(path, check_same_thread=False, isolation_level=None, cached_statements=512)
        driver.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")
        driver.execute("PRAGMA journal_mode = WAL")
        # NORMAL survives a killed process; FULL also survives a power cut, at one sync a commit.
        driver.execute(f"PRAGMA synchronous = {sync.upper()}")
        driver.execute("PRAGMA foreign_keys = ON")
        driver.execute("PRAGMA temp_store = MEMORY")
        return driver

    # Transactions are begun and committed here by hand; AUTOCOMMIT keeps SQLAlchemy from adding its own.
    engine = create_engine(
        "sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def remember(driver: Any, record: Any) -> None:
        record.info["driver"] = driver
        record.info["faults"] = (DatabaseError, sqlite3.Error)

    return engine


def open_sqlite(directory: Path, sync: Sync, *, patience: float = PATIENCE) -> SqliteDatabase:
    """Open (or make) `perdure.db` in `directory` and hold it for this process alone.

    Raises Unavailable, with what to do, where the directory or file cannot be used or another server has it.
    """
    path = directory / "perdure.db"
    lock = take_lock(directory)
    try:
        _check_readable(path)
        return SqliteDatabase(path, sync, lock, patience)
    except Unavailable:
        os.close(lock)
        raise
    except (sqlite3.Error, DatabaseError, OSError) as error:
        os.close(lock)
        raise Unavailable(
            f"The data file {path} cannot be read ({error}). "
            "If it is damaged, restore a backup; if it is not a Perdure file, choose another --data directory."
        ) from error


def _check_readable(path: Path) -> None:
    existed = path.exists()
    driver = sqlite3.connect(path)
    try:
        if existed and path.stat().st_size:
            tables = {row[0] for row in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and VERSION_TABLE not in tables:
                raise Unavailable(NOT_OURS)
        if not os.access(path, os.W_OK):
            raise OSError("it is read-only")
    finally:
        driver.close()
    os.chmod(path, 0o600)
