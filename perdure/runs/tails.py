"""The logs of runs that other processes work, read from the database while somebody here follows them.

The processes that work such runs are asked to tell of their commits; where that is not heard, looking now and then
does. One look is for all runs of which something was told meanwhile, so that many cost little more than one.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from weakref import WeakValueDictionary

from perdure.domain.errors import Unavailable
from perdure.runs.chores import Chores, Trouble
from perdure.runs.log import RunLog
from perdure.store import signals
from perdure.store.database import Database
from perdure.store.tails import MOST_RUNS, news

LOOK: Final = 1.0
"""Seconds between looks at all runs while commits are told of."""
LOOK_WITHOUT_WAKING: Final = 0.1
ASK: Final = 10.0
"""Seconds between requests to be told."""


class Tails:
    """One log for each run that is followed here and worked elsewhere, fed until nobody holds it any more."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._logs: WeakValueDictionary[str, RunLog] = WeakValueDictionary()
        self._asked: dict[str, float] = {}
        """The runs of which more is to come, and when somebody was last asked to tell of them."""
        self._told: set[str] = set()
        """Those of which something may have come."""
        self._wake = asyncio.Event()
        self._chores = Chores()
        self._began = False

    def of(self, run_id: str, last: int) -> RunLog:
        """The log of a run whose events up to number `last` are stored."""
        live = self._logs.get(run_id)
        if live is None:
            live = self._logs[run_id] = RunLog(run_id, lambda event: True)
            live.last = last
            self._asked[run_id] = -ASK
            self.look((run_id,))
            if not self._began:
                self._began = True
                self._chores.begin(self._feed)
        return live

    def look(self, run_ids: Iterable[str] | None = None) -> None:
        """Something was committed of these runs, or perhaps of all."""
        told = self._asked.keys() if run_ids is None else self._asked.keys() & run_ids
        if told:
            self._told |= told
            self._wake.set()

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
        await self._chores.close()

    async def _feed(self) -> None:
        """Release what is stored of runs to their readers here."""
        looked_at_all, trouble = -LOOK, Trouble("cannot follow runs of other processes")
        while True:
            await self._next_look()
            pause = LOOK if self._db.wakes else LOOK_WITHOUT_WAKING
            if time.monotonic() - looked_at_all >= pause:
                looked_at_all = time.monotonic()
                self.look()
            told, self._told = self._told, set()
            try:
                await self._ask(told)
                for run_ids in _some_at_a_time(list(told)):
                    await self._release_new(run_ids)
                trouble.is_over()
            except Unavailable as error:
                self.look(told)
                trouble.is_there(error)
                await asyncio.sleep(pause)

    async def _next_look(self) -> None:
        """Wait until something was told, or for a while; for as long as it takes where there is nothing to look at."""
        self._wake.clear()
        if self._told:
            return
        limit = None if not self._asked else LOOK if self._db.wakes else LOOK_WITHOUT_WAKING
        try:
            async with asyncio.timeout(limit):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _ask(self, told: Iterable[str]) -> None:
        """Have whoever works these runs tell of their commits, where that was not asked for lately."""
        moment = time.monotonic()
        to_ask = [run_id for run_id in told if moment - self._asked.get(run_id, moment) > ASK]
        if to_ask and self._db.wakes:
            await self._db.write(lambda conn: signals.notify_of(conn, "watch", to_ask))
            self._asked |= dict.fromkeys(to_ask, moment)

    async def _release_new(self, run_ids: Iterable[str]) -> None:
        """Show what came of these runs, and let go of those that have ended, or that nobody reads any more."""
        logs = {run_id: live for run_id in run_ids if (live := self._logs.get(run_id)) is not None}
        for run_id in run_ids:
            if run_id not in logs:
                self._asked.pop(run_id, None)
        whole = not logs
        while not whole:
            known = {run_id: live.last for run_id, live in logs.items()}
            found = await self._db.read(lambda conn, known=known: news(conn, known))
            whole = found.whole
            for run_id in found.events.keys() | found.ended:
                logs[run_id].released(found.events.get(run_id, ()), ended=run_id in found.ended)
            for run_id in found.ended:
                self._asked.pop(run_id, None)


def _some_at_a_time(run_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(run_ids), MOST_RUNS):
        yield run_ids[at : at + MOST_RUNS]
