"""Runs: looked at, and followed again from any event."""

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.event_stream import EventStream
from perdure.api.paths import RunId
from perdure.api.reply import reply
from perdure.domain.conversations import Conversation
from perdure.domain.runs import Run
from perdure.store import conversations as conversation_store
from perdure.store import runs as run_store
from perdure.wire.runs import run as public_run
from perdure.wire.sse import Frames


class FollowBody(BaseModel):
    """From where to read a run's events. Polling options of older servers are accepted and mean nothing."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    starting_after: int = Field(default=0, ge=0)
    include_pings: bool = True


async def retrieve_run(caller: CallerDep, run_id: RunId) -> Response:
    """One run: its status, why it stopped, and the error where it failed."""

    def find(conn: Connection) -> tuple[Run, Conversation]:
        found = run_store.get(conn, caller.tenant, run_id)
        return found, conversation_store.get(conn, caller.tenant, found.conversation_id or "")

    found, conversation = await caller.server.db.read(find)
    return reply(public_run(found, is_default_conversation=conversation.is_default))


async def stream_run(caller: CallerDep, run_id: RunId, body: FollowBody | None = None) -> Response:
    """Follow a run from the event after number `starting_after`, to its end; any run, by any number of readers."""
    wanted = body or FollowBody()
    return await _follow(caller, run_id, wanted.starting_after, pings=wanted.include_pings)


async def read_run_stream(
    caller: CallerDep, run_id: RunId, starting_after: int = 0, include_pings: bool = True
) -> Response:
    """The same by GET, for readers that cannot post."""
    return await _follow(caller, run_id, max(0, starting_after), pings=include_pings)


async def _follow(caller: Caller, run_id: str, after: int, *, pings: bool) -> Response:
    follower = await caller.server.runner.follow(caller.tenant, run_id, after)
    return EventStream(follower, Frames(run_id, caller.generation, pings=pings))
