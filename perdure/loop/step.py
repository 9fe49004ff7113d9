"""A step: one model call, how it went, and how its outcome is kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import thinks_in_arguments
from perdure.domain.errors import ContextOverflow, ModelError
from perdure.domain.events import AnyEvent
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message
from perdure.domain.models import ModelSettings
from perdure.domain.runs import Logprobs, RunError, StepStatus, StopReason
from perdure.domain.runs import Step as StepRecord
from perdure.loop import context
from perdure.loop.answer import MAX_CALLS, Answer, whole
from perdure.loop.manner import must_call, with_heartbeat
from perdure.loop.thoughts import has_own, recalled, with_thoughts
from perdure.loop.tool_rules import Choice, ToolRules
from perdure.loop.turn import INTERRUPTED, Models, Turn
from perdure.providers.base import ModelRequest
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.telemetry.watch import StepWatch

NOT_RUN: Final[dict[str, str]] = {
    "cancelled": "This call was not run: the request was cancelled.",
    "max_tokens_exceeded": "This call was not run: the answer hit its token limit before the call was complete.",
}
MAX_ANSWER_CHARS: Final = 16_000_000
"""Characters of one answer, several times what any model gives: one that goes on for ever must end somewhere."""
NOT_RUN_AFTER_ERROR = "This call was not run: the model's answer broke off."


class Step:
    """One model call of a turn, and what it may answer with.

    `broken` says why the answer is not whole, or is None; `too_long` is its refusal to read what it was sent.
    """

    def __init__(self, turn: Turn, messages: Sequence[Message], choice: Choice, rules: ToolRules) -> None:
        legacy = must_call(turn.agent.agent_type)
        settings = _settings(turn, parallel=not legacy and rules.parallel_allowed)
        thoughts = thinks_in_arguments(turn.agent, turn.model)
        tools = [tool.json_schema for tool in turn.tools if tool.name in choice.names]
        own = {schema["name"] for schema in tools if has_own(schema)}
        self.id = new_id("step")
        self.turn = turn
        self.choice = choice
        self.broken: StopReason | None = None
        self.too_long: ContextOverflow | None = None
        self.error: RunError | None = None
        self.answer = Answer(
            agent_id=turn.agent.id,
            run_id=turn.run_id,
            step_id=self.id,
            show_tokens=turn.request.stream_tokens,
            parallel_calls=settings.parallel_tool_calls,
            single_calls=turn.request.single_calls,
            voice=turn.voice,
            text_is_thought=legacy,
            held=lambda name: name in choice.names and (rules.needs_approval(name) or name in turn.client_tools),
            thinks=lambda name: thoughts and name not in own,
        )
        if thoughts:
            tools, messages = [with_thoughts(tool) for tool in tools], recalled(messages)
        self._request = ModelRequest(
            model=turn.model,
            messages=messages,
            tools=[with_heartbeat(tool, rules) for tool in tools] if legacy else tools,
            tool_choice="required" if legacy and tools and choice.tool_choice == "auto" else choice.tool_choice,
            settings=settings,
        )
        self._watch = StepWatch(turn.run_id, self.id, turn.conversation_id, turn.model, settings)
        self._created_at = now()
        self._started = time.monotonic_ns()
        self._ttft_ns: int | None = None
        self._model_ns: int | None = None

    async def ask(self, models: Models) -> AsyncIterator[list[AnyEvent]]:
        """Call the model and yield the events to show. A failure or an interruption is left in `broken`."""
        self._watch.ask(self._request.messages)
        self.turn.unanswered = True
        try:
            async with aclosing(models.stream(self.turn.tenant, self._request)) as stream:  # pyright: ignore[reportArgumentType]
                async for batch in stream:
                    self.turn.unanswered = False
                    if self._ttft_ns is None:
                        self._ttft_ns = time.monotonic_ns() - self._started
                    events = self.answer.take(batch)
                    if events:
                        yield events
                    if self.answer.chars > MAX_ANSWER_CHARS:
                        self.broken = "max_tokens_exceeded"
                        break
                    if self.answer.has_too_many_calls:
                        raise ModelError("llm_error", f"The model called more than {MAX_CALLS} tools in one answer.")
            if self.answer.has_calls and self._withheld:
                raise ModelError(
                    "llm_bad_request", "The provider withheld the rest of an answer that was calling tools."
                )
        except ModelError as error:
            self.broken = "invalid_llm_response" if error.error_type == "llm_empty_response" else "llm_api_error"
            self.error = RunError(error_type=error.error_type, message=error.message, detail=error.detail)
            self.too_long = error if isinstance(error, ContextOverflow) and self.answer.is_empty else None
        except asyncio.CancelledError:
            self.broken = interruption(self.turn)
            self.error = None if self.broken == "cancelled" else INTERRUPTED
        self.turn.unanswered = False
        self._model_ns = time.monotonic_ns() - self._started
        answer, finish = self.answer, None if self.answer.finish is None else self.answer.finish.reason
        self._watch.answer(
            self._outcome, self._model_ns, self._ttft_ns, answer.usage, finish, answer.message, answer.model
        )
        if self.broken is None and self.cut and self.answer.has_calls:
            self.broken = "max_tokens_exceeded"

    @property
    def _outcome(self) -> str:
        if self.error is not None:
            return self.error.error_type
        return self.broken or "success"

    @property
    def cut(self) -> bool:
        """Whether the answer hit the token limit."""
        finish = self.answer.finish
        return finish is not None and finish.reason == "length"

    @property
    def _withheld(self) -> bool:
        """Whether the provider stopped the answer for what it says."""
        finish = self.answer.finish
        return finish is not None and finish.reason == "content_filter"

    @property
    def logprobs(self) -> Logprobs | None:
        """Those of the answer, where they were asked for and the provider has them."""
        return self.answer.logprobs if self._request.settings.return_logprobs else None

    def keep_calls(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store the answer before any of its tools starts."""
        return self._store(conn, self.answer.message())

    def keep_answer(self, conn: Connection, *, stop_reason: StopReason | None) -> Sequence[AnyEvent]:
        """Store an answer without calls; where the model said nothing, only the step."""
        self.record(conn, "success", stop_reason)
        return self._store(conn, self.answer.message())

    def keep_request(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store the answer and, in a message of their own, the calls that wait for somebody outside."""
        self.record(conn, "success", "requires_approval")
        return [*self._store(conn, self.answer.message()), *self._store(conn, self.answer.request())]

    def keep_partial(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store what was said before the answer broke; calls it had begun are answered as not run."""
        assert self.broken is not None
        self.record(conn, "cancelled" if self.broken == "cancelled" else "failed", self.broken)
        said = [message for message in (self.answer.message(), self.answer.request()) if message is not None]
        events = [event for message in said for event in self._store(conn, message)]
        calls = [call for message in said for call in message.tool_calls]
        if calls:
            returns = context.unanswered(said[-1], calls, NOT_RUN.get(self.broken, NOT_RUN_AFTER_ERROR))
            message_store.append(conn, self.turn.tenant, self.turn.conversation_id, (returns,))
            events += whole(returns, single_calls=self.turn.request.single_calls, voice=self.turn.voice)
        return events

    def record(
        self, conn: Connection, status: StepStatus, stop_reason: StopReason | None = None, tool_ns: int | None = None
    ) -> None:
        """Store the step's own row."""
        self._watch.end(status)
        turn, model = self.turn, self.answer.model or self.turn.model
        record = StepRecord(
            id=self.id, run_id=turn.run_id, agent_id=turn.agent.id, status=status, created_at=self._created_at,
            model=model.name, model_handle=model.handle, provider_name=model.provider_name,
            model_endpoint=model.endpoint, context_window_limit=turn.agent.context_window,
            stop_reason=stop_reason, usage=self.answer.usage, error=self.error, ttft_ns=self._ttft_ns,
            model_ns=self._model_ns, tool_ns=tool_ns,
        )  # fmt: skip
        run_store.record_step(conn, turn.tenant, record)

    def _store(self, conn: Connection, message: Message | None) -> Sequence[AnyEvent]:
        if message is None:
            return ()
        message_store.append(conn, self.turn.tenant, self.turn.conversation_id, (message,))
        if self.turn.request.stream_tokens:
            return ()
        return whole(message, single_calls=self.turn.request.single_calls, voice=self.turn.voice)


def _settings(turn: Turn, *, parallel: bool) -> ModelSettings:
    """The agent's settings with what this request wants otherwise."""
    settings, request = turn.agent.settings, turn.request
    if settings.parallel_tool_calls and not parallel:
        settings = msgspec.structs.replace(settings, parallel_tool_calls=False)
    if request.return_logprobs:
        settings = msgspec.structs.replace(settings, return_logprobs=True, top_logprobs=request.top_logprobs)
    if request.response_format is not None:
        settings = msgspec.structs.replace(settings, response_format=request.response_format)
    return settings


def interruption(turn: Turn) -> StopReason:
    """How a cancelled task is to end. Raises the cancellation again where nobody asked the run to end."""
    task = asyncio.current_task()
    if turn.interrupted is None or task is None:
        raise asyncio.CancelledError
    task.uncancel()
    return turn.interrupted
