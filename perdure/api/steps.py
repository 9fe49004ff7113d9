"""Steps: listed, looked at, rated."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import CallerDep
from perdure.api.paths import StepId
from perdure.api.queries import MessagePageQuery, StepQuery
from perdure.api.reply import reply
from perdure.api.results import messages_page
from perdure.store import runs as run_store
from perdure.store import steps as step_store
from perdure.store.steps import Feedback
from perdure.wire.messages import Public, voice_of
from perdure.wire.steps import FeedbackBody, step_metrics
from perdure.wire.steps import step as public_step


async def list_steps(caller: CallerDep, query: Annotated[StepQuery, Depends()]) -> Response:
    """A page of the steps that match, newest first unless asked otherwise."""
    if query.trace_ids:
        # No step of this server belongs to a trace.
        return reply([])
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: step_store.list_page(conn, caller.tenant, wanted, page))
    return reply([public_step(step) for step in found])


async def retrieve_step(caller: CallerDep, step_id: StepId) -> Response:
    """One step: its model, its tokens, and the error where it failed."""
    return reply(public_step(await caller.server.db.read(lambda conn: step_store.get(conn, caller.tenant, step_id))))


async def rate_step(
    caller: CallerDep, step_id: StepId, body: FeedbackBody | None = None, feedback: Feedback | None = None
) -> Response:
    """Say whether a step was good, and mark it with tags. npm 0.1.x says it in the query, and knows no tags."""
    changed = {} if feedback is None else {"feedback": feedback}
    changed |= {} if body is None else body.changed()
    rated = await caller.server.db.write(lambda conn: step_store.rate(conn, caller.tenant, step_id, changed))
    return reply(public_step(rated))


async def list_step_messages(
    caller: CallerDep, step_id: StepId, query: Annotated[MessagePageQuery, Depends()]
) -> Response:
    """What a step said and what its tools returned, oldest first."""

    def page(conn: Connection) -> list[Public]:
        run = run_store.get(conn, caller.tenant, step_store.get(conn, caller.tenant, step_id).run_id)
        return messages_page(conn, caller, query, None, step_id=step_id, voice=voice_of(run.request_config))

    return reply(await caller.server.db.read(page))


async def retrieve_step_metrics(caller: CallerDep, step_id: StepId) -> Response:
    """How long a step took."""
    return reply(step_metrics(await caller.server.db.read(lambda conn: step_store.get(conn, caller.tenant, step_id))))
