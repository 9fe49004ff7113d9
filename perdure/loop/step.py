"""A step: one model call, how it went, and how its outcome is kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from sqlalchemy import Connection

from perdure.domain.errors import ModelError
from perdure.domain.events import AnyEvent
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message
from perdure.domain.runs import RunError, StepStatus, StopReason
from perdure.domain.runs import Step as StepRecord
from perdure.loop import context
from perdure.loop.answer import Answer, whole
from perdure.loop.turn import INTERRUPTED, Models, Turn
from perdure.providers.base import ModelRequest
from perdure.store import messages as message_store
from perdure.store import runs as run_store

NOT_RUN: Final[dict[str, str]] = {
    "cancelled": "This call was not run: the request was cancelled.",
    "max_tokens_exceeded": "This call was not run: the answer hit its token limit before the call was complete.",
}
NOT_RUN_AFTER_ERROR: Final = "This call was not run: the model's answer broke off."


class Step:
    """One model call of a turn. `broken` says why its answer is not whole, or is None."""

    def __init__(self, turn: Turn, messages: Sequence[Message]) -> None:
        self.id = new_id("step")
        self.turn = turn
        self.broken: StopReason | None = None
        self.error: RunError | None = None
        self.answer = Answer(
            agent_id=turn.agent.id,
            run_id=turn.run_id,
            step_id=self.id,
            show_tokens=turn.request.stream_tokens,
            parallel_calls=turn.agent.settings.parallel_tool_calls,
            single_calls=turn.request.single_calls,
        )
        self._request = ModelRequest(
            model=turn.model,
            messages=messages,
            tools=[tool.json_schema for tool in turn.tools],
            settings=turn.agent.settings,
        )
        self._created_at = now()
        self._started = time.monotonic_ns()
        self._ttft_ns: int | None = None
        self._model_ns: int | None = None

    async def ask(self, models: Models) -> AsyncIterator[list[AnyEvent]]:
        """Call the model and yield the events to show. A failure or an interruption is left in `broken`."""
        try:
            async with aclosing(models.stream(self._request)) as stream:  # pyright: ignore[reportArgumentType]
                async for batch in stream:
                    if self._ttft_ns is None:
                        self._ttft_ns = time.monotonic_ns() - self._started
                    events = self.answer.take(batch)
                    if events:
                        yield events
        except ModelError as error:
            self.broken = "invalid_llm_response" if error.error_type == "llm_empty_response" else "llm_api_error"
            self.error = RunError(error_type=error.error_type, message=error.message, detail=error.detail)
        except asyncio.CancelledError:
            self.broken = interruption(self.turn)
            self.error = None if self.broken == "cancelled" else INTERRUPTED
        self._model_ns = time.monotonic_ns() - self._started
        finish = self.answer.finish
        if self.broken is None and finish is not None and finish.reason == "length" and self.answer.has_calls:
            self.broken = "max_tokens_exceeded"

    @property
    def stop_reason(self) -> StopReason:
        """Why a whole answer without tool calls ends the run."""
        finish = self.answer.finish
        return "max_tokens_exceeded" if finish is not None and finish.reason == "length" else "end_turn"

    def keep_calls(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store the answer before any of its tools starts."""
        return self._store(conn, self.answer.message())

    def keep_answer(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store the answer that ends the run; where the model said nothing, only the step."""
        self.record(conn, "success", self.stop_reason)
        return self._store(conn, self.answer.message())

    def keep_partial(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store what was said before the answer broke; calls it had begun are answered as not run."""
        assert self.broken is not None
        self.record(conn, "cancelled" if self.broken == "cancelled" else "failed", self.broken)
        message = self.answer.message()
        events = list(self._store(conn, message))
        if message is not None and message.tool_calls:
            why = NOT_RUN.get(self.broken, NOT_RUN_AFTER_ERROR)
            returns = context.unanswered(message, message.tool_calls, why)
            message_store.append(conn, self.turn.tenant, self.turn.conversation_id, (returns,))
            events += whole(returns, single_calls=self.turn.request.single_calls)
        return events

    def record(
        self, conn: Connection, status: StepStatus, stop_reason: StopReason | None = None, tool_ns: int | None = None
    ) -> None:
        """Store the step's own row."""
        turn = self.turn
        record = StepRecord(
            id=self.id, run_id=turn.run_id, agent_id=turn.agent.id, status=status, created_at=self._created_at,
            model=turn.model.name, model_handle=turn.model.handle, provider_name=turn.model.provider_name,
            model_endpoint=turn.model.endpoint, context_window_limit=turn.agent.context_window,
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
        return whole(message, single_calls=self.turn.request.single_calls)


def interruption(turn: Turn) -> StopReason:
    """How a cancelled task is to end. Raises the cancellation again where nobody asked the run to end."""
    task = asyncio.current_task()
    if turn.interrupted is None or task is None:
        raise asyncio.CancelledError
    task.uncancel()
    return turn.interrupted
