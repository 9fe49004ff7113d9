"""The tool calls of one step: run what has effects outside our database, then keep all returns in one transaction.

A tool whose whole effect lies in our database runs inside that transaction, so effect and return are kept together
or not at all.
"""

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy import Connection

from perdure.domain.events import AnyEvent
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message, ToolCallPart, ToolReturnPart
from perdure.domain.tools import Tool
from perdure.loop import context
from perdure.loop.answer import whole
from perdure.loop.step import NOT_RUN, Step, interruption
from perdure.loop.turn import Rooms, Turn
from perdure.store import messages as message_store
from perdure.tools.implementation import ToolContext

CANCELLED_WHILE_RUNNING = "The request was cancelled while this call ran. It may have taken effect."


class ToolRound:
    """What answers the calls of one assistant message. `message` holds the returns once `keep` has run."""

    message: Message

    def __init__(self, turn: Turn, step: Step, asked: Message, rooms: Rooms) -> None:
        self._turn = turn
        self._step = step
        self._calls = asked.tool_calls
        self._executor = rooms.executor
        self._tools = {tool.name: tool for tool in turn.tools}
        self._returns: dict[str, ToolReturnPart] = {}
        self._started = time.monotonic_ns()

    async def run(self) -> None:
        """Run the tools with effects elsewhere: those that allow it at once, the others in order."""
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
                self._returns.setdefault(call.call_id, _error(call, CANCELLED_WHILE_RUNNING))

    def keep(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store the returns, in the order of the calls, with the effects of the tools that live in our database."""
        turn = self._turn
        changed = False
        parts: list[ToolReturnPart] = []
        for call in self._calls:
            part = self._returns.get(call.call_id)
            tool = self._tools.get(call.name)
            if part is None and tool is None:
                part = _error(call, f"Tool {call.name} not found. Available tools: {', '.join(self._tools) or 'none'}.")
            elif part is None and turn.interrupted:
                part = _error(call, NOT_RUN["cancelled"])
            elif part is None and tool is not None:
                outcome = self._executor.run_in(conn, tool, call, self._context(call))
                part, changed = outcome.part, changed or outcome.changed_blocks
            assert part is not None
            parts.append(part)
        if changed:
            context.recompile(conn, turn.tenant, turn.agent)
        self.message = Message(
            id=new_id("message"), agent_id=turn.agent.id, role="tool", parts=tuple(parts), created_at=now(),
            name=parts[0].name, step_id=self._step.id, run_id=turn.run_id,
        )  # fmt: skip
        message_store.append(conn, turn.tenant, turn.conversation_id, (self.message,))
        status = "cancelled" if turn.interrupted else "success"
        self._step.record(conn, status, turn.interrupted, tool_ns=time.monotonic_ns() - self._started)
        return whole(self.message, single_calls=turn.request.single_calls)

    def _outside(self, call: ToolCallPart) -> Tool | None:
        tool = self._tools.get(call.name)
        return None if tool is None or self._executor.is_transactional(tool) else tool

    async def _call(self, call: ToolCallPart, tool: Tool) -> None:
        outcome = await self._executor.run(tool, call, self._context(call))
        self._returns[call.call_id] = outcome.part

    def _context(self, call: ToolCallPart) -> ToolContext:
        turn = self._turn
        return ToolContext(
            tenant=turn.tenant, agent=turn.agent, conversation_id=turn.conversation_id, run_id=turn.run_id,
            step_id=self._step.id, call_id=call.call_id,
        )  # fmt: skip


def _error(call: ToolCallPart, text: str) -> ToolReturnPart:
    return ToolReturnPart(call_id=call.call_id, name=call.name, status="error", text=text)
