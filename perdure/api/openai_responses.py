"""Agents in OpenAI's Responses: asked, looked at again as long as the run's log is kept, and cancelled."""

from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.event_stream import EventStream
from perdure.api.openai import started, whole
from perdure.api.reply import reply
from perdure.domain.errors import NotFound
from perdure.domain.ids import is_id
from perdure.runs.accept import REQUEST_DECODER
from perdure.store import conversations as conversation_store
from perdure.store import runs as run_store
from perdure.wire.openai_requests import ResponsesBody, ResponseTool
from perdure.wire.openai_responses import ResponseFrames


async def create_response(caller: CallerDep, body: ResponsesBody) -> Response:
    """Send what is new in an input to an agent; its answer is a response, or a stream of events.

    With `background` the answer is the response as it begins, to be looked at again.
    """
    turn = body.turn()
    follower, own = await started(caller, turn)
    frames = ResponseFrames(follower.run_id, body, own)
    if turn.stream:
        return EventStream(follower, frames)
    if not body.background:
        return await whole(caller, follower, frames)
    frames.take(await follower.next() or [])
    return reply(frames.body())


async def retrieve_response(
    caller: CallerDep, response_id: str, stream: bool = False, starting_after: int = -1
) -> Response:
    """A response as it stands; or, with `stream`, its events after number `starting_after`, to its end."""
    run_id = _run_id(response_id)
    frames = await _frames(caller, run_id, starting_after)
    if stream:
        return EventStream(await caller.server.runner.follow(caller.tenant, run_id), frames)
    frames.take(await caller.server.db.read(lambda conn: run_store.events_after(conn, run_id, 0)))
    return reply(frames.body())


async def cancel_response(caller: CallerDep, response_id: str) -> Response:
    """Cancel the run behind a response; what was said is kept. One that has ended stays as it is."""
    run_id = _run_id(response_id)
    await _frames(caller, run_id)
    await caller.server.runner.cancel(caller.tenant, run_ids={run_id})
    return await retrieve_response(caller, response_id)


def _run_id(response_id: str) -> str:
    run_id = f"run-{response_id.removeprefix('resp_')}"
    if not (response_id.startswith("resp_") and is_id("run", run_id)):
        raise NotFound(f"There is no response {response_id!r}.")
    return run_id


async def _frames(caller: Caller, run_id: str, after: int = -1) -> ResponseFrames:
    """What shows a run as a response, whoever asked for it. Raises NotFound, and Expired."""

    def find(conn: Connection) -> ResponsesBody:
        run_store.check_log(conn, caller.tenant, run_id)
        _, run, stored = run_store.stored(conn, run_id)
        request = REQUEST_DECODER.decode(stored)
        found = conversation_store.get(conn, caller.tenant, run.conversation_id or "")
        tools = [ResponseTool(type="function", **tool) for tool in request.client_tools]
        address = found.agent_id if found.is_default else found.id
        return ResponsesBody(model=address, input="", tools=tools, background=run.background)

    asked = await caller.server.db.read(find)
    return ResponseFrames(run_id, asked, frozenset(tool.name for tool in asked.tools or ()), after=after)
