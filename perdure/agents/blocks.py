"""Edits of blocks by people: whatever a model would see of them is in the system messages when the edit is durable."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from perdure.domain.blocks import Block
from perdure.domain.errors import Conflict
from perdure.loop.context import recompile
from perdure.memory.holding import share
from perdure.store import agents as agent_store
from perdure.store import block_history
from perdure.store import blocks as block_store


def attach_block(conn: Connection, tenant: str, agent_id: str, block_id: str) -> None:
    """Attach a block to an agent, if it is not. Raises NotFound for either, Conflict for a second block of a label."""
    agent = agent_store.get(conn, tenant, agent_id)
    (block,) = block_store.hold(conn, tenant, (block_id,))
    agent_store.hold(conn, tenant, agent.id)
    if block_store.attach(conn, agent.id, block):
        recompile(conn, tenant, agent.id)
        _tell_companions(conn, tenant, agent.id, (block,), ())


def detach_block(conn: Connection, tenant: str, agent_id: str, block_id: str) -> None:
    """Detach a block from an agent. Raises NotFound for either, and where it was not attached."""
    agent = agent_store.hold(conn, tenant, agent_id)
    block_store.detach(conn, agent.id, block_store.get(conn, tenant, block_id).id)
    recompile(conn, tenant, agent.id)
    _tell_companions(conn, tenant, agent.id, (), (block_id,))


def replace_blocks(conn: Connection, tenant: str, agent_id: str, block_ids: Sequence[str]) -> bool:
    """Make these the blocks of an agent, without recompiling; true where that changed something.

    Raises NotFound for a block, Conflict for two of a label.
    """
    wanted = block_store.hold(conn, tenant, block_ids)
    gone = {block.id for block in block_store.of_agent(conn, agent_id)} - {block.id for block in wanted}
    for block_id in gone:
        block_store.detach(conn, agent_id, block_id)
    fresh = [block for block in wanted if block_store.attach(conn, agent_id, block)]
    _tell_companions(conn, tenant, agent_id, fresh, gone)
    return bool(gone or fresh)


def _tell_companions(
    conn: Connection, tenant: str, agent_id: str, fresh: Sequence[Block], gone: Collection[str]
) -> None:
    """Let those who look after an agent's memory hold what it holds now, and see that."""
    for companion_id in share(conn, agent_id, fresh, gone):
        recompile(conn, tenant, companion_id)


def edit_block(
    conn: Connection, tenant: str, block: Block, changes: Mapping[str, Any], *, actor: str, seen: int | None = None
) -> Block:
    """Change fields of a block, for every agent it is attached to. `seen` is the version that the changes are made for.

    Edits at once follow one after the other; who names no version has it as it then is. Raises Conflict where `seen` is
    not the block's version any more, and NotFound, Invalid and Conflict as the store does.
    """
    (block,) = block_store.hold(conn, tenant, (block.id,), alone=True)
    if seen not in (None, block.version):
        raise Conflict(
            f"Block {block.id} has version {block.version} by now, not {seen}. Read it again, then repeat the edit."
        )
    after = block_store.update(conn, tenant, block, msgspec.structs.replace(block, **changes), actor=actor)
    if any(getattr(after, name) != getattr(block, name) for name in block_store.SHOWN_TO_MODEL):
        recompile_all(conn, tenant, block_store.agents_of(conn, block.id))
    return after


def restore_block(conn: Connection, tenant: str, block_id: str, version: int, *, actor: str) -> Block:
    """Give a block the value that it had as an earlier version; that is a version of its own.

    Raises NotFound for the block and for a version that is not kept, Invalid and Conflict as the store does.
    """
    block = block_store.get(conn, tenant, block_id)
    value = block_history.get(conn, block.id, version).value
    return edit_block(conn, tenant, block, {"value": value}, actor=actor)


def delete_block(conn: Connection, tenant: str, block_id: str) -> None:
    """Delete a block and take it out of every system message it stands in. Raises NotFound."""
    block_store.hold(conn, tenant, (block_id,), alone=True)
    attached = block_store.agents_of(conn, block_id)
    block_store.delete(conn, tenant, block_id)
    recompile_all(conn, tenant, attached)


def recompile_all(conn: Connection, tenant: str, agent_ids: Iterable[str]) -> None:
    """Rewrite the system messages of several agents."""
    for agent_id in agent_ids:
        recompile(conn, tenant, agent_id)
