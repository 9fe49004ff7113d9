"""When a model fails for good, the operator's fall-backs are asked in its place: in order, and never in silence."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

import msgspec

from perdure.domain.errors import ModelError
from perdure.logs import Log
from perdure.providers.base import AnsweredBy, AnyDelta, ModelRequest
from perdure.providers.retry import Patience, ask
from perdure.providers.source import Source

BRIEF_CALLS: Final = 2
BRIEF_SECONDS: Final = 2.0
"""How often, and for how long at most, a model is asked that has a fall-back."""
_PASSED_ON: Final = frozenset({"llm_authentication", "llm_insufficient_credits"})
"""Errors that will not pass by themselves and that another provider need not have."""

_log = Log(__name__)


class Route(NamedTuple):
    """Whom to ask, and what. `is_last` says that no fall-back is left."""

    source: Source
    request: ModelRequest
    is_last: bool


async def first_answer(
    routes: AsyncGenerator[Route], patience: Patience
) -> AsyncGenerator[tuple[ModelRequest, Sequence[AnyDelta]]]:
    """The batches of the first route that answers, with what was asked of it.

    Raises the ModelError of the first route where none does, with what became of the others; and any error that comes
    after something was yielded.
    """
    failures: list[ModelError] = []
    brief = msgspec.structs.replace(patience, calls=BRIEF_CALLS, seconds=min(BRIEF_SECONDS, patience.seconds))
    async with contextlib.aclosing(routes):
        async for source, request, is_last in routes:
            if failures:
                _log.warning("model_fell_back", to=request.model.handle, reason=failures[-1].detail)
            begun = False
            answer = ask(source.provider, source.breaker, request, patience if is_last else brief)
            try:
                async with contextlib.aclosing(answer):
                    async for batch in answer:
                        yield request, batch if begun or not failures else [AnsweredBy(request.model), *batch]
                        begun = True
                return
            except ModelError as error:
                if begun or not (error.transient or error.error_type in _PASSED_ON):
                    raise
                failures.append(error)
    raise _every(failures)


def _every(failures: Sequence[ModelError]) -> ModelError:
    first, *others = failures
    if not others:
        return first
    detail = f"{first.detail} The fall-backs failed, too: {'; '.join(error.detail for error in others)}"
    return ModelError(first.error_type, detail, retry_after=first.retry_after, transient=first.transient)
