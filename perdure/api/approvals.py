"""Requests for approval that wait for an answer, of all agents: an extension of the contract, which knows them only one
agent at a time. They are answered by a message to their agent or conversation, as ever.
"""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from perdure.api.auth import CallerDep
from perdure.api.queries import ApprovalQuery
from perdure.api.reply import reply
from perdure.store import approvals as approval_store
from perdure.wire.approvals import waiting


async def list_approvals(caller: CallerDep, query: Annotated[ApprovalQuery, Depends()]) -> Response:
    """A page of what waits for somebody's yes or no, or for the return of a caller's own tool; oldest first."""
    wanted, page = query.filter(), query.page(ascending=True)
    found = await caller.server.db.read(lambda conn: approval_store.list_page(conn, caller.tenant, wanted, page))
    limit = caller.server.runner.policy.approval_seconds
    return reply([waiting(each, time_limit=limit or None) for each in found])
