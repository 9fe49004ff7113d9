"""Which blocks an agent holds, arranged by the agent itself: made, renamed, described, let go.

A conversation that has a block for itself can change the text of its copy and nothing else about it: another label
would bring the agent's own block back into view beside it. Whoever looks after the agent's memory holds the same.
"""

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import Connection

from perdure.domain.blocks import Block, label_problem
from perdure.domain.errors import Conflict, Invalid
from perdure.domain.ids import new_id, now
from perdure.memory.blocks import writable
from perdure.store import blocks as block_store
from perdure.store import conversation_blocks
from perdure.store import groups as group_store


def add(
    conn: Connection,
    tenant: str,
    agent_id: str,
    conversation_id: str,
    label: str,
    value: str,
    description: str | None,
    *,
    run_id: str | None,
) -> Block:
    """Make a block and attach it to an agent, so that all its conversations see it.

    Raises Invalid for a label that cannot be one and for a value over the limit, Conflict for a label there is.
    """
    _check(label)
    if any(block.label == label for block in conversation_blocks.shown_in(conn, agent_id, conversation_id)):
        raise Conflict(f"There is a memory block {label!r} already. Change that one, or use another label.")
    at = now()
    block = Block(
        id=new_id("block"), label=label, value=value, description=description, created_at=at, updated_at=at
    )  # fmt: skip
    block_store.create(conn, tenant, block, actor=agent_id, run_id=run_id)
    block_store.attach(conn, agent_id, block)
    share(conn, agent_id, (block,), ())
    return block


def remove(conn: Connection, agent_id: str, conversation_id: str, label: str) -> None:
    """Detach a block from an agent; the block stays, for others it is attached to and for people to look at.

    Raises NotFound, naming the labels there are, and Invalid for a block that the agent may not let go.
    """
    block = _own(conn, agent_id, conversation_id, label)
    block_store.detach(conn, agent_id, block.id)
    share(conn, agent_id, (), (block.id,))


def rename(conn: Connection, tenant: str, agent_id: str, conversation_id: str, label: str, new_label: str) -> Block:
    """Give a block another label, for every agent it is attached to.

    Raises what `remove` raises, Invalid for a label that cannot be one, Conflict for a label there is.
    """
    _check(new_label)
    return _change(conn, tenant, _own(conn, agent_id, conversation_id, label), agent_id, label=new_label)


def describe(
    conn: Connection, tenant: str, agent_id: str, conversation_id: str, label: str, description: str
) -> Block:  # fmt: skip
    """Say anew what belongs in a block. Raises NotFound, naming the labels there are, Invalid for a read-only one."""
    block = writable(conn, agent_id, conversation_id, label)
    return _change(conn, tenant, block, agent_id, description=description)


def share(conn: Connection, agent_id: str, fresh: Sequence[Block], gone: Collection[str]) -> Sequence[str]:
    """Let those who look after an agent's memory hold what it holds now; labels of their own stay theirs.

    Returns the ids of those whose system messages are to be compiled anew.
    """
    tending = group_store.asleep(conn, agent_id) if fresh or gone else None
    if tending is None:
        return ()
    for companion_id in tending.agent_ids:
        held = block_store.of_agent(conn, companion_id)
        for block in held:
            if block.id in gone:
                block_store.detach(conn, companion_id, block.id)
        labels = {block.label for block in held if block.id not in gone}
        for block in fresh:
            if block.label not in labels:
                block_store.attach(conn, companion_id, block)
    return tending.agent_ids


def _own(conn: Connection, agent_id: str, conversation_id: str, label: str) -> Block:
    """A block that the agent may change and that is not a conversation's own."""
    block = writable(conn, agent_id, conversation_id, label)
    if any(block.id == copy.id for copy in conversation_blocks.of_conversation(conn, conversation_id)):
        raise Invalid(
            f"The memory block {label!r} belongs to this conversation alone: you can change its text, but neither "
            "rename nor remove it."
        )
    return block


def _change(conn: Connection, tenant: str, block: Block, actor: str, **fields: str) -> Block:
    return block_store.update(conn, tenant, block, msgspec.structs.replace(block, **fields), actor=actor)


def _check(label: str) -> None:
    if problem := label_problem(label):
        raise Invalid(problem)
