"""Blocks: their text, every change of it with who made it, and which agents they are attached to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, Select, Table, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows
from sqlalchemy.exc import IntegrityError

from perdure.domain.blocks import Block
from perdure.domain.errors import Conflict, Invalid, NotFound, not_found
from perdure.domain.ids import now
from perdure.store.block_history import remember
from perdure.store.database import Savepoint
from perdure.store.pages import Page, has_identity, has_tags, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import (
    agents_blocks,
    block_tags,
    blocks,
    blocks_identities,
    conversation_blocks,
    conversations,
)

_FIELDS: Final = tuple(name for name in Block.__struct_fields__ if name != "tags")
_COLUMNS: Final = tuple(blocks.c[name] for name in _FIELDS)

SHOWN_TO_MODEL: Final = frozenset({"label", "value", "limit", "description", "read_only"})
"""The fields of a block that stand in a system message."""


class BlockFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which blocks of a tenant are meant; None and empty mean any.

    The `…_search` texts are parts, in any case. Hidden blocks are left out unless `show_hidden`.
    """

    label: str | None = None
    name: str | None = None
    label_search: str | None = None
    value_search: str | None = None
    description_search: str | None = None
    tags: tuple[str, ...] = ()
    match_all_tags: bool = False
    read_only: bool | None = None
    templates_only: bool = False
    project_id: str | None = None
    identity_id: str | None = None
    identifier_keys: tuple[str, ...] = ()
    agents_more_than: int | None = None
    agents_fewer_than: int | None = None
    agents_exactly: tuple[int, ...] = ()
    agent_id: str | None = None
    show_hidden: bool = False


def create(conn: Connection, tenant: str, block: Block, *, actor: str, run_id: str | None = None) -> None:
    """Store a new block. Raises Invalid where the value is over the block's limit."""
    _check_limit(block)
    fields = {name: getattr(block, name) for name in _FIELDS}
    conn.execute(insert(blocks).values(tenant_id=tenant, **fields))
    _set_tags(conn, block)
    remember(conn, block, actor, run_id)


def get(conn: Connection, tenant: str, block_id: str) -> Block:
    """One block. Raises NotFound."""
    row = conn.execute(
        select(*_COLUMNS).where(blocks.c.id == block_id, blocks.c.tenant_id == tenant)
    ).mappings().one_or_none()  # fmt: skip
    if row is None:
        raise not_found("Block", block_id)
    return _blocks(conn, [row])[0]


def by_ids(conn: Connection, tenant: str, ids: Iterable[str]) -> list[Block]:
    """The blocks with these ids, in their order, each once. Raises NotFound for the first that does not exist."""
    wanted = list(dict.fromkeys(ids))
    rows = conn.execute(select(*_COLUMNS).where(blocks.c.id.in_(wanted), blocks.c.tenant_id == tenant)).mappings()
    found = {block.id: block for block in _blocks(conn, list(rows))}
    for block_id in wanted:
        if block_id not in found:
            raise not_found("Block", block_id)
    return [found[block_id] for block_id in wanted]


def hold(conn: Connection, tenant: str, ids: Iterable[str], *, alone: bool = False) -> list[Block]:
    """The same, held until the unit ends: nobody changes them meanwhile. With `alone` nobody attaches them either."""
    found = select(blocks.c.id).where(blocks.c.id.in_(list(ids)), blocks.c.tenant_id == tenant).order_by(blocks.c.id)
    conn.execute(found.with_for_update(read=not alone))
    return by_ids(conn, tenant, ids)


def list_page(conn: Connection, tenant: str, wanted: BlockFilter, page: Page) -> list[Block]:
    """A page of the blocks that match, by when they were made. Raises NotFound for an unknown cursor."""
    rows = select_page(
        conn, _matching(select(*_COLUMNS), tenant, wanted), page,
        noun="Block", sort=blocks.c.created_at, key=blocks.c.id, known=blocks.c.tenant_id == tenant,
    )  # fmt: skip
    return _blocks(conn, rows)


def count(conn: Connection, tenant: str, wanted: BlockFilter) -> int:
    """How many blocks match."""
    return conn.execute(_matching(select(func.count()).select_from(blocks), tenant, wanted)).scalar_one()


def of_agent(conn: Connection, agent_id: str) -> tuple[Block, ...]:
    """An agent's blocks, in the order in which they were attached."""
    return tuple(of_agents(conn, (agent_id,)).get(agent_id, ()))


def of_agents(conn: Connection, agent_ids: Iterable[str]) -> dict[str, list[Block]]:
    """The blocks of several agents, with two queries."""
    return linked(conn, agents_blocks, list(agent_ids))


def linked(conn: Connection, link: Table, owners: Sequence[str] | Select[Any]) -> dict[str, list[Block]]:
    """The blocks that a table of links gives to each of these owners, in the order of their positions."""
    owner = link.primary_key.columns[0]
    rows = conn.execute(
        select(owner.label("owner"), *_COLUMNS)
        .join(link, link.c.block_id == blocks.c.id)
        .where(owner.in_(owners))
        .order_by(link.c.position, blocks.c.created_at, blocks.c.id)
    ).mappings().all()  # fmt: skip
    found: dict[str, list[Block]] = {}
    for row, block in zip(rows, _blocks(conn, rows), strict=True):
        found.setdefault(row["owner"], []).append(block)
    return found


def labelled(conn: Connection, agent_id: str, label: str) -> Block:
    """The block with this label among an agent's. Raises NotFound naming the labels there are."""
    return with_label(of_agent(conn, agent_id), label)


def with_label(held: Sequence[Block], label: str) -> Block:
    """The one of these blocks of an agent that has this label. Raises NotFound naming the labels there are."""
    for block in held:
        if block.label == label:
            return block
    labels = ", ".join(block.label for block in held) or "no blocks"
    raise NotFound(f"Block with label {label!r} not found on this agent, which has: {labels}")


def agents_of(conn: Connection, block_id: str) -> tuple[str, ...]:
    """The ids, in order, of the agents a block is attached to, or one of whose conversations has it for itself."""
    attached = select(agents_blocks.c.agent_id).where(agents_blocks.c.block_id == block_id)
    isolated = (
        select(conversations.c.agent_id)
        .join(conversation_blocks, conversation_blocks.c.conversation_id == conversations.c.id)
        .where(conversation_blocks.c.block_id == block_id)
    )
    return tuple(sorted(conn.execute(attached.union(isolated)).scalars()))


def sharers(conn: Connection, agent_id: str, since: int) -> set[str]:
    """The other agents that have a block of this agent's which changed at a time (µs) or later."""
    own, other = agents_blocks.c, agents_blocks.alias().c
    found = (
        select(other.agent_id)
        .join(blocks, blocks.c.id == other.block_id)
        .join(agents_blocks, own.block_id == blocks.c.id)
        .where(own.agent_id == agent_id, other.agent_id != agent_id, blocks.c.updated_at >= since)
    )
    return set(conn.execute(found).scalars())


def attach(conn: Connection, agent_id: str, block: Block) -> bool:
    """Attach a block to an agent; false where it was. The caller has checked that both are the tenant's.

    Raises Conflict where the agent has another block of that label.
    """
    link = agents_blocks.c
    if conn.execute(select(link.label).where(link.agent_id == agent_id, link.block_id == block.id)).first():
        return False
    last = conn.execute(select(func.max(link.position)).where(link.agent_id == agent_id)).scalar_one()
    position = 0 if last is None else last + 1
    row = {"agent_id": agent_id, "block_id": block.id, "position": position, "label": block.label}
    try:
        with Savepoint(conn):
            conn.execute(insert(agents_blocks).values(**row))
    except IntegrityError as error:
        raise _duplicate_label(block.label) from error
    return True


def detach(conn: Connection, agent_id: str, block_id: str) -> None:
    """Detach a block from an agent. Raises NotFound where it was not attached."""
    link = agents_blocks.c
    if not conn.execute(
        delete_rows(agents_blocks).where(link.agent_id == agent_id, link.block_id == block_id)
    ).rowcount:
        raise not_found("Block", block_id)


def update_value(
    conn: Connection, tenant: str, block: Block, value: str, *, actor: str, run_id: str | None = None
) -> Block:
    """Give a block a new value; the same value changes nothing. `block` is how the caller last saw it.

    Raises Invalid where the value is over the limit, Conflict where the block's value has changed since.
    """
    return update(conn, tenant, block, msgspec.structs.replace(block, value=value), actor=actor, run_id=run_id)


def update(
    conn: Connection, tenant: str, before: Block, after: Block, *, actor: str, run_id: str | None = None
) -> Block:
    """Store the fields in which `after` differs from `before`, and return the block as stored.

    Raises Invalid where the value is over the limit, Conflict where the value has changed since `before` was read, or
    where an agent it is attached to has another block of the new label, NotFound where it is gone.
    """
    fields: dict[str, Any] = {
        name: getattr(after, name) for name in _FIELDS if getattr(after, name) != getattr(before, name)
    }
    if not fields and after.tags == before.tags:
        return before
    # A value that was over its limit before, as an import may leave it, may still be shortened bit by bit.
    if after.limit != before.limit or len(after.value) > len(before.value):
        _check_limit(after)
    fields["updated_at"] = now()
    same = (blocks.c.id == before.id) & (blocks.c.tenant_id == tenant)
    if "value" in fields:
        fields["version"] = before.version + 1
        same &= blocks.c.version == before.version
    version = fields.get("version", before.version)
    after = msgspec.structs.replace(after, updated_at=fields["updated_at"], version=version)
    if not conn.execute(update_rows(blocks).where(same).values(**fields)).rowcount:
        get(conn, tenant, before.id)
        raise Conflict(f"Block {before.id} was changed by someone else meanwhile. Read it again, then repeat the edit.")
    if "label" in fields:
        _relabel(conn, after)
    if after.tags != before.tags:
        conn.execute(delete_rows(block_tags).where(block_tags.c.block_id == before.id))
        _set_tags(conn, after)
    if "value" in fields:
        remember(conn, after, actor, run_id)
    return after


def delete(conn: Connection, tenant: str, block_id: str) -> None:
    """Delete a block, wherever it is attached. Raises NotFound."""
    if not conn.execute(delete_rows(blocks).where(blocks.c.id == block_id, blocks.c.tenant_id == tenant)).rowcount:
        raise not_found("Block", block_id)


def _check_limit(block: Block) -> None:
    """Raises Invalid where a block's value is longer than its limit."""
    if len(block.value) > block.limit:
        raise Invalid(
            f"The value of block {block.label!r} has {len(block.value)} characters, {len(block.value) - block.limit} "
            f"more than its limit of {block.limit}. Shorten it or raise the limit."
        )


def _duplicate_label(label: str) -> Conflict:
    """What to raise where an agent would have two blocks of one label."""
    return Conflict(
        f"A block with label {label!r} is attached to this agent already. Detach that one first, or use another label."
    )


def _relabel(conn: Connection, block: Block) -> None:
    try:
        with Savepoint(conn):
            for link in (agents_blocks, conversation_blocks):
                conn.execute(update_rows(link).where(link.c.block_id == block.id).values(label=block.label))
    except IntegrityError as error:
        raise _duplicate_label(block.label) from error


def _set_tags(conn: Connection, block: Block) -> None:
    if block.tags:
        rows = [{"block_id": block.id, "tag": tag} for tag in dict.fromkeys(block.tags)]
        conn.execute(insert(block_tags), rows)


def _blocks(conn: Connection, rows: Iterable[RowMapping]) -> list[Block]:
    """The blocks in rows of `_COLUMNS`, with their tags."""
    rows = list(rows)
    if not rows:
        return []
    tags: dict[str, list[str]] = {}
    ids = [row["id"] for row in rows]
    found = select(block_tags.c.block_id, block_tags.c.tag).where(block_tags.c.block_id.in_(ids))
    for block_id, tag in conn.execute(found.order_by(block_tags.c.tag)):
        tags.setdefault(block_id, []).append(tag)
    return [_block(row, tags) for row in rows]


def _block(row: RowMapping, tags: Mapping[str, list[str]]) -> Block:
    return to_struct(row, Block, tags=tags.get(row["id"], ()))


def _matching(found: Select[Any], tenant: str, wanted: BlockFilter) -> Select[Any]:
    found = found.where(blocks.c.tenant_id == tenant)
    for column, value in (
        (blocks.c.label, wanted.label),
        (blocks.c.template_name, wanted.name),
        (blocks.c.read_only, wanted.read_only),
        (blocks.c.project_id, wanted.project_id),
    ):
        if value is not None:
            found = found.where(column == value)
    for column, part in (
        (blocks.c.label, wanted.label_search),
        (blocks.c.value, wanted.value_search),
        (blocks.c.description, wanted.description_search),
    ):
        if part is not None:
            found = found.where(column.icontains(part, autoescape=True))
    if wanted.templates_only:
        found = found.where(blocks.c.is_template.is_(True))
    if wanted.tags:
        found = found.where(has_tags(blocks.c.id, block_tags, wanted.tags, every=wanted.match_all_tags))
    if wanted.identity_id is not None or wanted.identifier_keys:
        linked = has_identity(blocks.c.id, blocks_identities, wanted.identity_id, wanted.identifier_keys)
        found = found.where(linked)
    if not wanted.show_hidden:
        found = found.where(blocks.c.hidden.is_not(True))
    return _attached(found, wanted)


def _attached(found: Select[Any], wanted: BlockFilter) -> Select[Any]:
    link = agents_blocks.c
    if wanted.agent_id is not None:
        found = found.where(blocks.c.id.in_(select(link.block_id).where(link.agent_id == wanted.agent_id)))
    attached = select(func.count()).where(link.block_id == blocks.c.id).scalar_subquery()
    if wanted.agents_more_than is not None:
        found = found.where(attached > wanted.agents_more_than)
    if wanted.agents_fewer_than is not None:
        found = found.where(attached < wanted.agents_fewer_than)
    if wanted.agents_exactly:
        found = found.where(attached.in_(wanted.agents_exactly))
    return found
