"""The one loop: repeat steps until there is a reason to stop.

An async generator of what happened. Whoever consumes it owns the numbering, the transactions and the readers.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from perdure.domain.errors import MODEL_ERROR_TEXT, Invalid
from perdure.domain.events import AnyEvent
from perdure.domain.ids import now
from perdure.domain.messages import Message
from perdure.domain.runs import RunError, Usage
from perdure.loop import approval, context
from perdure.loop.manner import NO_CALL, must_call
from perdure.loop.step import Step
from perdure.loop.tool_round import Resumed, ToolRound
from perdure.loop.tool_rules import ToolRules
from perdure.loop.turn import Commit, End, Item, Rooms, Turn, interrupted_end
from perdure.loop.verdict import Called, Verdict, called_since_input, heartbeat, judge
from perdure.store import messages as message_store


async def agent_loop(turn: Turn, rooms: Rooms) -> AsyncIterator[Item]:
    """Work one run. What a provider or a tool does wrong ends it with an `End` that says so; nothing is raised."""
    messages = await rooms.db.read(lambda conn: message_store.context(conn, turn.conversation_id))
    turn_start = min((message.seq for message in messages if message.run_id == turn.run_id), default=0)
    rules = ToolRules(turn.agent.tool_rules, [tool.name for tool in turn.tools])
    called, verdict, usage = Called(), Verdict(None), Usage()
    steps = turn.request.max_steps
    if not turn.request.decisions and approval.pending_in(messages[-2:]) is not None:
        yield End("error", usage, RunError(error_type="pending_approval", message=approval.PENDING))
        return
    try:
        if turn.request.decisions:
            steps -= 1
            tools = _resumed(turn, rooms, rules, messages)
            await tools.run()
            yield Commit(tools.keep)
            called, verdict = tools.called, tools.verdict
            messages += tools.messages
            if verdict.stop is not None and not turn.request.input:
                yield End(verdict.stop, usage)
                return
        for left in reversed(range(steps)):
            if turn.interrupted:
                yield interrupted_end(turn, usage)
                return
            choice = rules.choice(called.names, called.last_return, must_call=bool(verdict.missing))
            step = Step(turn, context.assemble(turn.agent, turn.request, messages, turn_start), choice, rules)
            async for events in step.ask(rooms.models):
                yield events
            usage = usage.plus(step.answer.usage)
            if step.broken is not None:
                yield Commit(step.keep_partial, wait=False)
                yield End(step.broken, usage, step.error)
                return
            if step.answer.request() is not None:
                yield Commit(step.keep_request, wait=False)
                yield End("requires_approval", usage)
                return
            message = step.answer.message()
            if message is None or not message.tool_calls:
                verdict = judge(rules, called, None, cut=step.cut)
                if verdict.stop != "max_tokens_exceeded" and must_call(turn.agent.agent_type):
                    yield Commit(partial(step.keep_answer, stop_reason="no_tool_call"), wait=False)
                    yield End("no_tool_call", usage, _no_call())
                    return
                yield Commit(partial(step.keep_answer, stop_reason=verdict.stop), wait=False)
                messages += [message] if message is not None else []
            else:
                yield Commit(step.keep_calls)
                tools = ToolRound(turn, step, message.tool_calls, rooms, rules, called)
                await tools.run()
                yield Commit(tools.keep)
                called, verdict = tools.called, tools.verdict
                messages += [message, *tools.messages]
            if turn.interrupted or verdict.stop is not None:
                yield interrupted_end(turn, usage) if verdict.stop is None else End(verdict.stop, usage)
                return
            if verdict.nudge is not None and left:
                nudge = heartbeat(turn, step.id, verdict.nudge)
                yield Commit(partial(_keep, turn, nudge))
                messages.append(nudge)
    except Invalid as error:
        yield End("error", usage, RunError(error_type="internal_error", message=error.message))
        return
    yield End("max_steps" if turn.request.max_steps else "end_turn", usage)


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
    return ToolRound(turn, step, settled.approved, rooms, rules, called, settled=settled, following=following)


def _no_call() -> RunError:
    return RunError(error_type="llm_error", message=MODEL_ERROR_TEXT["llm_error"], detail=NO_CALL)


def _keep(turn: Turn, message: Message, conn: Connection) -> Sequence[AnyEvent]:
    """Store a message that streams do not show."""
    message_store.append(conn, turn.tenant, turn.conversation_id, (message,))
    return ()
