"""The one loop: repeat steps until there is a reason to stop.

An async generator of what happened. Whoever consumes it owns the numbering, the transactions and the readers.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.compaction import Trigger
from perdure.domain.errors import Conflict, Invalid
from perdure.domain.events import AnyEvent
from perdure.domain.ids import now
from perdure.domain.messages import Message, ToolCallPart, ToolReturnPart
from perdure.domain.runs import Logprobs, RunError, StopReason, Usage
from perdure.loop import approval, context
from perdure.loop.compaction import Compaction, Reason
from perdure.loop.manner import must_call
from perdure.loop.resume import no_call, standing
from perdure.loop.room import OVERFULL, OVERFULL_TEXT, room_of
from perdure.loop.step import Step
from perdure.loop.tool_round import Resumed, ToolRound
from perdure.loop.tool_rules import ToolRules
from perdure.loop.turn import Commit, End, Item, Models, Rooms, Turn, interrupted_end
from perdure.loop.verdict import Called, Verdict, called_since_input, heartbeat, judge
from perdure.store import messages as message_store
from perdure.store import steps as step_store

REFUSALS: Final = 3
"""How often a prompt that was refused as too long is made shorter."""

_EXCEEDED: Final[Trigger] = "context_window_exceeded"


class _SoFar:
    """Where a run stands: what the model sees, what was called, what follows from it, what it cost."""

    def __init__(self, messages: list[Message], turn: Turn, models: Models) -> None:
        self.messages = messages
        self.called = Called()
        self.verdict = Verdict(None)
        self.usage = Usage()
        self.steps = turn.request.max_steps
        self.room = room_of(turn, models)
        self.begun = False
        """Whether the model was asked in this run."""
        self.step: Step | None = None
        self.error: RunError | None = None
        """Why the last compaction failed, if it did."""
        self.logprobs: Logprobs | None = None

    def capped(self, turn: Turn) -> list[Message]:
        """What the model is to read next, each message cut to what leaves room for others."""
        return self.room.capped(context.assemble(turn.agent, turn.request, self.messages))

    def take(self, tools: ToolRound) -> None:
        """Go on from what tools returned."""
        self.called, self.verdict = tools.called, tools.verdict
        if tools.system is not None and self.messages[0].role == "system":
            self.messages[0] = tools.system
        self.messages += tools.messages

    def end(self, stop_reason: StopReason, error: RunError | None = None) -> End:
        """The end of a run that stands here."""
        return End(stop_reason, self.usage, error, self.logprobs)

    def forget_before(self, turn: Turn) -> list[int]:
        """Keep of history only what this turn began with; returns the numbers of what is gone."""
        start = min((message.seq for message in self.messages if message.run_id == turn.run_id), default=0)
        gone = [message.seq for message in self.messages[1:] if message.seq < start]
        self.messages = self.messages[:1] + [each for each in self.messages[1:] if each.seq >= start]
        return gone


async def agent_loop(turn: Turn, rooms: Rooms) -> AsyncIterator[Item]:
    """Work one run. What a provider or a tool does wrong ends it with an `End` that says so; nothing is raised."""
    stored = await rooms.db.read(lambda conn: message_store.context(conn, turn.conversation_id))
    so_far = _SoFar(stored, turn, rooms.models)
    if turn.request.compaction is not None:
        async for item in _compact_only(turn, rooms, so_far):
            yield item
        return
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
            if so_far.verdict.nudge is not None and left and not turn.interrupted:
                yield _nudged(turn, so_far, so_far.verdict.nudge)
    except (Invalid, Conflict) as error:
        kind = "pending_approval" if isinstance(error, Conflict) else "internal_error"
        yield so_far.end("error", RunError(error_type=kind, message=error.message))
        return
    if turn.interrupted:
        yield interrupted_end(turn, so_far.usage)
    else:
        yield so_far.end("max_steps" if turn.request.max_steps else "end_turn")


async def _took_up(turn: Turn, rooms: Rooms, rules: ToolRules, so_far: _SoFar) -> AsyncIterator[Item]:
    """Stand where a process stood that is gone; calls it left open are run again or answered as unknown."""
    steps = await rooms.db.read(lambda conn: step_store.of_run(conn, turn.tenant, turn.run_id))
    stood = standing(steps, so_far.messages, rules)
    so_far.usage, so_far.called, so_far.verdict = stood.usage, stood.called, stood.verdict
    so_far.steps -= stood.steps
    so_far.begun = stood.steps > 0
    if stood.end is not None:
        yield stood.end
    elif stood.verdict.nudge is not None:
        yield _nudged(turn, so_far, stood.verdict.nudge)
    elif stood.verdict.stop is not None:
        yield so_far.end(stood.verdict.stop)
    elif (tools := _left_open(turn, rooms, rules, so_far.messages)) is not None:
        await tools.run()
        yield Commit(tools.keep)
        so_far.take(tools)
        if so_far.verdict.stop is not None:
            yield so_far.end(so_far.verdict.stop)


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
            yield so_far.end(so_far.verdict.stop)
    elif approval.pending_in(so_far.messages[-2:]) is not None:
        raise Conflict(approval.PENDING)
    elif turn.agent.message_buffer_autoclear and (gone := so_far.forget_before(turn)):
        yield Commit(partial(_forget, turn, gone), wait=False)


def _nudged(turn: Turn, so_far: _SoFar, why: str) -> Commit:
    """Tell the model that it has another turn."""
    nudge = heartbeat(turn, why)
    so_far.messages.append(nudge)
    return Commit(partial(_keep, turn, nudge))


async def _compact_only(turn: Turn, rooms: Rooms, so_far: _SoFar) -> AsyncIterator[Item]:
    """A run that compacts its conversation and asks the model nothing else."""
    # After a crash it may have been done already.
    if not any(message.summary is not None and message.run_id == turn.run_id for message in so_far.messages):
        async for item in _compacted(turn, rooms, so_far, Reason(trigger="manual")):
            yield item
    if turn.interrupted:
        yield interrupted_end(turn, so_far.usage)
    else:
        yield End("end_turn" if so_far.error is None else "llm_api_error", so_far.usage, so_far.error)


async def _compacted(turn: Turn, rooms: Rooms, so_far: _SoFar, reason: Reason) -> AsyncIterator[Item]:
    """Compact, and go on from the context as it is then."""
    compaction = Compaction(turn, rooms, so_far.room, reason)
    async for item in compaction.run():
        yield item
    so_far.usage = so_far.usage.plus(compaction.usage)
    so_far.error = compaction.error
    so_far.messages = compaction.messages or so_far.messages


async def _asked(turn: Turn, rooms: Rooms, rules: ToolRules, so_far: _SoFar) -> AsyncIterator[Item]:
    """Ask the model once; what it said is in `so_far.step`, if the run got so far.

    Room is made first where what it is to read does not fit, and again where it refuses that as too long.
    """
    choice = rules.choice(so_far.called.names, so_far.called.last_return, must_call=bool(so_far.verdict.missing))
    if not so_far.begun:
        choice = choice.beginning(turn.request.tool_choice, turn.client_tools)
    so_far.begun = True
    capped = so_far.capped(turn)
    if so_far.room.is_overfull(capped[:1]):
        so_far.step = None
        yield End(OVERFULL, so_far.usage, _overfull())
        return
    if so_far.room.tokens(capped) > so_far.room.limit:
        async for item in _compacted(turn, rooms, so_far, Reason(trigger=_EXCEEDED, urgent=True)):
            yield item
        capped = so_far.capped(turn)
    for refused in range(REFUSALS + 1):
        so_far.step = None
        if turn.interrupted:
            return
        sent = so_far.room.fitted(capped)
        so_far.step = step = Step(turn, sent, choice, rules)
        async for events in step.ask(rooms.models):
            yield events
        if step.too_long is None:
            return
        if refused == REFUSALS:
            if so_far.room.tokens(sent[:1]) > so_far.room.window / 2:
                step.broken, step.error = OVERFULL, _overfull(step.error)
            return
        so_far.room = so_far.room.shrunk(so_far.room.tokens(sent), step.too_long.limit)
        reason = Reason(trigger=_EXCEEDED, urgent=True, utmost=refused > 0)
        async for item in _compacted(turn, rooms, so_far, reason):
            yield item
        capped = so_far.capped(turn)


async def _step(turn: Turn, rooms: Rooms, rules: ToolRules, so_far: _SoFar) -> AsyncIterator[Item]:
    """Ask the model once and run what it calls; with an `End` where the run is over."""
    async for item in _asked(turn, rooms, rules, so_far):
        yield item
    step = so_far.step
    if step is None:
        return
    so_far.usage, so_far.logprobs = so_far.usage.plus(step.answer.usage), step.logprobs
    message = step.answer.message()
    if step.broken is not None:
        yield Commit(step.keep_partial, wait=False)
        yield so_far.end(step.broken, step.error)
        return
    if step.answer.request() is not None:
        yield Commit(step.keep_request, wait=False)
        yield so_far.end("requires_approval")
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
            yield so_far.end("no_tool_call", no_call())
            return
        yield Commit(partial(step.keep_answer, stop_reason=so_far.verdict.stop), wait=False)
    if not turn.interrupted and so_far.room.is_spent(step.answer.usage):
        async for item in _compacted(turn, rooms, so_far, Reason(trigger="post_step_context_check")):
            yield item
    if so_far.verdict.stop is not None and not turn.interrupted:
        yield so_far.end(so_far.verdict.stop)


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


def _overfull(refusal: RunError | None = None) -> RunError:
    return RunError(error_type=OVERFULL, message=OVERFULL_TEXT, detail=None if refusal is None else refusal.detail)


def _forget(turn: Turn, gone: Sequence[int], conn: Connection) -> Sequence[AnyEvent]:
    """Take messages out of the context."""
    message_store.leave_context(conn, turn.conversation_id, gone)
    return ()


def _keep(turn: Turn, message: Message, conn: Connection) -> Sequence[AnyEvent]:
    """Store a message that streams do not show."""
    message_store.append(conn, turn.tenant, turn.conversation_id, (message,))
    return ()
