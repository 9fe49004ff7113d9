"""What holds of every row of a whole database, whatever the floors above mean by it: checked, and mended."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, ForeignKey, Table, delete, exists, func, insert, literal, select, text, update

from perdure.domain.conversations import Conversation
from perdure.domain.ids import new_id, now
from perdure.domain.messages import PARTS_DECODER, PARTS_ENCODER, TextPart
from perdure.store import conversations as conversation_store
from perdure.store import sqlite_check, tenants
from perdure.store.findings import Check, Finding, finding
from perdure.store.messages import COLUMNS
from perdure.store.tables import (
    agents,
    agents_blocks,
    block_history,
    blocks,
    conversation_blocks,
    conversation_messages,
    conversations,
    messages,
    metadata,
    runs,
)
from perdure.store.tables.columns import Json

BATCH: Final = 500
"""Messages looked at together."""
DAMAGED: Final = "[This message was damaged and could not be read.]"
MENDER: Final = "check"
"""Who made the entry in a block's history that a repair adds."""

_FILES: Final[Mapping[str, Check]] = {"sqlite": sqlite_check.integrity}


def integrity(conn: Connection, repair: bool) -> Iterator[Finding]:
    """The file itself, where there is one that is ours to look after."""
    if conn.dialect.name in _FILES:
        yield from _FILES[conn.dialect.name](conn, repair)


def orphans(conn: Connection, repair: bool) -> Iterator[Finding]:
    """Rows that hang on a row which is not there."""
    for table in metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            lost = key.parent.is_not(None) & ~exists(select(literal(1)).where(key.column == key.parent))
            rows = conn.execute(select(*table.primary_key.columns, key.parent.label("target")).where(lost)).all()
            if rows:
                what = f"{table.name} rows whose {key.parent.name} names no row of {key.column.table.name}"
                done = _mend_orphans(conn, table, key, lost, {row.target for row in rows}) if repair else None
                yield finding("orphans", what, ("/".join(map(str, row[:-1])) for row in rows), done)


def _mend_orphans(conn: Connection, table: Table, key: ForeignKey, lost: Any, targets: set[str]) -> str:
    if key.ondelete == "SET NULL":
        conn.execute(update(table).where(lost).values({key.parent: None}))
        return f"emptied their {key.parent.name}"
    if key.ondelete == "CASCADE":
        conn.execute(delete(table).where(lost))
        return "deleted them"
    for tenant in targets:
        tenants.ensure(conn, tenant, tenant)
    return f"made the rows of {key.column.table.name} that they name"


def documents(conn: Connection, repair: bool) -> Iterator[Finding]:
    """What is JSON can be read. A run where it cannot goes; of everything else only a backup knows what it was."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, Json):
                broken = text(_NOT_JSON[conn.dialect.name].format(f"{table.name}.{column.name}"))
                rows = conn.execute(select(*table.primary_key.columns).select_from(table).where(broken)).all()
                if rows:
                    done = None
                    if repair and table is runs:
                        conn.execute(delete(runs).where(broken))
                        done = "deleted them"
                    what = f"{table.name} rows whose {column.name} cannot be read"
                    yield finding("documents", what, ("/".join(map(str, row)) for row in rows), done)


_NOT_JSON: Final[Mapping[str, str]] = {
    "sqlite": "{0} IS NOT NULL AND NOT json_valid({0})",
    "postgresql": "{0} IS NOT JSON",
}


def unreadable_messages(conn: Connection, repair: bool) -> Iterator[Finding]:
    """Messages whose parts cannot be decoded: they would keep their agent from every later turn."""
    for rows in _message_batches(conn):
        for row in rows:
            try:
                PARTS_DECODER.decode(row[COLUMNS.index(messages.c.parts)])
            except msgspec.MsgspecError as error:
                done = None
                if repair:
                    parts = PARTS_ENCODER.encode((TextPart(text=DAMAGED),)).decode()
                    conn.execute(update(messages).where(messages.c.seq == row.seq).values(parts=parts))
                    done = "put a text in its place that says so"
                yield finding("messages", f"a message that cannot be read ({error})", (row.id,), done)


def default_conversations(conn: Connection, repair: bool) -> Iterator[Finding]:
    """Every agent has a default conversation, and just one."""
    own = conversations.alias()
    right = exists(
        select(literal(1)).where(
            own.c.id == agents.c.conversation_id, own.c.agent_id == agents.c.id, own.c.is_default.is_(True)
        )
    )
    found = select(agents.c.id, agents.c.tenant_id, agents.c.conversation_id).where(~right)
    for agent in conn.execute(found).all():
        problem = f"an agent whose default conversation {agent.conversation_id} is not there or is not that"
        yield finding("default_conversation", problem, (agent.id,), _give_default(conn, agent) if repair else None)
    stray = (
        select(conversations.c.id)
        .join(agents, agents.c.id == conversations.c.agent_id)
        .where(conversations.c.is_default.is_(True), conversations.c.id != agents.c.conversation_id)
    )
    ids = conn.execute(stray).scalars().all()
    if ids:
        if repair:
            conn.execute(update(conversations).where(conversations.c.id.in_(ids)).values(is_default=False))
        problem = "second default conversations of their agents"
        yield finding("default_conversation", problem, ids, "made them ordinary ones" if repair else None)


def _give_default(conn: Connection, agent: Any) -> str:
    """Point an agent to a default conversation of its own, and make one where there is none."""
    mine = (conversations.c.agent_id == agent.id, conversations.c.is_default.is_(True))
    known = conn.execute(select(conversations.c.id).where(*mine).order_by(conversations.c.created_at)).scalar()
    named = select(conversations.c.agent_id).where(conversations.c.id == agent.conversation_id)
    owner = conn.execute(named).scalar()
    if known is None and owner == agent.id:
        mark = update(conversations).where(conversations.c.id == agent.conversation_id).values(is_default=True)
        conn.execute(mark)
        return "marked it as that"
    if known is None:
        known, at = agent.conversation_id if owner is None else new_id("conv"), now()
        made = Conversation(id=known, agent_id=agent.id, created_at=at, updated_at=at, is_default=True)
        conversation_store.create(conn, agent.tenant_id, made)
    changed = update(agents).where(agents.c.id == agent.id)
    conn.execute(changed.values(conversation_id=known, version=agents.c.version + 1))
    return f"made {known} its default conversation"


def doubled_messages(conn: Connection, repair: bool) -> Iterator[Finding]:
    """No message stands twice in a conversation."""
    link = conversation_messages
    several = (
        select(link.c.conversation_id, link.c.message_seq, func.min(link.c.position).label("first"))
        .group_by(link.c.conversation_id, link.c.message_seq)
        .having(func.count() > 1)
    )
    for row in conn.execute(several).all():
        if repair:
            conn.execute(
                delete(link).where(
                    link.c.conversation_id == row.conversation_id,
                    link.c.message_seq == row.message_seq,
                    link.c.position > row.first,
                )
            )
        problem = f"message number {row.message_seq} stands more than once in a conversation"
        yield finding("messages", problem, (row.conversation_id,), "kept the first place" if repair else None)


def block_labels(conn: Connection, repair: bool) -> Iterator[Finding]:
    """A link to a block bears the block's label, by which an agent has each label once."""
    for link in (agents_blocks, conversation_blocks):
        owner = link.primary_key.columns[0]
        wrong = (
            select(owner.label("owner"), link.c.block_id, blocks.c.label)
            .join(blocks, blocks.c.id == link.c.block_id)
            .where(link.c.label != blocks.c.label)
        )
        for row in conn.execute(wrong).all():
            done = _relabel(conn, link, row) if repair else None
            problem = f"a link to a block under another label than {row.label!r}"
            yield finding("blocks", problem, (row.owner, row.block_id), done)


def _relabel(conn: Connection, link: Table, row: Any) -> str:
    owner = link.primary_key.columns[0]
    taken = select(link.c.block_id).where(
        owner == row.owner, link.c.label == row.label, link.c.block_id != row.block_id
    )
    same = (owner == row.owner) & (link.c.block_id == row.block_id)
    if conn.execute(taken).first() is not None:
        conn.execute(delete(link).where(same))
        return "detached it, since another block has that label there"
    conn.execute(update(link).where(same).values(label=row.label))
    return "gave it the block's label"


def block_versions(conn: Connection, repair: bool) -> Iterator[Finding]:
    """The history of a block holds its value of now."""
    kept = exists(
        select(literal(1)).where(block_history.c.block_id == blocks.c.id, block_history.c.version == blocks.c.version)
    )
    missing = conn.execute(select(blocks.c.id, blocks.c.version, blocks.c.value).where(~kept)).all()
    if missing:
        if repair:
            rows = [
                {"block_id": row.id, "version": row.version, "value": row.value, "actor": MENDER, "created_at": now()}
                for row in missing
            ]
            conn.execute(insert(block_history), rows)
        problem = "blocks whose history lacks their value of now"
        yield finding("blocks", problem, (row.id for row in missing), "added it" if repair else None)


def _message_batches(conn: Connection) -> Iterator[Sequence[Any]]:
    """All messages in order of their seq, some at a time."""
    low = -1
    while True:
        found = select(*COLUMNS).where(messages.c.seq > low).order_by(messages.c.seq).limit(BATCH)
        rows = conn.execute(found).all()
        if not rows:
            return
        yield rows
        low = rows[-1].seq
