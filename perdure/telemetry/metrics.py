"""What is counted, one function for each thing that happens.

prometheus-client is loaded with the first thing that is counted, or by `warm_up`. What happens all the time, at start
too, is counted only once it is loaded, so that a start does not wait for it.
"""

import sys
import time
from collections.abc import Awaitable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from perdure import logs
from perdure.domain.models import Model
from perdure.domain.runs import RunStatus, StepStatus, StopReason, Usage
from perdure.lazy import lazy_module

if TYPE_CHECKING:
    from prometheus_client import exposition

    from perdure.telemetry import instruments
else:
    instruments: ModuleType = lazy_module("perdure.telemetry.instruments")
    exposition: ModuleType = lazy_module("prometheus_client.exposition")

T = TypeVar("T")

ToolOutcome = Literal["success", "error", "timeout", "cancelled", "refused"]
CallbackOutcome = Literal["delivered", "refused", "failed"]
UnitKind = Literal["read", "write"]

INSTRUMENTS: Final = "perdure.telemetry.instruments"
_METHODS: Final = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "HEAD"})
opened: Final = {"requests": 0, "readers": 0}
"""What is open now. Whoever opens and closes keeps the count."""
_waiting: Final[dict[UnitKind, int]] = {"read": 0, "write": 0}


def run_ended(status: RunStatus, reason: StopReason, seconds: float, first: float | None) -> None:
    """A run ended `seconds` after it was accepted; `first` is when it showed its first event, if it did."""
    instruments.RUNS.labels(status, reason).inc()
    instruments.RUN_SECONDS.labels(status).observe(seconds)
    if first is not None:
        instruments.FIRST_SECONDS.observe(first)


def step_ended(status: StepStatus) -> None:
    instruments.STEPS.labels(status).inc()


def model_asked_again(model: Model, error_type: str) -> None:
    """A provider failed before it said anything, and is asked once more."""
    instruments.MODEL_RETRIES.labels(provider_label(model), error_type).inc()


def provider_label(model: Model) -> str:
    """Who serves a model. The names that callers give their providers are without number."""
    return model.provider_name if model.provider_category == "base" else model.provider_category


def model_answered(provider: str, outcome: str, seconds: float, first: float | None, usage: Usage) -> None:
    """A model call ended. `outcome` is success, cancelled, or one of the contract's error types."""
    instruments.MODEL_CALLS.labels(provider, outcome).inc()
    instruments.MODEL_SECONDS.labels(provider).observe(seconds)
    if first is not None:
        instruments.MODEL_FIRST_SECONDS.labels(provider).observe(first)
    for kind, count in (
        ("input", usage.prompt_tokens), ("output", usage.completion_tokens),
        ("cached_input", usage.cached_input_tokens), ("cache_write", usage.cache_write_tokens),
        ("reasoning", usage.reasoning_tokens),
    ):  # fmt: skip
        if count:
            instruments.TOKENS.labels(provider, kind).inc(count)


def tool_ended(outcome: ToolOutcome, seconds: float | None = None) -> None:
    """A tool call was answered; without `seconds` it did not run."""
    instruments.TOOL_CALLS.labels(outcome).inc()
    if seconds is not None:
        instruments.TOOL_SECONDS.observe(seconds)


def stream_ended(size: int, *, stalled: bool) -> None:
    """A reader is gone, who was sent `size` bytes."""
    instruments.STREAM_BYTES.inc(size)
    if stalled:
        instruments.STALLED.inc()


def callback_ended(outcome: CallbackOutcome) -> None:
    instruments.CALLBACKS.labels(outcome).inc()


def commit_failed() -> None:
    instruments.COMMIT_FAILURES.inc()


def committed(events: int, seconds: float) -> None:
    """The event log made so many events durable."""
    if INSTRUMENTS in sys.modules:
        instruments.COMMIT_EVENTS.observe(events)
        instruments.COMMIT_SECONDS.observe(seconds)


def request_answered(method: str, status: int) -> None:
    if INSTRUMENTS in sys.modules:
        # Callers choose the method, and could make a series of each word there is.
        instruments.REQUESTS.labels(method if method in _METHODS else "other", str(status)).inc()


async def database_unit(kind: UnitKind, done: Awaitable[T]) -> T:
    """Wait for a unit of work, and count how long that took."""
    began = time.perf_counter()
    _waiting[kind] += 1
    try:
        return await done
    finally:
        _waiting[kind] -= 1
        if INSTRUMENTS in sys.modules:
            instruments.UNIT_SECONDS.labels(kind).observe(time.perf_counter() - began)


def note(live: Mapping[str, int]) -> None:
    """Take down how things stand in this process. `live` are runs by state."""
    for state, count in live.items():
        instruments.RUNS_LIVE.labels(state).set(count)
    for kind, count in _waiting.items():
        instruments.UNITS_WAITING.labels(kind).set(count)
    instruments.READERS.set(opened["readers"])
    instruments.REQUESTS_OPEN.set(opened["requests"])
    instruments.LOG_LINES_LOST.inc(logs.take_lost())


def render(accept: str) -> tuple[bytes, str]:
    """All of it as text, in the format that `accept` prefers, with its content type."""
    encode, content_type = exposition.choose_encoder(accept)
    return encode(instruments.registry()), content_type
