"""The one loop: repeat steps until there is a reason to stop.

An async generator of what happened. Whoever consumes it owns the numbering, the transactions and the readers.
"""

from collections.abc import AsyncIterator

from perdure.domain.runs import Usage
from perdure.loop import context
from perdure.loop.step import Step
from perdure.loop.tool_round import ToolRound
from perdure.loop.turn import Commit, End, Item, Rooms, Turn, interrupted_end
from perdure.store import messages as message_store


async def agent_loop(turn: Turn, rooms: Rooms) -> AsyncIterator[Item]:
    """Work one run. What a provider or a tool does wrong ends it with an `End` that says so; nothing is raised."""
    messages = await rooms.db.read(lambda conn: message_store.context(conn, turn.conversation_id))
    turn_start = min((message.seq for message in messages if message.run_id == turn.run_id), default=0)
    usage = Usage()
    for _ in range(turn.request.max_steps):
        step = Step(turn, context.assemble(turn.agent, turn.request, messages, turn_start))
        async for events in step.ask(rooms.models):
            yield events
        usage = usage.plus(step.answer.usage)
        if step.broken is not None:
            yield Commit(step.keep_partial, wait=False)
            yield End(step.broken, usage, step.error)
            return
        message = step.answer.message()
        if message is None or not message.tool_calls:
            yield Commit(step.keep_answer, wait=False)
            yield End(step.stop_reason, usage)
            return
        yield Commit(step.keep_calls)
        tools = ToolRound(turn, step, message, rooms)
        await tools.run()
        yield Commit(tools.keep)
        if turn.interrupted:
            yield interrupted_end(turn, usage)
            return
        messages += [message, tools.message]
    yield End("max_steps" if turn.request.max_steps else "end_turn", usage)
