"""Jobs: background work as 0.1.x looks after it. A run's id is understood, too, since runs once were jobs."""

from typing import Annotated

import msgspec
from fastapi import Depends
from starlette.responses import Response

from perdure.api.auth import CallerDep
from perdure.api.file_queries import JobQuery
from perdure.api.paths import JobId
from perdure.api.reply import reply
from perdure.api.runs import delete_run, shown_run
from perdure.domain.ids import is_id
from perdure.store import jobs as job_store
from perdure.wire.jobs import job


async def list_jobs(caller: CallerDep, query: Annotated[JobQuery, Depends()]) -> Response:
    """A page of the jobs that match, newest first unless asked otherwise."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: job_store.list_page(conn, caller.tenant, wanted, page))
    return reply([job(each) for each in found])


async def list_active_jobs(caller: CallerDep, query: Annotated[JobQuery, Depends()]) -> Response:
    """The same of those that are not done."""
    wanted, page = msgspec.structs.replace(query.filter(), active=True), query.page()
    found = await caller.server.db.read(lambda conn: job_store.list_page(conn, caller.tenant, wanted, page))
    return reply([job(each) for each in found])


async def retrieve_job(caller: CallerDep, job_id: JobId) -> Response:
    """One job: its status, what it is about, and the error where it failed."""
    if is_id("run", job_id):
        return reply(await shown_run(caller, job_id))
    return reply(job(await caller.server.db.read(lambda conn: job_store.get(conn, caller.tenant, job_id))))


async def cancel_job(caller: CallerDep, job_id: JobId) -> Response:
    """Cancel a job; one that has ended stays as it is."""
    if is_id("run", job_id):
        await shown_run(caller, job_id)
        await caller.server.runner.cancel(caller.tenant, run_ids={job_id})
        return reply(await shown_run(caller, job_id))
    return reply(job(await caller.server.jobs.cancel(caller.tenant, job_id)))


async def delete_job(caller: CallerDep, job_id: JobId) -> Response:
    """Delete a job's record, cancelling it first where it is under way. What it has done stays."""
    if is_id("run", job_id):
        return await delete_run(caller, job_id)
    cancelled = await caller.server.jobs.cancel(caller.tenant, job_id)
    await caller.server.db.write(lambda conn: job_store.delete(conn, caller.tenant, job_id))
    return reply(job(cancelled))
