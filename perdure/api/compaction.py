"""Compaction on request, which takes the conversation's turn as a run of its own, and what fills a context."""

from typing import Annotated

import msgspec
from fastapi import Query
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents.overview import overview
from perdure.api import messages
from perdure.api.auth import Caller, CallerDep
from perdure.api.conversations import addressed
from perdure.api.paths import AgentId, ConversationId
from perdure.api.reply import refuse, reply
from perdure.domain.errors import Conflict
from perdure.domain.overview import Overview
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Run, RunError
from perdure.store import conversations as conversation_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.wire.compaction import CompactBody, CompactConversationBody, compaction_request, compaction_response
from perdure.wire.errors import run_failure
from perdure.wire.overview import context_overview


async def compact_agent(
    caller: CallerDep,
    agent_id: AgentId,
    body: CompactBody | None = None,
    max_message_length: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """Compact an agent's default conversation, now or when its turn comes; 0.1.x says how many messages may stay."""
    request = compaction_request(body, agent_id, max_messages=max_message_length, project=caller.project)
    return await _compacted(caller, request, queue=True)


async def compact_conversation(
    caller: CallerDep,
    conversation_id: ConversationId,
    body: CompactConversationBody | None = None,
    agent_id: AgentId | None = None,
) -> Response:
    """Compact a conversation. A busy one refuses."""
    found = await addressed(caller, conversation_id, agent_id or (body and body.agent_id))
    request = compaction_request(body, found.agent_id, project=caller.project)
    if not found.is_default:
        request = msgspec.structs.replace(request, conversation_id=found.id)
    return await _compacted(caller, request, queue=False)


async def retrieve_context(caller: CallerDep, agent_id: AgentId, conversation_id: str | None = None) -> Response:
    """Show what fills an agent's context, in its default conversation or in another, with the tokens of each part."""
    server = caller.server

    def count(conn: Connection) -> Overview:
        found = conversation_store.addressed(conn, caller.tenant, conversation_id or agent_id, agent_id)
        return overview(conn, caller.tenant, found, server.catalog.estimate)

    return reply(context_overview(await server.db.read(count)))


async def _compacted(caller: Caller, request: TurnRequest, *, queue: bool) -> Response:
    """Start a run that compacts, wait for its end and answer with what it came to."""
    follower = await messages.start(caller, request, queue=queue)
    while await follower.next() is not None:
        pass
    run = await caller.server.db.read(lambda conn: run_store.get(conn, caller.tenant, follower.run_id))
    error = run.metadata.get("error")
    if error is not None:
        return refuse(caller.scope, run_failure(msgspec.convert(error, RunError)))
    if run.status != "completed":
        raise Conflict(f"The compaction ({run.id}) was cancelled. The context is as it was.")
    return reply(await caller.server.db.read(lambda conn: _outcome(conn, caller.tenant, run)))


def _outcome(conn: Connection, tenant: str, run: Run) -> dict[str, object]:
    """What an ended run left; where there was nothing to take out of the context, what has stood there before."""
    made = message_store.history(conn, tenant, run_ids=(run.id,), roles=("summary",), limit=1)
    part = made[0].summary if made else None
    if part is not None and part.stats is not None:
        return compaction_response(part.text, part.stats.messages_count_before, part.stats.messages_count_after)
    stored = message_store.context(conn, run.conversation_id or "")
    summaries = [message.summary.text for message in stored if message.summary is not None]
    return compaction_response("\n\n".join(summaries), len(stored), len(stored))
