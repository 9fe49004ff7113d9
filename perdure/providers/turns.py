"""Taking turns at a server whose calls share one window, which may be too small for all of them together."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from perdure.domain.errors import TogetherTooLong
from perdure.logs import Log
from perdure.providers.base import AnyDelta

SECONDS: Final = 600.0
"""How long calls take turns once they were too much together."""

_log = Log(__name__)


class Turns:
    """The calls of one server. They are made at once until that goes wrong, and then one by one for a while."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = asyncio.Lock()
        self._until = -math.inf

    async def taken(self, answer: AsyncGenerator[Sequence[AnyDelta]]) -> AsyncGenerator[Sequence[AnyDelta]]:
        """The batches of an answer that has not been asked for yet. Raises what it raises."""
        async with contextlib.aclosing(answer), self._turn if self._is_crowded() else contextlib.nullcontext():
            try:
                async for batch in answer:
                    yield batch
            except TogetherTooLong as error:
                if not self._is_crowded():
                    _log.warning("calls_take_turns", provider=self._name, seconds=SECONDS, reason=error.detail)
                self._until = time.monotonic() + SECONDS
                raise

    def _is_crowded(self) -> bool:
        return time.monotonic() < self._until
