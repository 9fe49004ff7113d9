"""The tool calls of one step: run what has effects outside our database, then keep all returns in one transaction.

A tool whose whole effect lies in our database runs inside that transaction, so effect and return are kept together
or not at all. A call that the tool rules do not allow is answered and not run: what the model was offered is no proof.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from perdure.domain.events import AnyEvent
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message, ToolCallPart, ToolReturnPart
from perdure.domain.runs import StepStatus, StopReason
from perdure.domain.tools import Tool
from perdure.loop import context
from perdure.loop.answer import whole
from perdure.loop.manner import HEARTBEAT, must_call
from perdure.loop.step import NOT_RUN, interruption
from perdure.loop.tool_rules import Choice, ToolRules, check_prefilled
from perdure.loop.turn import Rooms, Turn
from perdure.loop.verdict import Called, Verdict, judge
from perdure.store import messages as message_store
from perdure.telemetry import metrics
from perdure.tools import arguments
from perdure.tools.implementation import Outcome, ToolContext

CANCELLED_WHILE_RUNNING = "The request was cancelled while this call ran. It may have taken effect."


class Origin(Protocol):
    """Where calls come from: a step of this run, or one that had to wait for decisions."""

    @property
    def id(self) -> str: ...

    @property
    def choice(self) -> Choice: ...

    def record(
        self, conn: Connection, status: StepStatus, stop_reason: StopReason | None = None, tool_ns: int | None = None
    ) -> None: ...


class Resumed(msgspec.Struct, frozen=True):
    """The step whose calls waited; it was recorded when it paused."""

    id: str
    choice: Choice

    def record(
        self, conn: Connection, status: StepStatus, stop_reason: StopReason | None = None, tool_ns: int | None = None
    ) -> None:
        """Nothing to add."""


class ToolRound:
    """What answers the calls of one answer, and what follows it in history.

    `given` and `denied` answer calls without running anything here. Once `keep` has run, `messages` are the returns and
    what follows them, `called` is what was called up to now, `verdict` what follows from it, `system` the new system
    message where the model is to see it at once.
    """

    messages: tuple[Message, ...]
    called: Called
    verdict: Verdict
    system: Message | None = None

    def __init__(
        self,
        turn: Turn,
        step: Origin,
        calls: Sequence[ToolCallPart],
        rooms: Rooms,
        rules: ToolRules,
        called: Called,
        *,
        given: Sequence[ToolReturnPart] = (),
        denied: Sequence[ToolReturnPart] = (),
        following: Sequence[Message] = (),
    ) -> None:
        self._turn = turn
        self._step = step
        self._rules = rules
        self._before = called
        self._executor = rooms.executor
        self._tools = {tool.name: tool for tool in turn.tools}
        self._misfit = False
        self._refused: dict[str, ToolReturnPart] = {}
        self._given = given
        self._denied = denied
        self._following = following
        self._calls = [self._admitted(call) for call in calls]
        self._outcomes: dict[str, Outcome] = {}
        self._ran_in: set[str] = set()
        self._started = time.monotonic_ns()

    def _admitted(self, call: ToolCallPart) -> ToolCallPart:
        """The call as it is to run, with the arguments that the rules give; or as it is, and its refusal is noted."""
        choice = self._step.choice
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(choice.names) or "none"
            self._refuse(call, f"Tool {call.name} not found. Available tools: {known}.")
        elif call.name not in choice.names:
            self._refuse(call, self._rules.violation(call.name, choice))
        elif given := self._rules.prefilled(call.name, self._before.names):
            problem = check_prefilled(tool.json_schema, given)
            if problem is not None:
                self._misfit = True
                self._refuse(call, problem)
            else:
                values = {**arguments.parse(call.arguments), **given}
                return msgspec.structs.replace(call, arguments=msgspec.json.encode(values).decode())
        return call

    def _refuse(self, call: ToolCallPart, why: str) -> None:
        metrics.tool_ended("refused")
        self._refused[call.call_id] = _error(call, why)

    async def run(self) -> None:
        """Run the tools with effects elsewhere: those that allow it at once, the others in order."""
        if self._turn.interrupted:
            return
        waiting = [(call, tool) for call in self._calls if (tool := self._outside(call)) is not None]
        try:
            async with asyncio.TaskGroup() as group:
                for call, tool in waiting:
                    if tool.enable_parallel_execution:
                        group.create_task(self._call(call, tool))
                for call, tool in waiting:
                    if not tool.enable_parallel_execution:
                        await self._call(call, tool)
        except asyncio.CancelledError:
            interruption(self._turn)
            for call, _ in waiting:
                self._outcomes.setdefault(call.call_id, Outcome(_error(call, CANCELLED_WHILE_RUNNING)))

    def keep(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store the returns, in the order of the calls, with the effects of the tools that live in our database."""
        turn = self._turn
        changed, at_once, started_at = False, False, now()
        parts: list[ToolReturnPart] = [*self._given, *self._denied]
        for call in self._calls:
            outcome = self._outcome(conn, call)
            changed, at_once = changed or outcome.changed_blocks, at_once or outcome.at_once
            parts.append(outcome.part)
        if changed:
            context.recompile_sharing(conn, turn.tenant, turn.agent.id, started_at)
        if at_once:
            self.system = dict(message_store.system_messages(conn, turn.agent.id)).get(turn.conversation_id)
        returns = Message(
            id=new_id("message"), agent_id=turn.agent.id, role="tool", parts=tuple(parts), created_at=now(),
            name=parts[0].name, step_id=self._step.id, run_id=turn.run_id,
        )  # fmt: skip
        self.messages = (returns, *self._following)
        message_store.append(conn, turn.tenant, turn.conversation_id, self.messages)
        self._conclude(parts)
        tool_ns = time.monotonic_ns() - self._started
        if turn.interrupted:
            self._step.record(conn, "cancelled", turn.interrupted, tool_ns=tool_ns)
        else:
            self._step.record(conn, "failed" if self._misfit else "success", self.verdict.stop, tool_ns=tool_ns)
        return whole(returns, single_calls=turn.request.single_calls, voice=turn.voice)

    def _outcome(self, conn: Connection, call: ToolCallPart) -> Outcome:
        """What came of a call, with its effects in our database made in this transaction."""
        if (refusal := self._refused.get(call.call_id)) is not None:
            return Outcome(refusal)
        tool = self._tools[call.name]
        if (outcome := self._outcomes.get(call.call_id)) is not None:
            return self._executor.kept(conn, tool, call, outcome)
        if self._turn.interrupted:
            return Outcome(_error(call, NOT_RUN["cancelled"]))
        again = call.call_id in self._ran_in
        outcome = self._executor.run_in(conn, tool, call, self._context(call), again=again)
        self._ran_in.add(call.call_id)
        return outcome

    def _conclude(self, parts: Sequence[ToolReturnPart]) -> None:
        denied = {part.call_id for part in self._denied}
        ran = [part for part in parts if part.call_id not in self._refused and part.call_id not in denied]
        names = tuple(part.name for part in ran)
        before = self._before
        self.called = Called(before.names + names, ran[-1].text) if ran else before
        asked = self._heartbeat() if must_call(self._turn.agent.agent_type) else None
        self.verdict = judge(self._rules, self.called, names, misfit=self._misfit, heartbeat=asked)

    def _heartbeat(self) -> bool:
        """Whether one of the calls asked for another step."""
        return any(arguments.parse(call.arguments).get(HEARTBEAT) is True for call in self._calls)

    def _outside(self, call: ToolCallPart) -> Tool | None:
        """The tool of a call that is to run here and now, not in the transaction; None for all others."""
        if call.call_id in self._refused:
            return None
        tool = self._tools[call.name]
        return None if self._executor.is_transactional(tool) else tool

    async def _call(self, call: ToolCallPart, tool: Tool) -> None:
        self._outcomes[call.call_id] = await self._executor.run(tool, call, self._context(call))

    def _context(self, call: ToolCallPart) -> ToolContext:
        turn = self._turn
        return ToolContext(
            tenant=turn.tenant, agent=turn.agent, conversation_id=turn.conversation_id, run_id=turn.run_id,
            step_id=self._step.id, call_id=call.call_id,
        )  # fmt: skip


def _error(call: ToolCallPart, text: str) -> ToolReturnPart:
    return ToolReturnPart(call_id=call.call_id, name=call.name, status="error", text=text)
