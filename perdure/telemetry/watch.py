"""What is told of a run, its steps and its tool calls: each a metric, a span and, for runs, a line in the log.

Whoever works one of them makes its watch at the beginning and says how it ended; what is told of it is decided here.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextvars import Token
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from perdure.domain.agents import Agent
from perdure.domain.messages import Message
from perdure.domain.models import Model, ModelSettings
from perdure.domain.runs import Run, RunError, StepStatus, StopReason, Usage, status_of
from perdure.lazy import lazy_module
from perdure.logs import Log, about
from perdure.telemetry import metrics, tracing
from perdure.telemetry.metrics import ToolOutcome

if TYPE_CHECKING:
    from perdure.telemetry import content
else:
    content: ModuleType = lazy_module("perdure.telemetry.content")

log = Log("perdure.runs")

_PROVIDERS: Final = {"xai": "x_ai", "gemini": "gcp.gemini", "google_ai": "gcp.gemini", "google_vertex": "gcp.vertex_ai",
                     "mistral": "mistral_ai", "bedrock": "aws.bedrock", "azure": "azure.ai.openai"}  # fmt: skip
"""Names that the semantic conventions have for providers, where they are not ours."""

_FINISHES: Final = {"tool_calls": "tool_call"}


class _Held:
    """A span that others may be found under."""

    __slots__ = ("__weakref__", "span")

    def __init__(self, span: Span) -> None:
        self.span = span


_spans: Final = WeakValueDictionary[str, _Held]()
"""Open spans by the id of their run or step, for as long as whoever holds their watch lives."""


def _held(key: str, span: Span | None) -> _Held | None:
    if span is None:
        return None
    held = _spans[key] = _Held(span)
    return held


def _above(*keys: str) -> Span | None:
    return next((held.span for key in keys if (held := _spans.get(key)) is not None), None)


class RunWatch:
    """A run from its acceptance to its end."""

    __slots__ = ("_began_ns", "_facts", "_held", "_run")

    def __init__(self, tenant: str, run: Run, agent: Agent) -> None:
        self._run = run
        self._facts: dict[str, Any] = {"run_id": run.id, "agent_id": run.agent_id, "tenant": tenant}
        self._began_ns = time.monotonic_ns()
        self._held: _Held | None = None
        if tracing.is_on():
            attributes = {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": _PROVIDERS.get(agent.model.provider_name, agent.model.provider_name),
                "gen_ai.agent.id": agent.id,
                "gen_ai.agent.name": agent.name,
                "gen_ai.conversation.id": run.conversation_id,
                "gen_ai.request.model": agent.model.name,
                "perdure.run.id": run.id,
            }
            self._held = _held(run.id, tracing.start(f"invoke_agent {agent.name}", attributes))
        if self._held is not None:
            self._facts["trace_id"] = tracing.trace_id(self._held.span)

    def begin(self) -> None:
        """Its turn has come, in the task that calls this: lines logged from here on say whose they are."""
        about(**self._facts)
        log.debug("run began", waited=self._seconds())

    def end(self, reason: StopReason, usage: Usage, error: RunError | None, first_shown_ns: int | None) -> None:
        """It ended; `first_shown_ns` is how long after its acceptance it showed its first event, if it did."""
        seconds, status = self._seconds(), status_of(reason)
        first = None if first_shown_ns is None else first_shown_ns / 1e9
        # What a failed run stores last is no token.
        metrics.run_ended(status, reason, seconds, first if status == "completed" else None)
        error_type = None if error is None else error.error_type
        say = log.info if status != "failed" else log.warning
        say(
            "run ended", **self._facts, stop_reason=reason, seconds=round(seconds, 3),
            first_token_seconds=None if first is None else round(first, 3), steps=usage.step_count,
            prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens,
            **({} if error_type is None else {"error_type": error_type}),
        )  # fmt: skip
        if self._held is not None:
            tracing.note(self._held.span, {"perdure.stop_reason": reason, **_usage(usage)})
            tracing.end(self._held.span, error_type)

    def _seconds(self) -> float:
        return (time.monotonic_ns() - self._began_ns) / 1e9


class StepWatch:
    """A step: its model call, then its end."""

    __slots__ = ("_call", "_conversation_id", "_ended", "_held", "_model", "_settings")

    def __init__(self, run_id: str, step_id: str, conversation_id: str, model: Model, settings: ModelSettings) -> None:
        self._conversation_id = conversation_id
        self._model = model
        self._settings = settings
        self._ended = False
        self._call: Span | None = None
        self._held: _Held | None = None
        if tracing.is_on():
            attributes = {"perdure.run.id": run_id, "perdure.step.id": step_id}
            self._held = _held(step_id, tracing.start("step", attributes, parent=_above(run_id)))

    def ask(self, messages: Sequence[Message]) -> None:
        """The model is asked with these messages."""
        if self._held is None:
            return
        model, settings = self._model, self._settings
        address = urlsplit(model.endpoint or "")
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(model.provider_name, model.provider_name),
            "gen_ai.request.model": model.name,
            "gen_ai.request.stream": True,
            "gen_ai.request.temperature": settings.temperature,
            "gen_ai.request.max_tokens": settings.max_output_tokens,
            "gen_ai.request.frequency_penalty": settings.frequency_penalty,
            "gen_ai.conversation.id": self._conversation_id,
            "server.address": address.hostname,
            "server.port": address.port or ({"https": 443, "http": 80}.get(address.scheme)),
        }
        if tracing.with_content():
            attributes |= content.asked(messages)
        self._call = tracing.start(f"chat {model.name}", attributes, parent=self._held.span, kind=SpanKind.CLIENT)

    def answer(
        self, outcome: str, total_ns: int, first_ns: int | None, usage: Usage, finish: str | None,
        said: Callable[[], Message | None], by: Model | None = None,
    ) -> None:  # fmt: skip
        """The model has answered, or another one in its place, or it has failed to.

        `outcome` is success, cancelled, or the type of the error.
        """
        first = None if first_ns is None else first_ns / 1e9
        model = by or self._model
        metrics.model_answered(metrics.provider_label(model), outcome, total_ns / 1e9, first, usage)
        if self._call is None:
            return
        attributes = {
            **_usage(usage),
            "gen_ai.response.model": None if by is None else by.name,
            "gen_ai.response.finish_reasons": None if finish is None else [_FINISHES.get(finish, finish)],
            "gen_ai.response.time_to_first_chunk": first,
        }
        if tracing.with_content() and (message := said()) is not None:
            attributes |= content.answered(message)
        tracing.note(self._call, attributes)
        tracing.end(self._call, None if outcome == "success" else outcome)

    def end(self, status: StepStatus) -> None:
        """The step ended. A second time says nothing new: what records a step may run again after a passing fault."""
        if self._ended:
            return
        self._ended = True
        metrics.step_ended(status)
        if self._held is not None:
            tracing.end(self._held.span, None if status == "success" else status)


class ToolWatch:
    """A tool call, watched while the `with` lasts. Say what came of it with `ended`; else it was cancelled.

    One that is tried `again`, since the transaction it belongs to is repeated, was counted before.
    """

    __slots__ = ("_again", "_began_ns", "_outcome", "_result", "_span", "_token")

    def __init__(
        self, name: str, call_id: str, arguments: str, *, run_id: str, step_id: str, again: bool = False
    ) -> None:
        self._again = again
        self._outcome: ToolOutcome = "cancelled"
        self._result: str | None = None
        self._token: Token[Context] | None = None
        self._span: Span | None = None
        if tracing.is_on():
            attributes = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.call.id": call_id,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.arguments": arguments if tracing.with_content() else None,
            }
            self._span = tracing.start(f"execute_tool {name}", attributes, parent=_above(step_id, run_id))

    def __enter__(self) -> "ToolWatch":
        self._began_ns = time.monotonic_ns()
        if self._span is not None:
            self._token = tracing.enter(self._span)
        return self

    def ended(self, outcome: ToolOutcome, result: str) -> None:
        """What came of the call, and the text that answers it."""
        self._outcome, self._result = outcome, result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost = error is not None and not isinstance(error, asyncio.CancelledError)
        if lost:
            # A call in a transaction, which is lost with it: it is answered when that is repeated, and counted then.
            self._outcome = "error"
        elif not self._again:
            metrics.tool_ended(self._outcome, (time.monotonic_ns() - self._began_ns) / 1e9)
        if self._span is None or self._token is None:
            return
        tracing.leave(self._token)
        if tracing.with_content():
            tracing.note(self._span, {"gen_ai.tool.call.result": self._result})
        tracing.end(self._span, None if self._outcome == "success" else self._outcome)


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
