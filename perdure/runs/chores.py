"""What a process does again and again beside its runs, such as staying alive among others: it must never just end."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from perdure.domain.errors import PerdureError
from perdure.logs import Log

PAUSE: Final = 1.0
"""Seconds before a chore that failed is begun anew."""
TELL_AGAIN: Final = 60.0
"""Seconds after which the log says once more what keeps a chore from its work."""

Chore = Callable[[], Coroutine[Any, Any, None]]

log: Final = Log(__name__)


class Chores:
    """The tasks of chores. One that ends by a fault of our own is logged, and begun anew after a while."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def begin(self, chore: Chore) -> None:
        """From now on, do this. Nothing happens once they are closed."""
        if not self._closed:
            task = asyncio.create_task(chore(), name="chore")
            self.tasks.append(task)
            task.add_done_callback(partial(self._ended, chore))

    async def close(self) -> None:
        """Stop all of them."""
        self._closed = True
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, chore: Chore, task: asyncio.Task[None]) -> None:
        if task in self.tasks:
            self.tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a chore failed and is begun anew", exc_info=error)
            asyncio.get_running_loop().call_later(PAUSE, self.begin, chore)


class Trouble:
    """Something a chore cannot do for now: said once when it begins, now and then while it lasts, and when it is over.

    `what` is told to people, as in "cannot renew the lease".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._began: float | None = None
        self._told = 0.0

    def is_there(self, error: PerdureError) -> None:
        moment = time.monotonic()
        if self._began is None or moment - self._told > TELL_AGAIN:
            log.warning(f"{self._what}; trying again", error=error.message)
            self._told = moment
        self._began = moment if self._began is None else self._began

    def is_over(self) -> None:
        if self._began is not None:
            log.warning(f"{self._what}: that is over", after=round(time.monotonic() - self._began, 1))
            self._began = None
