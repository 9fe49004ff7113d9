"""Requests that an SDK sends again by itself, because it waited too long or lost the connection.

The newer SDKs do so unasked, and say so in a header; what they repeat is the same to the byte. Kept in memory only: a
caller who must be sure across a restart gives its messages otids.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

WINDOW: Final = 600.0
"""Seconds in which a repetition is known after its request was last sent; while its run goes on there is no limit."""
MOST: Final = 20_000
"""Requests remembered; the ones sent longest ago are forgotten first."""


class Attempt(NamedTuple):
    """One sending of a request. `key` is the same for all of them; `again` says that this is not the first."""

    key: bytes
    again: bool


class _Request:
    """What is remembered of one. `run_id` gives None where it was refused."""

    __slots__ = ("run_id", "sent_at")

    def __init__(self) -> None:
        self.run_id: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.sent_at = time.monotonic()


class Attempts:
    """Which run each request started. `is_live` tells of a run whether it is still under way."""

    def __init__(self, is_live: Callable[[str], bool]) -> None:
        self._is_live = is_live
        self._requests: OrderedDict[bytes, _Request] = OrderedDict()

    async def run_of(self, attempt: Attempt) -> str | None:
        """The run that an earlier sending started, once that is known; None where this one has to start it."""
        known = self._requests.get(attempt.key) if attempt.again else None
        if known is None:
            return None
        run_id = await asyncio.shield(known.run_id)
        moment = time.monotonic()
        if run_id is None or (moment - known.sent_at > WINDOW and not self._is_live(run_id)):
            return None
        known.sent_at = moment
        return run_id

    @contextmanager
    def starting(self, attempt: Attempt) -> Generator[Callable[[str], None]]:
        """While this sending starts a run: gives what to call with its id. Without that call it counts as refused."""
        request = self._requests[attempt.key] = _Request()
        self._requests.move_to_end(attempt.key)
        if len(self._requests) > MOST:
            self._requests.popitem(last=False)
        try:
            yield request.run_id.set_result
        finally:
            if not request.run_id.done():
                request.run_id.set_result(None)
                if self._requests.get(attempt.key) is request:
                    del self._requests[attempt.key]
