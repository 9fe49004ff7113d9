"""The logs of runs that other processes work, read from the database while somebody here follows them.

The process that works such a run is asked to tell of its commits; where that is not heard, looking now and then does.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Final
from weakref import WeakValueDictionary, ref

from sqlalchemy import Connection

from perdure.domain.errors import Unavailable
from perdure.domain.events import AnyEvent
from perdure.logs import Log
from perdure.runs.log import RunLog
from perdure.store import runs as run_store
from perdure.store import signals
from perdure.store.database import Database

LOOK: Final = 1.0
"""Seconds between looks while commits are told of."""
LOOK_WITHOUT_WAKING: Final = 0.1
ASK: Final = 10.0
"""Seconds between requests to be told."""

log = Log(__name__)


class Tails:
    """One log for each run that is followed here and worked elsewhere, fed until nobody holds it any more."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._logs: WeakValueDictionary[str, RunLog] = WeakValueDictionary()
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, run_id: str, last: int) -> RunLog:
        """The log of a run whose events up to number `last` are stored."""
        live = self._logs.get(run_id)
        if live is None:
            live = self._logs[run_id] = RunLog(run_id, lambda event: True)
            live.last = last
            self._wakes[run_id] = asyncio.Event()
            task = asyncio.create_task(self._feed(run_id, ref(live)), name=f"tail of {run_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return live

    def look(self, run_ids: Iterable[str] | None = None) -> None:
        """Something was committed of these runs, or perhaps of all."""
        for run_id in self._wakes if run_ids is None else run_ids:
            if (wake := self._wakes.get(run_id)) is not None:
                wake.set()

    def wake_silent(self, seconds: float) -> None:
        """Wake the readers of runs that were silent for so long."""
        moment = time.monotonic()
        for live in list(self._logs.values()):
            if moment - live.woken_at >= seconds:
                live.wake()

    async def close(self) -> None:
        """Stop reading, and send away whoever reads here."""
        for live in list(self._logs.values()):
            live.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _feed(self, run_id: str, log_of: "ref[RunLog]") -> None:
        """Release what is stored of a run to its readers here, until it has ended or nobody holds its log."""
        asked_at = -ASK
        wake = self._wakes[run_id]
        try:
            while True:
                wake.clear()
                ask = self._db.wakes and time.monotonic() - asked_at > ASK
                try:
                    if ask:
                        await self._db.write(lambda conn: signals.notify(conn, f"watch {run_id}"))
                        asked_at = time.monotonic()
                    if await self._release_new(run_id, log_of):
                        return
                except Unavailable as error:
                    log.warning("cannot follow a run; trying again", run_id=run_id, error=error.message)
                await self._next_look(wake)
        finally:
            if self._wakes.get(run_id) is wake:
                del self._wakes[run_id]

    async def _release_new(self, run_id: str, log_of: "ref[RunLog]") -> bool:
        """Whether there is nothing more to come, or nobody to read it."""
        while True:
            live = log_of()
            if live is None:
                return True
            after = live.last

            def unit(conn: Connection, after: int = after) -> tuple[bool, list[tuple[int, AnyEvent]]]:
                return bool(run_store.under_way(conn, (run_id,))), run_store.events_after(conn, run_id, after)

            under_way, found = await self._db.read(unit)
            if found or not under_way:
                live.released([event for _, event in found], ended=not (under_way or found))
            if not found:
                return not under_way

    async def _next_look(self, wake: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(LOOK if self._db.wakes else LOOK_WITHOUT_WAKING):
                await wake.wait()
        except TimeoutError:
            pass
