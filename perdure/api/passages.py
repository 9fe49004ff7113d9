"""Passages as an agent's long-term memory, and the searches over archives and over what was said."""

from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import archives as edits
from perdure.api.archive_queries import PassageQuery, PassageSearchQuery
from perdure.api.auth import Caller, CallerDep
from perdure.api.paths import AgentId, PassageId
from perdure.api.reply import reply
from perdure.domain.agents import Agent
from perdure.domain.archives import Archive
from perdure.domain.conversations import DEFAULT_CONVERSATION
from perdure.domain.messages import Message
from perdure.domain.passages import Passage
from perdure.memory import passages as memory
from perdure.memory.search import DEFAULT_ROLES, search_messages
from perdure.store import agents as agent_store
from perdure.store import archives as archive_store
from perdure.store import conversations as conversation_store
from perdure.store import passages as passage_store
from perdure.wire.found_messages import found_messages, ranked_messages
from perdure.wire.passages import (
    CreatePassageBody,
    SearchMessagesBody,
    SearchPassagesBody,
    UpdatePassageBody,
    found_passages,
    passage,
    scored_passages,
)
from perdure.wire.times import microseconds


async def list_passages(caller: CallerDep, agent_id: AgentId, query: Annotated[PassageQuery, Depends()]) -> Response:
    """A page of what an agent can find in its archives."""
    page = query.page(ascending=True)

    def find(conn: Connection) -> list[Passage]:
        _, archives = _searched(conn, caller.tenant, agent_id)
        ids = [each.id for each in archives]
        return passage_store.list_page(conn, caller.tenant, ids, page, part=query.search)

    return reply([passage(each) for each in await caller.server.db.read(find)])


async def create_passage(caller: CallerDep, agent_id: AgentId, body: CreatePassageBody) -> Response:
    """Add a passage to the archive an agent writes to."""
    new = memory.new_passage(body.text, tags=body.tags or (), created_at=body.at(), metadata=body.metadata)
    stored = await caller.server.db.write(lambda conn: edits.insert(conn, caller.tenant, agent_id, [new]))
    caller.server.jobs.wake()
    return reply([passage(each) for each in stored])


async def update_passage(
    caller: CallerDep, agent_id: AgentId, memory_id: PassageId, body: UpdatePassageBody | None = None
) -> Response:
    """Change a passage that an agent can find."""
    changes: dict[str, Any] = {} if body is None else body.changes()
    edited = await caller.server.db.write(lambda conn: edits.edit(conn, caller.tenant, agent_id, memory_id, changes))
    caller.server.jobs.wake()
    return reply([passage(edited)])


async def delete_passage(caller: CallerDep, agent_id: AgentId, memory_id: PassageId) -> Response:
    """Delete a passage that an agent can find."""
    await caller.server.db.write(lambda conn: edits.delete(conn, caller.tenant, agent_id, memory_id))
    return reply({"message": f"Passage {memory_id} deleted"})


async def search_agent_passages(
    caller: CallerDep, agent_id: AgentId, query: Annotated[PassageSearchQuery, Depends()]
) -> Response:
    """What an agent finds in its archives."""
    server = caller.server
    agent, archives = await server.db.read(lambda conn: _searched(conn, caller.tenant, agent_id))
    found = await memory.search_passages(server.db, server.catalog.embed, caller.tenant, archives, query.wanted())
    return reply(found_passages(found, ZoneInfo(agent.timezone)))


async def search_passages(caller: CallerDep, body: SearchPassagesBody) -> Response:
    """What is found in the archives of a tenant, of an agent, or in one of them."""
    server = caller.server
    end = None if body.end_date is None else microseconds(body.end_date) + 1
    wanted = memory.Wanted(
        query=body.query or "", limit=body.limit, tags=tuple(body.tags or ()), every_tag=body.tag_match_mode == "all",
        start=None if body.start_date is None else microseconds(body.start_date), end=end,
    )  # fmt: skip

    def searched(conn: Connection) -> list[Archive]:
        if body.archive_id is None and body.agent_id is None:
            return archive_store.all_of(conn, caller.tenant)
        asked = [] if body.archive_id is None else [archive_store.get(conn, caller.tenant, body.archive_id)]
        if body.agent_id is None:
            return asked
        _, own = _searched(conn, caller.tenant, body.agent_id)
        return own if body.archive_id is None else [each for each in asked if each in own]

    archives = await server.db.read(searched)
    found = await memory.search_passages(server.db, server.catalog.embed, caller.tenant, archives, wanted)
    return reply(scored_passages(found))


async def search_all_messages(caller: CallerDep, body: SearchMessagesBody) -> Response:
    """What was said to and by the agents of a tenant, or in one conversation."""
    return reply(found_messages(*await _said(caller, body)))


async def search_agent_messages(caller: CallerDep, body: SearchMessagesBody) -> Response:
    """The same in the form that 0.1.x expects."""
    found, _ = await _said(caller, body)
    return reply(ranked_messages(found))


async def _said(caller: Caller, body: SearchMessagesBody) -> tuple[list[tuple[Message, float]], dict[int, str]]:
    """The messages that answer, and the conversations in which they do, by their seqs."""
    start = None if body.start_date is None else microseconds(body.start_date)
    end = None if body.end_date is None else microseconds(body.end_date) + 1

    def find(conn: Connection) -> tuple[list[tuple[Message, float]], dict[int, str]]:
        conversation, agents = body.conversation_id, None
        if body.agent_id is not None:
            agents = [agent_store.get(conn, caller.tenant, body.agent_id).id]
        if conversation not in (None, DEFAULT_CONVERSATION):
            owner = conversation_store.get(conn, caller.tenant, conversation).agent_id
            agents = [owner] if agents in (None, [owner]) else []
        if agents is None:
            agents = agent_store.all_ids(conn, caller.tenant)
        found = search_messages(
            conn, caller.tenant, agents, body.query or "", roles=body.roles or DEFAULT_ROLES, limit=body.limit,
            conversation_id=conversation, start=start, end=end,
        )  # fmt: skip
        seqs = [message.seq for message, _ in found]
        if conversation in (None, DEFAULT_CONVERSATION):
            return found, conversation_store.of_messages(conn, seqs)
        return found, dict.fromkeys(seqs, conversation)

    return await caller.server.db.read(find)


def _searched(conn: Connection, tenant: str, agent_id: str) -> tuple[Agent, list[Archive]]:
    """An agent and the archives it searches. Raises NotFound."""
    agent = agent_store.get(conn, tenant, agent_id)
    return agent, archive_store.of_agent(conn, agent.id)
