"""Conversations: opened, listed, changed, branched off and deleted; spoken to, read back and followed.

Each is addressed by its own id; an agent's default one by the agent's id, or as `default` with the `agent_id`.
"""

from typing import Annotated

import msgspec
from fastapi import Depends, Query
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import conversations
from perdure.api import messages, runs
from perdure.api.auth import Caller, CallerDep
from perdure.api.in_turn import in_turn
from perdure.api.paths import AgentId, ConversationId, MessageId
from perdure.api.queries import ConversationMessageQuery, ConversationQuery
from perdure.api.reply import reply
from perdure.api.results import messages_page
from perdure.domain.conversations import DEFAULT_CONVERSATION, Conversation, ConversationDetails
from perdure.domain.errors import Conflict, Invalid, NotFound
from perdure.runs.accept import find_run
from perdure.store import conversations as conversation_store
from perdure.store import runs as run_store
from perdure.wire.conversations import (
    MAX_OTID,
    ConversationMessageBody,
    CreateConversationBody,
    FollowConversationBody,
    RecompileBody,
    UpdateConversationBody,
    conversation,
)
from perdure.wire.messages import Public
from perdure.wire.requests import turn_request


async def list_conversations(caller: CallerDep, query: Annotated[ConversationQuery, Depends()]) -> Response:
    """A page of conversations, without default and hidden ones, and without archived ones unless asked for."""
    wanted, page, order_by = query.filter(), query.page(), query.order_by
    found = await caller.server.db.read(
        lambda conn: conversation_store.details_of(
            conn, conversation_store.list_page(conn, caller.tenant, wanted, page, order_by)
        )
    )
    return reply([conversation(details) for details in found])


async def create_conversation(
    caller: CallerDep, agent_id: AgentId, body: CreateConversationBody | None = None
) -> Response:
    """Open a conversation of an agent. It shares the agent's blocks, except those it is to have for itself."""
    server, wanted = caller.server, body or CreateConversationBody()
    made = await conversations.create_conversation(
        server.db, server.catalog, caller.tenant, agent_id, wanted.fields(), wanted.isolated_block_labels or ()
    )
    return reply(conversation(made))


async def retrieve_conversation(
    caller: CallerDep, conversation_id: ConversationId, agent_id: AgentId | None = None
) -> Response:
    """One conversation."""

    def find(conn: Connection) -> ConversationDetails:
        found = conversation_store.addressed(conn, caller.tenant, conversation_id, agent_id)
        return conversation_store.details(conn, found)

    return reply(conversation(await caller.server.db.read(find)))


async def update_conversation(
    caller: CallerDep, conversation_id: ConversationId, body: UpdateConversationBody, agent_id: AgentId | None = None
) -> Response:
    """Change a conversation. Null clears a field, so that without a model it uses its agent's again."""
    server, found = caller.server, await addressed(caller, conversation_id, agent_id)
    conversations.refuse_default(found)
    changed = await conversations.update_conversation(server.db, server.catalog, caller.tenant, found.id, body.fields())
    return reply(conversation(changed))


async def delete_conversation(
    caller: CallerDep, conversation_id: ConversationId, agent_id: AgentId | None = None
) -> Response:
    """Delete a conversation with its history; messages that a fork shares stay. Its runs are cancelled first."""
    found = await addressed(caller, conversation_id, agent_id)
    conversations.refuse_default(found)
    await caller.server.runner.cancel(caller.tenant, conversation_id=found.id)
    await caller.server.db.write(lambda conn: conversations.delete_conversation(conn, caller.tenant, found.id))
    return reply({"message": f"Conversation {found.id} deleted"})


async def fork_conversation(
    caller: CallerDep,
    conversation_id: ConversationId,
    agent_id: AgentId | None = None,
    message_id: MessageId | None = None,
    hidden: bool = False,
) -> Response:
    """Open a conversation that goes on from what another has in context, up to a message or whole, once it is idle."""

    def fork(conn: Connection) -> ConversationDetails:
        source = conversation_store.addressed(conn, caller.tenant, conversation_id, agent_id)
        return conversations.fork_conversation(conn, caller.tenant, source, up_to=message_id, hidden=hidden)

    return reply(conversation(await in_turn(caller, fork)))


async def recompile_conversation(
    caller: CallerDep,
    conversation_id: ConversationId,
    body: RecompileBody | None = None,
    agent_id: AgentId | None = None,
    dry_run: bool = False,
) -> Response:
    """Rebuild a conversation's system message from its agent and blocks as they are now, and answer with its text."""
    whose = agent_id or (body and body.agent_id)

    def recompile(conn: Connection) -> str:
        found = conversation_store.addressed(conn, caller.tenant, conversation_id, whose)
        return conversations.recompile_conversation(conn, caller.tenant, found, dry_run=dry_run)

    return reply(await caller.server.db.write(recompile))


async def send_conversation_message(
    caller: CallerDep, conversation_id: ConversationId, body: ConversationMessageBody, agent_id: AgentId | None = None
) -> Response:
    """Process user messages; the answer is a stream, or JSON if `streaming` is false. A busy conversation refuses."""
    found = await addressed(caller, conversation_id, agent_id or body.agent_id)
    await messages.read_images(caller, body.contents())
    request = turn_request(body, found.agent_id, caller.generation, run_type="send_message", project=caller.project)
    if not found.is_default:
        request = msgspec.structs.replace(request, conversation_id=found.id)
    if body.streaming:
        return await messages.stream(caller, request, pings=body.include_pings, queue=False)
    return await messages.whole(caller, request, queue=False)


async def list_conversation_messages(
    caller: CallerDep, conversation_id: ConversationId, query: Annotated[ConversationMessageQuery, Depends()]
) -> Response:
    """A conversation's history, newest first unless asked otherwise; the cursors go on in the order asked for."""

    def page(conn: Connection) -> list[Public]:
        found = conversation_store.addressed(conn, caller.tenant, conversation_id, query.agent_id)
        return messages_page(conn, caller, query, query.kinds(), conversation_id=found.id, group_id=query.group_id)

    return reply(await caller.server.db.read(page))


async def stream_conversation(
    caller: CallerDep,
    conversation_id: ConversationId,
    body: FollowConversationBody | None = None,
    agent_id: AgentId | None = None,
) -> Response:
    """Follow a run of a conversation: the one named, the one that a message of this otid started, or the newest."""
    wanted = body or FollowConversationBody()
    run_id = await _run(caller, conversation_id, agent_id or wanted.agent_id, wanted.otid, wanted.run_id)
    return await runs.follow(caller, run_id, wanted.starting_after, pings=wanted.include_pings is not False)


async def read_conversation_stream(
    caller: CallerDep,
    conversation_id: ConversationId,
    agent_id: AgentId | None = None,
    run_id: str | None = None,
    otid: Annotated[str | None, Query(max_length=MAX_OTID)] = None,
    starting_after: int = 0,
    include_pings: bool = True,
) -> Response:
    """The same by GET, for readers that cannot post."""
    run_id = await _run(caller, conversation_id, agent_id, otid, run_id)
    return await runs.follow(caller, run_id, max(0, starting_after), pings=include_pings)


async def cancel_conversation(
    caller: CallerDep, conversation_id: ConversationId, agent_id: AgentId | None = None
) -> Response:
    """Cancel the runs of a conversation that are under way. What they said is kept."""
    found = await addressed(caller, conversation_id, agent_id)
    ended = await caller.server.runner.cancel(caller.tenant, conversation_id=found.id)
    if not ended:
        raise Conflict(f"CONFLICT: No active runs to cancel for conversation {conversation_id}")
    return reply(dict.fromkeys(ended, "cancelled"))


async def addressed(caller: Caller, conversation_id: str, agent_id: str | None) -> Conversation:
    """The conversation that a request means (`store/conversations.py`)."""
    return await caller.server.db.read(
        lambda conn: conversation_store.addressed(conn, caller.tenant, conversation_id, agent_id)
    )


async def _run(caller: Caller, conversation_id: str, agent_id: str | None, otid: str | None, run_id: str | None) -> str:
    """The run of a conversation of this id, or that a message of this otid started, or the newest under way."""

    def find(conn: Connection) -> str:
        run = None if run_id is None else run_store.get(conn, caller.tenant, run_id)
        # A run says whose default conversation is meant.
        owner = run.agent_id if run and conversation_id == DEFAULT_CONVERSATION else agent_id
        found = conversation_store.addressed(conn, caller.tenant, conversation_id, owner)
        if run is not None:
            if run.conversation_id != found.id:
                raise NotFound(f"Run {run.id} is not one of this conversation.")
            return run.id
        return _newest_run(conn, found) if otid is None else _run_of(conn, found, otid)

    return await caller.server.db.read(find)


def _newest_run(conn: Connection, found: Conversation) -> str:
    active = run_store.active(conn, found.id)
    if not active:
        raise Invalid("INVALID_ARGUMENT: No active runs found for this conversation.")
    return active[-1][0]


def _run_of(conn: Connection, found: Conversation, otid: str) -> str:
    run_id = find_run(conn, found.id, otid)
    if run_id is None:
        raise NotFound(f"No message with otid {otid} was sent to this conversation")
    return run_id
