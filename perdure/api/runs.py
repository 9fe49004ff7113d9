"""Runs: listed, looked at, deleted, and followed again from any event."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.event_stream import EventStream
from perdure.api.paths import RunId
from perdure.api.queries import ActiveRunQuery, MessagePageQuery, PageQuery, RunQuery
from perdure.api.reply import reply
from perdure.api.results import MOST_MESSAGES, messages_page, shown_types
from perdure.domain.runs import ACTIVE, Run, Step, is_group_run
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store import steps as step_store
from perdure.store import tools as tool_store
from perdure.store.pages import MAX_LIMIT, Page
from perdure.store.tools import ToolFilter
from perdure.wire import runs as wire
from perdure.wire.messages import voice_of
from perdure.wire.sse import Frames
from perdure.wire.steps import step as public_step
from perdure.wire.steps import token_counts

_EVERYTHING: Final = Page(limit=MAX_LIMIT)


class FollowBody(BaseModel):
    """From where to read a run's events. Polling options of older servers are accepted and mean nothing."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    starting_after: int = Field(default=0, ge=0)
    include_pings: bool = True


async def list_runs(caller: CallerDep, query: Annotated[RunQuery, Depends()]) -> Response:
    """A page of the runs that match, newest first unless asked otherwise."""
    wanted, page = query.filter(), query.page()
    return await _listed(caller, lambda conn: run_store.list_page(conn, caller.tenant, wanted, page))


async def list_active_runs(caller: CallerDep, query: Annotated[ActiveRunQuery, Depends()]) -> Response:
    """All runs that wait or are worked on."""
    wanted = query.filter()
    return await _listed(caller, lambda conn: run_store.list_page(conn, caller.tenant, wanted, _EVERYTHING))


async def retrieve_run(caller: CallerDep, run_id: RunId) -> Response:
    """One run: its status, why it stopped, and the error where it failed."""
    return reply(await shown_run(caller, run_id))


async def delete_run(caller: CallerDep, run_id: RunId) -> Response:
    """Delete a run with its steps and events, cancelling it first where it is under way. Its messages stay."""
    shown = await shown_run(caller, run_id)
    if shown["status"] in ACTIVE:
        await caller.server.runner.cancel(caller.tenant, run_ids={run_id})
    await caller.server.db.write(lambda conn: run_store.delete(conn, caller.tenant, run_id))
    return reply(shown)


async def list_run_messages(
    caller: CallerDep, run_id: RunId, query: Annotated[MessagePageQuery, Depends()]
) -> Response:
    """What a run was sent and what it said, oldest first, of the types that whoever started it wanted to see."""

    def page(conn: Connection) -> list[dict[str, Any]]:
        run = run_store.get(conn, caller.tenant, run_id)
        return messages_page(conn, caller, query, shown_types(run), run=run, voice=voice_of(run.request_config))

    return reply(await caller.server.db.read(page))


async def list_run_steps(caller: CallerDep, run_id: RunId, query: Annotated[PageQuery, Depends()]) -> Response:
    """A page of a run's steps, newest first unless asked otherwise."""
    page = query.page()

    def find(conn: Connection) -> list[Step]:
        run_store.get(conn, caller.tenant, run_id)
        return step_store.list_page(conn, caller.tenant, step_store.StepFilter(run_id=run_id), page)

    return reply([public_step(step) for step in await caller.server.db.read(find)])


async def retrieve_run_usage(caller: CallerDep, run_id: RunId) -> Response:
    """The tokens of a run, so far where it is under way."""
    run, steps = await _with_steps(caller, run_id)
    usage = run.usage
    if not usage.step_count:
        for step in steps:
            usage = usage.plus(step.usage)
    return reply(token_counts(usage))


async def retrieve_run_metrics(caller: CallerDep, run_id: RunId) -> Response:
    """How long a run took, its steps, and the ids of the tools it called."""

    def called(conn: Connection) -> list[str]:
        messages = message_store.history(conn, caller.tenant, run_ids=(run_id,), roles=("tool",), limit=MOST_MESSAGES)
        wanted = ToolFilter(names=tuple({part.name for message in messages for part in message.tool_returns}))
        return [tool.id for tool in tool_store.list_page(conn, caller.tenant, wanted, _EVERYTHING)]

    run, steps = await _with_steps(caller, run_id)
    return reply(wire.run_metrics(run, steps, await caller.server.db.read(called)))


async def stream_run(caller: CallerDep, run_id: RunId, body: FollowBody | None = None) -> Response:
    """Follow a run from the event after number `starting_after`, to its end; any run, by any number of readers."""
    wanted = body or FollowBody()
    return await follow(caller, run_id, wanted.starting_after, pings=wanted.include_pings)


async def read_run_stream(
    caller: CallerDep, run_id: RunId, starting_after: int = 0, include_pings: bool = True
) -> Response:
    """The same by GET, for readers that cannot post."""
    return await follow(caller, run_id, max(0, starting_after), pings=include_pings)


async def follow(caller: Caller, run_id: str, after: int, *, pings: bool) -> Response:
    """Answer with a run's events from number `after` on. Raises NotFound, and Expired."""
    follower = await caller.server.runner.follow(caller.tenant, run_id, after)
    return EventStream(follower, Frames(run_id, caller.generation, pings=pings, after=after))


async def shown_run(caller: Caller, run_id: str) -> dict[str, Any]:
    """A run of the caller's as callers see it. Raises NotFound."""
    (shown,) = await caller.server.db.read(lambda conn: _shown(conn, [run_store.get(conn, caller.tenant, run_id)]))
    return shown


async def _listed(caller: Caller, find: Callable[[Connection], list[Run]]) -> Response:
    return reply(await caller.server.db.read(lambda conn: _shown(conn, find(conn))))


def _shown(conn: Connection, found: list[Run]) -> list[dict[str, Any]]:
    default = run_store.on_default(conn, found)
    return [wire.run(run, is_default_conversation=run.id in default or is_group_run(run)) for run in found]


async def _with_steps(caller: Caller, run_id: str) -> tuple[Run, list[Step]]:
    return await caller.server.db.read(
        lambda conn: (run_store.get(conn, caller.tenant, run_id), step_store.of_run(conn, caller.tenant, run_id))
    )
