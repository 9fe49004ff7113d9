"""Requests that an SDK sends again by itself, because it waited too long or lost the connection.

The newer SDKs do so unasked, and say so in a header; what they repeat is the same to the byte. Which run a request
started is kept with the run; here is only what is on its way there.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

WINDOW: Final = 600_000_000
"""Microseconds in which a repetition is known after its run has ended; while it goes on there is no limit."""


class Attempt(NamedTuple):
    """One sending of a request. `key` is the same for all of them; `again` says that this is not the first."""

    key: str
    again: bool


class Attempts:
    """The requests of this process whose runs are being stored right now."""

    def __init__(self) -> None:
        self._starting: dict[str, asyncio.Future[str | None]] = {}

    async def run_of(self, attempt: Attempt) -> str | None:
        """The run that another sending is starting at this moment, once it is stored; None where there is none."""
        starting = self._starting.get(attempt.key) if attempt.again else None
        return None if starting is None else await asyncio.shield(starting)

    @contextmanager
    def starting(self, attempt: Attempt) -> Generator[Callable[[str], None]]:
        """While this sending starts a run: gives what to call with its id. Without that call it counts as refused."""
        run_id: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._starting[attempt.key] = run_id
        try:
            yield run_id.set_result
        finally:
            if not run_id.done():
                run_id.set_result(None)
            if self._starting.get(attempt.key) is run_id:
                del self._starting[attempt.key]
