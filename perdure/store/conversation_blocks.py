"""Blocks that a conversation has for itself: copies, which stand in the place of the agent's blocks of their labels."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select

from perdure.domain.blocks import Block
from perdure.domain.ids import new_id, now
from perdure.store import blocks as block_store
from perdure.store.tables import blocks, conversation_blocks, conversations

_link = conversation_blocks.c


def isolate(conn: Connection, tenant: str, conversation_id: str, held: Sequence[Block], *, actor: str) -> None:
    """Give a conversation copies of its own of these blocks. Lists of blocks do not show them unless asked to."""
    at = now()
    for position, block in enumerate(held):
        copy = msgspec.structs.replace(
            block, id=new_id("block"), version=1, hidden=True, created_at=at, updated_at=at, is_template=False
        )
        block_store.create(conn, tenant, copy, actor=actor)
        row = {"conversation_id": conversation_id, "block_id": copy.id, "position": position, "label": copy.label}
        conn.execute(insert(conversation_blocks).values(**row))


def of_conversation(conn: Connection, conversation_id: str) -> list[Block]:
    """The blocks a conversation has for itself."""
    return block_store.linked(conn, conversation_blocks, [conversation_id]).get(conversation_id, [])


def of_agent(conn: Connection, agent_id: str) -> dict[str, list[Block]]:
    """The blocks that an agent's conversations have for themselves, by conversation."""
    own = select(conversations.c.id).where(conversations.c.agent_id == agent_id)
    return block_store.linked(conn, conversation_blocks, own)


def ids_of(conn: Connection, conversation_ids: Iterable[str]) -> dict[str, list[str]]:
    """The ids of the blocks that several conversations have for themselves."""
    found: dict[str, list[str]] = {}
    rows = select(_link.conversation_id, _link.block_id).where(_link.conversation_id.in_(list(conversation_ids)))
    for conversation_id, block_id in conn.execute(rows.order_by(_link.position)):
        found.setdefault(conversation_id, []).append(block_id)
    return found


def shown(held: Sequence[Block], isolated: Sequence[Block]) -> tuple[Block, ...]:
    """What a conversation shows: the agent's blocks, its own copies in the place of those of their labels."""
    copies = {block.label: block for block in isolated}
    return (*(copies.pop(block.label, block) for block in held), *copies.values())


def shown_in(conn: Connection, agent_id: str, conversation_id: str) -> tuple[Block, ...]:
    """The blocks that one conversation of an agent shows."""
    return shown(block_store.of_agent(conn, agent_id), of_conversation(conn, conversation_id))


def delete_of_conversation(conn: Connection, conversation_id: str) -> None:
    """Delete the blocks that a conversation has for itself."""
    _delete(conn, _link.conversation_id == conversation_id)


def delete_of_agent(conn: Connection, agent_id: str) -> None:
    """Delete the blocks that an agent's conversations have for themselves."""
    own = select(conversations.c.id).where(conversations.c.agent_id == agent_id)
    _delete(conn, _link.conversation_id.in_(own))


def _delete(conn: Connection, where: ColumnElement[bool]) -> None:
    conn.execute(delete(blocks).where(blocks.c.id.in_(select(_link.block_id).where(where))))
