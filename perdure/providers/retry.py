"""Asking again where that may help, and only as long as nothing of an answer has come: what was shown stays true."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from perdure.domain.errors import ModelError
from perdure.logs import Log
from perdure.providers.base import AnyDelta, ModelRequest, Provider
from perdure.providers.breaker import Breaker
from perdure.telemetry import metrics

FIRST_PAUSE: Final = 0.5
LAST_PAUSE: Final = 8.0
"""Seconds: a pause is drawn from 0 to this at first, to twice as much each time, and to this at most."""

_log = Log(__name__)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a call is repeated: `calls` in all, none begun later than `seconds` after the first.

    `failures` in a row after which a provider is left alone; 0 for never.
    """

    seconds: float = 30.0
    calls: int = 5
    failures: int = 10


async def ask(
    provider: Provider, breaker: Breaker, request: ModelRequest, patience: Patience
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """What `provider.stream` yields. Raises ModelError where asking again does not help, or not soon enough.

    A provider that says when to come back is waited for at least so long. Once anything was yielded, whatever goes
    wrong is raised.
    """
    first, name = time.monotonic(), request.model.name
    for call in itertools.count(1):
        trying = breaker.enter(name)
        begun = False
        try:
            answer = provider.stream(request)
            async with contextlib.aclosing(answer):  # pyright: ignore[reportArgumentType]
                async for batch in answer:
                    if not begun:
                        begun = True
                        breaker.answered(name)
                    yield batch
            return
        except ModelError as error:
            breaker.failed(error, trying=trying, model=name)
            spent = time.monotonic() - first
            left = patience.seconds - spent
            wanted = error.retry_after or 0.0
            if begun or not error.transient:
                raise
            if call >= patience.calls or left <= 0 or wanted > left or breaker.refuses(name):
                raise _tried(error, call, spent, patience) from error
            # Whoever was told the same moment is not to come at the same moment.
            pause = min(wanted + _jitter(call), left)
            metrics.model_asked_again(request.model, error.error_type)
            _log.info(
                "model_asked_again",
                model=request.model.handle, call=call + 1, pause=round(pause, 3), reason=error.detail,
            )  # fmt: skip
        finally:
            if trying:
                breaker.tried()
        await asyncio.sleep(pause)


def _jitter(call: int) -> float:
    return random.uniform(0.0, min(LAST_PAUSE, FIRST_PAUSE * 2 ** (call - 1)))


def _tried(error: ModelError, calls: int, seconds: float, patience: Patience) -> ModelError:
    """The error, with how often it came, and why it was not waited for what the provider asked."""
    said = [f"asked {calls} times in {seconds:.1f} s"] if calls > 1 else []
    if patience.seconds and (wanted := error.retry_after or 0.0) > patience.seconds:
        said.append(f"it wants to be left alone for {wanted:.0f} s, and a call is repeated for {patience.seconds:g} s")
    if not said:
        return error
    return ModelError(
        error.error_type,
        f"{error.detail} ({'; '.join(said)})",
        retry_after=error.retry_after,
        transient=error.transient,
    )
