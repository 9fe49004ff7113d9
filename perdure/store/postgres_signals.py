"""The connection that listens for signals. It comes back by itself, and says so, since some may have been missed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from perdure.logs import Log
from perdure.store.postgres_faults import FAULTS
from perdure.store.signals import CHANNEL

if TYPE_CHECKING:
    import asyncpg

PAUSES: Final = (0.1, 0.5, 2.0, 5.0)
"""Seconds before another attempt to connect; the last one repeats."""
CHECK_SECONDS: Final = 15.0
"""How often it is seen to that the connection still works: what lies between may drop one that is silent."""

log = Log(__name__)


class Listener:
    """Calls handlers with every signal, and with an empty text whenever it begins to listen anew.

    `connect` makes the driver's own connection; None where there is none that could listen.
    """

    def __init__(self, connect: "Callable[[], Awaitable[asyncpg.Connection]] | None") -> None:
        self.wakes = False
        """Whether signals arrive at this moment."""
        self._connect = connect
        self._handlers: list[Callable[[str], None]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, handler: Callable[[str], None]) -> None:
        """From now on, call this too."""
        self._handlers.append(handler)
        if self._connect is not None and self._task is None:
            self._task = asyncio.create_task(self._listen(self._connect), name="listener")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self, connect: "Callable[[], Awaitable[asyncpg.Connection]]") -> None:
        failures = 0
        while True:
            try:
                raw = await connect()
                try:
                    await raw.add_listener(CHANNEL, self._heard)
                    failures = 0
                    await self._stay(raw)
                finally:
                    self.wakes = False
                    raw.terminate()
            except FAULTS as error:
                pause = PAUSES[min(failures, len(PAUSES) - 1)]
                log.warning("not listening to the database; it is asked instead", error=str(error), retry_in=pause)
                failures += 1
                await asyncio.sleep(pause)

    async def _stay(self, raw: "asyncpg.Connection") -> None:
        """Until the connection breaks, which raises what the driver raises."""
        gone = asyncio.Event()

        def leave(_: object) -> None:
            gone.set()

        raw.add_termination_listener(leave)
        self.wakes = True
        self._tell("")
        while not raw.is_closed():
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await gone.wait()
            except TimeoutError:
                await raw.execute("")
        raise ConnectionError("the connection was closed")

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._tell(str(payload))

    def _tell(self, text: str) -> None:
        for handler in self._handlers:
            handler(text)
