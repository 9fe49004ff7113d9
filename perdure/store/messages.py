"""Messages and the order they stand in: a conversation's history is all its rows, its context those still in it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, select, text, update

from perdure.domain.errors import not_found
from perdure.domain.messages import PARTS_DECODER, PARTS_ENCODER, AnyPart, Message, Role
from perdure.store import search
from perdure.store.hot import Hot, Row, insert_into
from perdure.store.tables import conversation_messages, conversations, messages

_FIELDS: Final = (
    "seq", "id", "agent_id", "role", "parts", "otid", "name", "sender_id", "group_id", "batch_item_id",
    "step_id", "run_id", "is_err", "created_at",
)  # fmt: skip
COLUMNS: Final = tuple(messages.c[name] for name in _FIELDS)
"""What to select of a message for `from_row`."""

POSITION_GAP: Final = 1024
"""A message's position is its seq times this, so that a summary fits before what a compaction kept."""

_INSERT: Final = Hot(insert_into(messages, "tenant_id", *_FIELDS[1:]).returning(messages.c.seq))
_LINK: Final = Hot(
    insert_into(conversation_messages, "conversation_id", "position", "message_seq", "in_context"),
)
_CONTEXT: Final = Hot(
    select(*COLUMNS)
    .join(conversation_messages, conversation_messages.c.message_seq == messages.c.seq)
    .where(conversation_messages.c.conversation_id == bindparam("conversation"), text("in_context"))
    .order_by(conversation_messages.c.position)
)


def from_row(row: Row) -> Message:
    """The message in a row of `COLUMNS`."""
    return Message(
        seq=row[0], id=row[1], agent_id=row[2], role=row[3], parts=PARTS_DECODER.decode(row[4]), otid=row[5],
        name=row[6], sender_id=row[7], group_id=row[8], batch_item_id=row[9], step_id=row[10], run_id=row[11],
        is_err=bool(row[12]), created_at=row[13],
    )  # fmt: skip


def append(conn: Connection, tenant: str, conversation_id: str, added: Sequence[Message]) -> None:
    """Store messages at the end of a conversation, in its context, and make their text searchable."""
    indexed: list[tuple[int, str]] = []
    for message in added:
        seq = _INSERT.rows(
            conn, tenant_id=tenant, id=message.id, agent_id=message.agent_id, role=message.role,
            parts=PARTS_ENCODER.encode(message.parts).decode(), otid=message.otid, name=message.name,
            sender_id=message.sender_id, group_id=message.group_id, batch_item_id=message.batch_item_id,
            step_id=message.step_id, run_id=message.run_id, is_err=message.is_err, created_at=message.created_at,
        )[0][0]  # fmt: skip
        _LINK.rows(conn, conversation_id=conversation_id, position=seq * POSITION_GAP, message_seq=seq, in_context=True)
        if words := search.text_of(message):
            indexed.append((seq, words))
    if indexed:
        search.index(conn, indexed)


def context(conn: Connection, conversation_id: str) -> list[Message]:
    """What the model would see of a conversation, in order; the system message comes first."""
    return [from_row(row) for row in _CONTEXT.rows(conn, conversation=conversation_id)]


def context_ids(conn: Connection, conversation_id: str) -> tuple[str, ...]:
    """The ids of the messages in a conversation's context, in order."""
    return contexts_ids(conn, (conversation_id,)).get(conversation_id, ())


def contexts_ids(conn: Connection, conversation_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The ids in context of several conversations, with one query."""
    link = conversation_messages.c
    rows = conn.execute(
        select(link.conversation_id, messages.c.id)
        .join(messages, messages.c.seq == link.message_seq)
        .where(link.conversation_id.in_(list(conversation_ids)), link.in_context.is_(True))
        .order_by(link.position)
    )
    found: dict[str, list[str]] = {}
    for conversation_id, message_id in rows:
        found.setdefault(conversation_id, []).append(message_id)
    return {key: tuple(ids) for key, ids in found.items()}


def reset_context(conn: Connection, conversation_id: str) -> None:
    """Leave only the system message in a conversation's context. Its history stays."""
    link = conversation_messages.c
    first = select(link.position).where(link.conversation_id == conversation_id, link.in_context.is_(True))
    conn.execute(
        update(conversation_messages)
        .where(
            link.conversation_id == conversation_id,
            link.in_context.is_(True),
            link.position > first.order_by(link.position).limit(1).scalar_subquery(),
        )
        .values(in_context=False)
    )


def system_messages(conn: Connection, agent_id: str) -> list[tuple[str, Message]]:
    """The compiled system message of each of an agent's conversations, as (conversation id, message)."""
    link = conversation_messages
    own = select(conversations.c.id).where(conversations.c.agent_id == agent_id)
    first = (
        select(func.min(link.c.position))
        .where(link.c.conversation_id.in_(own), link.c.in_context.is_(True))
        .group_by(link.c.conversation_id)
    )
    rows = conn.execute(
        select(link.c.conversation_id, *COLUMNS)
        .join(messages, messages.c.seq == link.c.message_seq)
        .where(link.c.conversation_id.in_(own), link.c.position.in_(first), messages.c.role == "system")
    )
    return [(row[0], from_row(row[1:])) for row in rows]


def count_outside_context(conn: Connection, conversation_id: str) -> int:
    """How many messages of a conversation's history the model no longer sees."""
    link = conversation_messages.c
    outside = select(func.count()).where(link.conversation_id == conversation_id, link.in_context.is_(False))
    return conn.execute(outside).scalar_one()


def get(conn: Connection, tenant: str, message_id: str) -> Message:
    """One message. Raises NotFound."""
    row = conn.execute(
        select(*COLUMNS).where(messages.c.id == message_id, messages.c.tenant_id == tenant)
    ).one_or_none()
    if row is None:
        raise not_found("Message", message_id)
    return from_row(row)


def rewrite(conn: Connection, tenant: str, message: Message, parts: tuple[AnyPart, ...]) -> None:
    """Replace the parts of a stored message, where it stands."""
    conn.execute(
        update(messages)
        .where(messages.c.id == message.id, messages.c.tenant_id == tenant)
        .values(parts=PARTS_ENCODER.encode(parts).decode())
    )
    search.reindex(conn, message.seq, search.text_of(msgspec.structs.replace(message, parts=parts)))


def history(
    conn: Connection,
    tenant: str,
    *,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    run_id: str | None = None,
    step_id: str | None = None,
    group_id: str | None = None,
    roles: Sequence[Role] | None = None,
    before: str | None = None,
    after: str | None = None,
    newest_first: bool = True,
    limit: int = 100,
) -> list[Message]:
    """A page of stored messages by when they were stored.

    `before` and `after` are message ids and always mean older and newer (decision 13 of the contract); with `after`
    alone the page is the one nearest that cursor. Raises NotFound for a cursor that does not exist.
    """
    found = _where(agent_id, conversation_id).where(messages.c.tenant_id == tenant)
    for column, value in (
        (messages.c.run_id, run_id), (messages.c.step_id, step_id), (messages.c.group_id, group_id)
    ):  # fmt: skip
        if value is not None:
            found = found.where(column == value)
    if roles is not None:
        found = found.where(messages.c.role.in_(list(roles)))
    if before is not None:
        found = found.where(messages.c.seq < _seq(conn, tenant, before))
    if after is not None:
        found = found.where(messages.c.seq > _seq(conn, tenant, after))
    nearest_oldest = after is not None and before is None
    if nearest_oldest or (not newest_first and before is None):
        rows = conn.execute(found.order_by(messages.c.seq).limit(limit)).all()
        page = [from_row(row) for row in rows]
        return page[::-1] if newest_first else page
    rows = conn.execute(found.order_by(messages.c.seq.desc()).limit(limit)).all()
    page = [from_row(row) for row in rows]
    return page if newest_first else page[::-1]


def _where(agent_id: str | None, conversation_id: str | None) -> Select[Any]:
    found = select(*COLUMNS)
    if conversation_id is not None:
        link = conversation_messages
        found = found.join(link, link.c.message_seq == messages.c.seq).where(link.c.conversation_id == conversation_id)
    if agent_id is not None:
        found = found.where(messages.c.agent_id == agent_id)
    return found


def _seq(conn: Connection, tenant: str, message_id: str) -> int:
    seq = conn.execute(
        select(messages.c.seq).where(messages.c.id == message_id, messages.c.tenant_id == tenant)
    ).scalar_one_or_none()
    if seq is None:
        raise not_found("Message", message_id)
    return seq
