"""The numbered event log of every run, committed for all runs together and released to readers only then.

A commit starts at once when none came lately, else up to ten milliseconds after the one before, so that many streams
share one. What one commit released is one batch for each reader. While the database cannot be written, nothing is shown
or lost: the batch is tried again until it can. Batches are numbered, so that one whose commit went through although the
connection broke is not written twice, and one of a process that was taken for dead is refused.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from perdure.domain.errors import NotFound, Unavailable
from perdure.domain.events import AnyEvent
from perdure.logs import Log
from perdure.runs.lease import Lease, Lost
from perdure.store import runs as run_store
from perdure.store import signals
from perdure.store.database import Savepoint, is_passing
from perdure.telemetry import metrics

GAP_PER_RUN: Final = 0.0001
MAX_GAP: Final = 0.01
"""Seconds between the starts of two commits: a little for each live run, so that one stream alone never waits."""
TAIL: Final = 4096
"""Newest events of a live run kept in memory; a reader further behind reads from the database."""
MOST_AT_ONCE: Final = 1024
"""Events handed to a reader at a time: what is on its way to one who reads slowly stays small."""
MAX_PENDING: Final = 2048
"""Events of one run that may wait for a commit before its producer must wait too."""
RETRY_AFTER: Final = (0.05, 0.2, 1.0, 2.0)
"""Seconds before a failed commit is tried again; the last one repeats."""
TELL_AGAIN: Final = 60.0
"""Seconds after which the log says once more that nothing can be written."""
COLLISIONS: Final = 3
"""Tries in which a violated constraint is put down to another process at the same rows, and the batch repeated."""
WATCHED: Final = 30.0
"""Seconds for which processes that read a run from the database are told of its commits, unless they ask again."""

log = Log(__name__)

Write = Callable[[Connection], Sequence[AnyEvent]]


class RunLog:
    """The live end of one run's log. Readers and the run's producer meet only here."""

    def __init__(self, run_id: str, shown: Callable[[AnyEvent], bool]) -> None:
        self.run_id = run_id
        self.last = 0
        """Number of the newest committed event."""
        self.ended = False
        """Whether the newest committed event is the run's last."""
        self.broken: Exception | None = None
        """Why events of this run could not be stored; nothing more of it can be."""
        self.fault: Exception | None = None
        """Why a write that nobody waited for failed; what comes after it must not stand as if it had not."""
        self.lost = False
        """Whether the run is another process's now; then this log ends without the run's end."""
        self.left = False
        """Whether this process goes and leaves the run to the next: whoever reads it here is told so."""
        self.pending = 0
        self.woken_at = time.monotonic()
        self._shown = shown
        self._tail: list[AnyEvent] = []
        self._waiters: list[asyncio.Future[None]] = []

    def kept(self, events: Sequence[AnyEvent]) -> list[AnyEvent]:
        """The events that get a number: those the caller asked to be shown."""
        return [event for event in events if self._shown(event)]

    def released(self, events: Sequence[AnyEvent], *, ended: bool) -> None:
        """Take events that are now committed, and wake everyone who waits for them."""
        self.last += len(events)
        self._tail.extend(events)
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]
        self.ended = self.ended or ended
        self.wake()

    def leave(self) -> None:
        """Send away all who read, now or later: nothing more of this run comes from this process."""
        self.left = True
        self.wake()

    def wake(self) -> None:
        """Let all who wait look again."""
        self.woken_at = time.monotonic()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def after(self, seq: int) -> list[tuple[int, AnyEvent]] | None:
        """The next committed events after number `seq`, or None where they are no longer in memory."""
        first = self.last - len(self._tail) + 1
        if seq + 1 < first:
            return None
        start = seq + 1 - first
        return list(enumerate(self._tail[start : start + MOST_AT_ONCE], seq + 1))

    def wait(self) -> asyncio.Future[None]:
        """Done when something was released since, or somebody was woken."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter


class _Entry:
    """What waits for a commit: events, or a write that gives them; with a future where somebody waits."""

    __slots__ = ("count", "done", "ends", "error", "events", "run", "waited", "write")

    def __init__(
        self,
        run: RunLog,
        events: list[AnyEvent],
        write: Write | None,
        done: asyncio.Future[None] | None,
        *,
        ends: bool = False,
        waited: bool = True,
    ) -> None:
        self.run = run
        self.events = events
        self.count = len(events)
        self.write = write
        self.done = done
        self.ends = ends
        self.waited = waited
        self.error: Exception | None = None


class EventLog:
    """Commits what all runs append, in the order they appended it."""

    def __init__(self, lease: Lease) -> None:
        self.live = 0
        """Runs under way; whoever starts and ends them keeps the count."""
        self.stuck: str | None = None
        """Why nothing can be committed now; what is pending waits, and nothing is lost."""
        self.given_up = False
        """Whether it was closed: of what was pending then, or comes later, the next process finds what was stored."""
        self._lease = lease
        self._number = 0
        self._watched: dict[str, float] = {}
        self._pending: list[_Entry] = []
        self._batch: list[_Entry] = []
        self._closing = False
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._commit_all(), name="event-log")

    def append(self, run: RunLog, events: Sequence[AnyEvent]) -> None:
        """Add events without waiting for them to be durable."""
        kept = run.kept(events)
        if kept:
            run.pending += len(kept)
            self._add(_Entry(run, kept, None, None))

    def write(self, run: RunLog, write: Write, *, ends: bool = False) -> asyncio.Future[None]:
        """Add a change with the events it gives. Done once both are durable and the events are released."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.given_up:
            done.set_exception(_given_up())
        else:
            self._add(_Entry(run, [], write, done, ends=ends))
        return done

    def post(self, run: RunLog, write: Write) -> None:
        """Add a change that nobody waits for. Where it fails, so does every later one of the run: see `fault`."""
        self._add(_Entry(run, [], write, None, waited=False))

    def watch(self, run_id: str) -> None:
        """Tell other processes of this run's commits for a while."""
        self._watched[run_id] = time.monotonic() + WATCHED

    async def room(self, run: RunLog) -> None:
        """Wait until the run's producer may go on: a model faster than the disk must not fill the memory."""
        while run.pending > MAX_PENDING and not run.left:
            await run.wait()

    async def close(self, limit: float | None = None) -> None:
        """Commit what is pending, then stop; after `limit` seconds give up what cannot be committed.

        Who waits for what came while the last batch was committed is told, or would wait for ever.
        """
        self._closing = True
        self._wake.set()
        await asyncio.wait((self._task,), timeout=limit)
        self.given_up = True
        self._task.cancel()
        for entry in (*self._batch, *self._pending):
            entry.run.broken = _given_up()
            if entry.done is not None and not entry.done.done():
                entry.done.set_exception(_given_up())

    def _add(self, entry: _Entry) -> None:
        self._pending.append(entry)
        self._wake.set()

    async def _commit_all(self) -> None:
        started = 0.0
        while self._pending or not self._closing:
            await self._wake.wait()
            gap = started + min(MAX_GAP, self.live * GAP_PER_RUN) - time.monotonic()
            if gap > 0.0005:
                await asyncio.sleep(gap)
            started = time.monotonic()
            batch, self._pending = self._pending, []
            self._batch = batch
            self._wake.clear()
            if batch:
                await self._commit(batch)
                metrics.committed(sum([len(entry.events) for entry in batch]), time.monotonic() - started)
                _release(batch)
                self._batch = []

    async def _commit(self, batch: list[_Entry]) -> None:
        self._number += 1
        watched = self._watched_now()
        began, told = time.monotonic(), -math.inf
        for attempt in count():
            write = _Batch(batch, self._lease, self._number, watched, patient=attempt < COLLISIONS)
            try:
                await self._lease.db.write(write.apply, repeatable=True)
                break
            except Lost as error:
                for entry in batch:
                    entry.error, entry.run.lost = error, True
                await self._lease.start_over(write.server)
                return
            except Exception as error:  # noqa: BLE001 - all runs depend on this task, so it must never end by an error
                self.stuck = str(error)
                metrics.commit_failed()
                if time.monotonic() - told > TELL_AGAIN:
                    told = time.monotonic()
                    log.error("event log cannot be written; streams wait", error=self.stuck)
                await asyncio.sleep(RETRY_AFTER[min(attempt, len(RETRY_AFTER) - 1)])
        if self.stuck is not None:
            self.stuck = None
            log.warning("event log is written again; streams go on", after=round(time.monotonic() - began, 1))

    def _watched_now(self) -> frozenset[str]:
        if self._watched:
            moment = time.monotonic()
            self._watched = {run_id: until for run_id, until in self._watched.items() if until > moment}
        return frozenset(self._watched)


def _given_up() -> Unavailable:
    return Unavailable("The server stopped before this could be stored.")


class _Batch:
    """One try to commit. `patient` puts a violated constraint down to another process, where there may be any."""

    def __init__(
        self, entries: list[_Entry], lease: Lease, number: int, watched: frozenset[str], *, patient: bool
    ) -> None:
        self._entries = entries
        self.server = lease.id
        self._lease = lease
        self._number = number
        self._watched = watched
        self._patient = patient and lease.db.shared

    def apply(self, conn: Connection) -> None:
        """Run in the database's thread: carry out the writes, number the events, store them. Raises Lost."""
        if self._lease.has_committed(conn, self._number):
            return
        by_run: dict[RunLog, list[AnyEvent]] = {}
        for entry in self._entries:
            if entry.run.lost:
                entry.error = Lost()
                continue
            if entry.write is not None:
                entry.error, entry.events = None, []
                try:
                    with Savepoint(conn):
                        if entry.run.fault is not None:
                            raise entry.run.fault
                        entry.events = entry.run.kept(entry.write(conn))
                except Exception as error:  # noqa: BLE001 - belongs to one run alone; raised again where it waits
                    self._note(entry, error)
            if entry.events:
                by_run.setdefault(entry.run, []).extend(entry.events)
        rows = [(run, run.last + 1, events) for run, events in by_run.items()]
        try:
            with Savepoint(conn):
                run_store.log(conn, [(run.run_id, first, events) for run, first, events in rows])
        except Exception as error:  # noqa: BLE001 - the runs it belongs to are found next
            self._raise_if_passing(error)
            self._store_one_by_one(conn, rows)
        if self._watched:
            told = [run.run_id for run in by_run if run.run_id in self._watched]
            signals.notify_of(conn, "log", told)

    def _store_one_by_one(self, conn: Connection, rows: list[tuple[RunLog, int, list[AnyEvent]]]) -> None:
        """Something of this batch cannot be stored, perhaps since its run was deleted: that run alone fails."""
        for run, first, events in rows:
            try:
                with Savepoint(conn):
                    run_store.log(conn, [(run.run_id, first, events)])
            except Exception as error:  # noqa: BLE001 - belongs to this run alone; raised again where it waits
                gone = NotFound(f"Run {run.run_id} was deleted.") if isinstance(error, IntegrityError) else error
                for entry in self._entries:
                    if entry.run is run:
                        self._note(entry, gone)
                        entry.events = []

    def _note(self, entry: _Entry, error: Exception) -> None:
        """Keep an error with its entry, unless it will pass: that concerns the whole batch."""
        self._raise_if_passing(error)
        entry.error = error
        if entry.write is not None and not entry.waited:
            entry.run.fault = error

    def _raise_if_passing(self, error: Exception) -> None:
        if is_passing(error) or (self._patient and isinstance(error, IntegrityError)):
            raise error


def _is_last(entry: _Entry) -> bool:
    """Whether nothing comes after an entry that ends its run: it could be kept, or there is no run any more."""
    return entry.error is None or isinstance(entry.error, NotFound)


def _release(batch: list[_Entry]) -> None:
    """Show what was committed: one release for each run, then tell those who waited."""
    by_run: dict[RunLog, tuple[list[AnyEvent], bool]] = {}
    for entry in batch:
        events, ended = by_run.get(entry.run, ([], False))
        events.extend(entry.events)
        by_run[entry.run] = (events, ended or (entry.ends and _is_last(entry)))
        if entry.write is None:
            entry.run.pending -= entry.count
    for entry in batch:
        if entry.error is not None and entry.write is None:
            entry.run.broken = entry.error
    for run, (events, ended) in by_run.items():
        if run.lost:
            run.wake()
            continue
        ended = ended or run.broken is not None
        if events or ended:
            run.released(events, ended=ended)
    for entry in batch:
        if entry.done is None or entry.done.done():
            continue
        if entry.error is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(entry.error)
