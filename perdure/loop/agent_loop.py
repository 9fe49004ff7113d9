"""The one loop: repeat steps until there is a reason to stop.

An async generator of what happened. Whoever consumes it owns the numbering, the transactions and the readers.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from perdure.domain.errors import Conflict, Invalid
from perdure.domain.events import AnyEvent
from perdure.domain.ids import now
from perdure.domain.messages import Message, ToolCallPart, ToolReturnPart
from perdure.domain.runs import RunError, Usage
from perdure.loop import approval, context
from perdure.loop.manner import must_call
from perdure.loop.resume import no_call, standing
from perdure.loop.step import Step
from perdure.loop.tool_round import Resumed, ToolRound
from perdure.loop.tool_rules import ToolRules
from perdure.loop.turn import Commit, End, Item, Rooms, Turn, interrupted_end
from perdure.loop.verdict import Called, Verdict, called_since_input, heartbeat, judge
from perdure.store import messages as message_store
from perdure.store import steps as step_store


class _SoFar:
    """Where a run stands: what the model sees, what was called, what follows from it, what it cost."""

    def __init__(self, messages: list[Message], turn: Turn) -> None:
        self.messages = messages
        self.called = Called()
        self.verdict = Verdict(None)
        self.usage = Usage()
        self.steps = turn.request.max_steps
        self.turn_start = min((message.seq for message in messages if message.run_id == turn.run_id), default=0)

    def take(self, tools: ToolRound) -> None:
        """Go on from what tools returned."""
        self.called, self.verdict = tools.called, tools.verdict
        self.messages += tools.messages


async def agent_loop(turn: Turn, rooms: Rooms) -> AsyncIterator[Item]:
    """Work one run. What a provider or a tool does wrong ends it with an `End` that says so; nothing is raised."""
    so_far = _SoFar(await rooms.db.read(lambda conn: message_store.context(conn, turn.conversation_id)), turn)
    rules = ToolRules(turn.agent.tool_rules, [tool.name for tool in turn.tools])
    try:
        for begin in (_took_up, _answered) if turn.taken_up else (_answered,):
            async for item in begin(turn, rooms, rules, so_far):
                yield item
                if isinstance(item, End):
                    return
        for left in reversed(range(so_far.steps)):
            if turn.interrupted:
                break
            async for item in _step(turn, rooms, rules, so_far):
                yield item
                if isinstance(item, End):
                    return
            if so_far.verdict.nudge is not None and left:
                yield _nudged(turn, so_far, so_far.verdict.nudge)
    except (Invalid, Conflict) as error:
        kind = "pending_approval" if isinstance(error, Conflict) else "internal_error"
        yield End("error", so_far.usage, RunError(error_type=kind, message=error.message))
        return
    if turn.interrupted:
        yield interrupted_end(turn, so_far.usage)
    else:
        yield End("max_steps" if turn.request.max_steps else "end_turn", so_far.usage)


async def _took_up(turn: Turn, rooms: Rooms, rules: ToolRules, so_far: _SoFar) -> AsyncIterator[Item]:
    """Stand where a process stood that is gone; calls it left open are run again or answered as unknown."""
    steps = await rooms.db.read(lambda conn: step_store.of_run(conn, turn.tenant, turn.run_id))
    stood = standing(steps, so_far.messages, rules)
    so_far.usage, so_far.called, so_far.verdict = stood.usage, stood.called, stood.verdict
    so_far.steps -= stood.steps
    if stood.end is not None:
        yield stood.end
    elif stood.verdict.nudge is not None:
        yield _nudged(turn, so_far, stood.verdict.nudge)
    elif stood.verdict.stop is not None:
        yield End(stood.verdict.stop, so_far.usage)
    elif (tools := _left_open(turn, rooms, rules, so_far.messages)) is not None:
        await tools.run()
        yield Commit(tools.keep)
        so_far.take(tools)
        if so_far.verdict.stop is not None:
            yield End(so_far.verdict.stop, so_far.usage)


async def _answered(turn: Turn, rooms: Rooms, rules: ToolRules, so_far: _SoFar) -> AsyncIterator[Item]:
    """Run the calls that waited for the decisions this request brings. Raises Conflict where it brings none."""
    last = so_far.messages[-1]
    if turn.request.decisions:
        so_far.steps -= 1
        if turn.taken_up and last.role != "approval":
            return
        tools = _resumed(turn, rooms, rules, so_far.messages)
        await tools.run()
        yield Commit(tools.keep)
        so_far.take(tools)
        if so_far.verdict.stop is not None and not turn.request.input:
            yield End(so_far.verdict.stop, so_far.usage)
    elif approval.pending_in(so_far.messages[-2:]) is not None:
        raise Conflict(approval.PENDING)


def _nudged(turn: Turn, so_far: _SoFar, why: str) -> Commit:
    """Tell the model that it has another turn."""
    nudge = heartbeat(turn, why)
    so_far.messages.append(nudge)
    return Commit(partial(_keep, turn, nudge))


async def _step(turn: Turn, rooms: Rooms, rules: ToolRules, so_far: _SoFar) -> AsyncIterator[Item]:
    """Ask the model once and run what it calls; with an `End` where the run is over."""
    choice = rules.choice(so_far.called.names, so_far.called.last_return, must_call=bool(so_far.verdict.missing))
    sent = context.assemble(turn.agent, turn.request, so_far.messages, so_far.turn_start)
    step = Step(turn, sent, choice, rules)
    async for events in step.ask(rooms.models):
        yield events
    so_far.usage = usage = so_far.usage.plus(step.answer.usage)
    message = step.answer.message()
    if step.broken is not None:
        yield Commit(step.keep_partial, wait=False)
        yield End(step.broken, usage, step.error)
        return
    if step.answer.request() is not None:
        yield Commit(step.keep_request, wait=False)
        yield End("requires_approval", usage)
        return
    so_far.messages += [message] if message is not None else []
    if message is not None and message.tool_calls:
        yield Commit(step.keep_calls)
        tools = ToolRound(turn, step, message.tool_calls, rooms, rules, so_far.called)
        await tools.run()
        yield Commit(tools.keep)
        so_far.take(tools)
    else:
        so_far.verdict = judge(rules, so_far.called, None, cut=step.cut)
        if not step.cut and must_call(turn.agent.agent_type):
            yield Commit(partial(step.keep_answer, stop_reason="no_tool_call"), wait=False)
            yield End("no_tool_call", usage, no_call())
            return
        yield Commit(partial(step.keep_answer, stop_reason=so_far.verdict.stop), wait=False)
    if so_far.verdict.stop is not None and not turn.interrupted:
        yield End(so_far.verdict.stop, usage)


def _resumed(turn: Turn, rooms: Rooms, rules: ToolRules, messages: Sequence[Message]) -> ToolRound:
    """The calls that waited for decisions, which stand last in history. Raises Invalid where the two do not fit."""
    pending = approval.pending_in(messages[:-1])
    if pending is None:
        raise Invalid(approval.NOTHING_PENDING)
    chars = approval.return_chars(turn.agent.context_window)
    settled = approval.settle(pending, turn.request.decisions, run_id=turn.run_id, return_chars=chars)
    called = called_since_input(messages)
    # What was allowed when it was asked for may not be now: rules hold at execution, too.
    step = Resumed(pending.request.step_id or "", rules.choice(called.names, called.last_return))
    at = now()
    following = [msgspec.structs.replace(each, run_id=turn.run_id, created_at=at) for each in turn.request.input]
    again, unknown = _sorted_out(turn, rooms, settled.approved)
    return ToolRound(
        turn, step, again, rooms, rules, called, given=(*settled.given, *unknown), denied=settled.denied,
        following=following,
    )  # fmt: skip


def _left_open(turn: Turn, rooms: Rooms, rules: ToolRules, messages: Sequence[Message]) -> ToolRound | None:
    """The calls that stand last in history without an answer, begun by a process that is gone; None without any."""
    asked = messages[-1]
    if asked.role != "assistant" or not asked.tool_calls:
        return None
    called = called_since_input(messages)
    step = Resumed(asked.step_id or "", rules.choice(called.names, called.last_return))
    again, unknown = _sorted_out(turn, rooms, asked.tool_calls)
    return ToolRound(turn, step, again, rooms, rules, called, given=unknown)


def _sorted_out(
    turn: Turn, rooms: Rooms, calls: Sequence[ToolCallPart]
) -> tuple[Sequence[ToolCallPart], Sequence[ToolReturnPart]]:
    """The calls to run now, and answers for those that another process may have run already."""
    if not turn.taken_up:
        return calls, ()
    repeatable = {tool.name for tool in turn.tools if rooms.executor.may_repeat(tool)}
    return [call for call in calls if call.name in repeatable], [
        ToolReturnPart(call_id=call.call_id, name=call.name, status="error", text=context.OUTCOME_UNKNOWN)
        for call in calls
        if call.name not in repeatable
    ]


def _keep(turn: Turn, message: Message, conn: Connection) -> Sequence[AnyEvent]:
    """Store a message that streams do not show."""
    message_store.append(conn, turn.tenant, turn.conversation_id, (message,))
    return ()
