"""Conversations made, changed, branched off and deleted, each beginning with a system message of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from perdure.agents.model_choice import Catalog, check_tokens
from perdure.agents.update import refuse_running
from perdure.domain.agents import Agent
from perdure.domain.blocks import Block
from perdure.domain.conversations import Conversation, ConversationDetails, agent_in
from perdure.domain.errors import Invalid
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message, TextPart
from perdure.domain.model_settings import settings_named
from perdure.loop.context import compiled
from perdure.store import agents as agent_store
from perdure.store import blocks as block_store
from perdure.store import conversation_blocks
from perdure.store import conversations as conversation_store
from perdure.store import messages as message_store
from perdure.store.database import Database
from perdure.store.runs import RunFilter


async def create_conversation(
    db: Database,
    catalog: Catalog,
    tenant: str,
    agent_id: str,
    fields: Mapping[str, Any],
    isolated_block_labels: Sequence[str] = (),
) -> ConversationDetails:
    """Open a conversation of an agent, with copies of its own of the blocks of these labels.

    `fields` are those of `Conversation`, its `model` as a handle. Raises NotFound for the agent, a label or the model,
    Invalid where token counts contradict.
    """
    named = await resolved(catalog, tenant, fields)

    def create(conn: Connection) -> ConversationDetails:
        agent = agent_store.hold(conn, tenant, agent_id)
        held = block_store.of_agent(conn, agent.id)
        isolated = [block_store.with_label(held, label) for label in dict.fromkeys(isolated_block_labels)]
        return conversation_store.details(conn, open_conversation(conn, tenant, agent, named, isolated))

    return await db.write(create)


def open_conversation(
    conn: Connection, tenant: str, agent: Agent, fields: Mapping[str, Any], isolated: Sequence[Block]
) -> Conversation:
    """Store a conversation of an agent, with its system message and copies of its own of these blocks.

    `fields` are those of `Conversation`. Raises Invalid where token counts contradict.
    """
    conversation = msgspec.structs.replace(_new(agent.id), **fields)
    check_tokens(agent_in(agent, conversation).settings)
    conversation_store.create(conn, tenant, conversation)
    conversation_blocks.isolate(conn, tenant, conversation.id, isolated, actor=agent.id)
    system = _system_message(agent.id, compiled(conn, agent, conversation.id))
    message_store.append(conn, tenant, conversation.id, (system,))
    return conversation


async def update_conversation(
    db: Database, catalog: Catalog, tenant: str, conversation_id: str, fields: Mapping[str, Any]
) -> ConversationDetails:
    """Change fields of a conversation. Raises what `create_conversation` raises."""
    named = await resolved(catalog, tenant, fields)

    def update(conn: Connection) -> ConversationDetails:
        before = conversation_store.get(conn, tenant, conversation_id)
        after = msgspec.structs.replace(before, **named)
        if before.archived_at is not None and after.archived_at is not None:
            after = msgspec.structs.replace(after, archived_at=before.archived_at)
        check_tokens(agent_in(agent_store.get(conn, tenant, before.agent_id), after).settings)
        return conversation_store.details(conn, conversation_store.update(conn, tenant, before, after))

    return await db.write(update)


def fork_conversation(
    conn: Connection, tenant: str, source: Conversation, *, up_to: str | None, hidden: bool
) -> ConversationDetails:
    """Open a conversation that goes on from what is in another's context, up to a message or whole.

    It shares those messages, and gets a system message and copies of isolated blocks of its own. Raises NotFound where
    the message is not in the context, Busy while a run works on it.
    """
    agent = agent_store.hold(conn, tenant, source.agent_id, alone=True)
    refuse_running(conn, tenant, "The conversation cannot be forked", RunFilter(conversation_id=source.id))
    fresh = _new(agent.id)
    fork = msgspec.structs.replace(
        source, id=fresh.id, created_at=fresh.created_at, updated_at=fresh.updated_at, is_default=False,
        archived_at=None, last_message_at=None, hidden=hidden,
    )  # fmt: skip
    conversation_store.create(conn, tenant, fork)
    isolated = conversation_blocks.of_conversation(conn, source.id)
    conversation_blocks.isolate(conn, tenant, fork.id, isolated, actor=agent.id)
    system = _system_message(agent.id, compiled(conn, agent, fork.id))
    message_store.fork(conn, tenant, source.id, fork.id, system, up_to=up_to)
    return conversation_store.details(conn, fork)


def recompile_conversation(conn: Connection, tenant: str, conversation: Conversation, *, dry_run: bool) -> str:
    """What a conversation's system message says, compiled now; it is stored unless this is a dry run."""
    agent = agent_store.hold(conn, tenant, conversation.agent_id)
    text = compiled(conn, agent, conversation.id)
    if not dry_run:
        stored = message_store.system_message(conn, conversation.id)
        message_store.rewrite(conn, tenant, stored, (TextPart(text=text),))
    return text


def delete_conversation(conn: Connection, tenant: str, conversation_id: str) -> None:
    """Delete a conversation with its history. Raises NotFound, and Busy while it has unfinished runs."""
    conversation = conversation_store.get(conn, tenant, conversation_id)
    agent_store.hold(conn, tenant, conversation.agent_id, alone=True)
    refuse_running(conn, tenant, "The conversation cannot be deleted", RunFilter(conversation_id=conversation_id))
    conversation_store.delete(conn, tenant, conversation)


def refuse_default(conversation: Conversation) -> None:
    """Raises Invalid for an agent's default conversation, which is changed and deleted with its agent."""
    if conversation.is_default:
        raise Invalid(
            f"This is the default conversation of {conversation.agent_id}, which belongs to its agent. "
            "Change, reset or delete the agent instead."
        )


async def resolved(catalog: Catalog, tenant: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the model itself in the place of its handle, and with what its settings mean. Raises NotFound."""
    named = dict(fields)
    if named.get("model") is not None:
        named["model"] = await catalog.resolve(tenant, named["model"])
    if "model_settings" in named:
        named["settings"] = settings_named(named["model_settings"] or {})
    return named


def _new(agent_id: str) -> Conversation:
    at = now()
    return Conversation(id=new_id("conv"), agent_id=agent_id, created_at=at, updated_at=at)


def _system_message(agent_id: str, text: str) -> Message:
    return Message(
        id=new_id("message"), agent_id=agent_id, role="system", parts=(TextPart(text=text),), created_at=now()
    )
