"""Messages and the order they stand in: a conversation's history is all its rows, its context those still in it."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, literal, select, text, update

from perdure.domain.conversations import DEFAULT_CONVERSATION
from perdure.domain.errors import not_found
from perdure.domain.messages import PARTS_DECODER, PARTS_ENCODER, AnyPart, Message, Role
from perdure.store import message_search, search
from perdure.store.hot import Hot, Row, insert_into
from perdure.store.tables import conversation_messages, conversations, messages

_FIELDS: Final = (
    "seq", "id", "agent_id", "role", "parts", "otid", "name", "sender_id", "group_id", "batch_item_id",
    "step_id", "run_id", "is_err", "created_at",
)  # fmt: skip
COLUMNS: Final = tuple(messages.c[name] for name in _FIELDS)
"""What to select of a message for `from_row`."""

POSITION_GAP: Final = 1 << 20
"""A message's position is its seq times this, so that summaries fit before it, one after the other."""

IDS_AT_ONCE: Final = 500
"""Parameters of one statement; databases allow only so many."""

IN_CONTEXT: Final = text("in_context")
"""Put as the index of what is in context has it, which no other spelling would use."""

SIFTED_ROWS: Final = 200
"""Rows read at a time, at least, where not all of them are kept."""

_INSERT: Final = Hot(insert_into(messages, "tenant_id", *_FIELDS[1:]).returning(messages.c.seq))
_LINK: Final = Hot(
    insert_into(conversation_messages, "conversation_id", "position", "message_seq", "in_context"),
)
_CONTEXT: Final = Hot(
    select(*COLUMNS)
    .join(conversation_messages, conversation_messages.c.message_seq == messages.c.seq)
    .where(conversation_messages.c.conversation_id == bindparam("conversation"), IN_CONTEXT)
    .order_by(conversation_messages.c.position)
)

_NEWEST: Final = (
    select(*COLUMNS)
    .join(conversation_messages, conversation_messages.c.message_seq == messages.c.seq)
    .where(conversation_messages.c.conversation_id == bindparam("conversation"), IN_CONTEXT)
    .order_by(conversation_messages.c.position.desc())
    .limit(bindparam("count"))
)
_OUTSIDE: Final = (
    select(literal(1).label("one"))
    .where(
        conversation_messages.c.conversation_id == bindparam("conversation"),
        conversation_messages.c.in_context.is_(False),
    )
    .limit(bindparam("most"))
    .subquery()
)
_COUNT_OUTSIDE: Final = Hot(select(func.count()).select_from(_OUTSIDE))
_TAIL: Final = Hot(_NEWEST)
_LAST_ROLE: Final = Hot(_NEWEST.with_only_columns(messages.c.role))


def from_row(row: Row) -> Message:
    """The message in a row of `COLUMNS`."""
    return Message(
        seq=row[0], id=row[1], agent_id=row[2], role=row[3], parts=PARTS_DECODER.decode(row[4]), otid=row[5],
        name=row[6], sender_id=row[7], group_id=row[8], batch_item_id=row[9], step_id=row[10], run_id=row[11],
        is_err=bool(row[12]), created_at=row[13],
    )  # fmt: skip


def append(conn: Connection, tenant: str, conversation_id: str, added: Sequence[Message]) -> None:
    """Store messages at the end of a conversation, in its context, and make their text searchable."""
    stored: list[tuple[int, Message]] = []
    for message in added:
        seq = insert_row(conn, tenant, message)
        _LINK.rows(conn, conversation_id=conversation_id, position=seq * POSITION_GAP, message_seq=seq, in_context=True)
        stored.append((seq, message))
    message_search.index(conn, stored)


def fork(
    conn: Connection, tenant: str, source_id: str, target_id: str, system: Message, *, up_to: str | None = None
) -> None:
    """Begin a conversation with a system message of its own and what follows another's, which both share.

    `up_to` is the id of the last message to share. Raises NotFound where that is not in the context.
    """
    link = conversation_messages.c
    shared = (
        select(literal(target_id), link.position, link.message_seq, literal(True))
        .where(link.conversation_id == source_id, IN_CONTEXT)
    )  # fmt: skip
    if up_to is not None:
        shared = shared.where(link.position <= _position(conn, tenant, source_id, up_to, in_context=True))
    beginning, _ = _beginning(conn, source_id)
    shared = shared.where(link.position > beginning)
    seq = insert_row(conn, tenant, system)
    _LINK.rows(conn, conversation_id=target_id, position=beginning - 1, message_seq=seq, in_context=True)
    columns = ["conversation_id", "position", "message_seq", "in_context"]
    conn.execute(insert(conversation_messages).from_select(columns, shared))


def delete_unshared(conn: Connection, conversation_id: str) -> None:
    """Delete the messages of a conversation that are in no other one, also from what is searched."""
    link, other = conversation_messages, conversation_messages.alias()
    elsewhere = select(other.c.message_seq).where(
        other.c.message_seq == link.c.message_seq, other.c.conversation_id != conversation_id
    )
    own = select(link.c.message_seq).where(link.c.conversation_id == conversation_id, ~elsewhere.exists())
    search.remove(conn, message_search.MESSAGES, conn.execute(own).scalars().all())
    conn.execute(delete(messages).where(messages.c.seq.in_(own)))


def context(conn: Connection, conversation_id: str) -> list[Message]:
    """What the model would see of a conversation, in order; the system message comes first."""
    return [from_row(row) for row in _CONTEXT.rows(conn, conversation=conversation_id)]


def tail(conn: Connection, conversation_id: str, count: int) -> list[Message]:
    """The last messages of a conversation's context, oldest first."""
    return [from_row(row) for row in _TAIL.rows(conn, conversation=conversation_id, count=count)][::-1]


def last_role(conn: Connection, conversation_id: str) -> Role | None:
    """Who has the last word in a conversation's context."""
    row = _LAST_ROLE.row(conn, conversation=conversation_id, count=1)
    return None if row is None else row[0]


def context_ids(conn: Connection, conversation_id: str) -> tuple[str, ...]:
    """The ids of the messages in a conversation's context, in order."""
    return contexts_ids(conn, (conversation_id,)).get(conversation_id, ())


def contexts_ids(conn: Connection, conversation_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The ids in context of several conversations, with one query."""
    link = conversation_messages.c
    rows = conn.execute(
        select(link.conversation_id, messages.c.id)
        .join(messages, messages.c.seq == link.message_seq)
        .where(link.conversation_id.in_(list(conversation_ids)), IN_CONTEXT)
        .order_by(link.position)
    )
    found: dict[str, list[str]] = {}
    for conversation_id, message_id in rows:
        found.setdefault(conversation_id, []).append(message_id)
    return {key: tuple(ids) for key, ids in found.items()}


def reset_context(conn: Connection, conversation_id: str) -> None:
    """Leave only the system message in a conversation's context. Its history stays."""
    link = conversation_messages.c
    first = select(link.position).where(link.conversation_id == conversation_id, IN_CONTEXT)
    conn.execute(
        update(conversation_messages)
        .where(
            link.conversation_id == conversation_id,
            IN_CONTEXT,
            link.position > first.order_by(link.position).limit(1).scalar_subquery(),
        )
        .values(in_context=False)
    )


def system_message(conn: Connection, conversation_id: str) -> Message:
    """The compiled system message of a conversation: its context begins with it, and is never empty."""
    return _beginning(conn, conversation_id)[1]


def system_messages(conn: Connection, agent_id: str) -> list[tuple[str, Message]]:
    """The compiled system message of each of an agent's conversations, as (conversation id, message)."""
    link = conversation_messages
    first = (
        select(link.c.conversation_id, func.min(link.c.position).label("position"))
        .where(link.c.conversation_id.in_(_conversations_of(agent_id)), IN_CONTEXT)
        .group_by(link.c.conversation_id)
        .subquery()
    )
    same = (first.c.conversation_id == link.c.conversation_id) & (first.c.position == link.c.position)
    rows = conn.execute(
        select(link.c.conversation_id, *COLUMNS)
        .join(messages, messages.c.seq == link.c.message_seq)
        .join(first, same)
        .where(messages.c.role == "system")
    )
    return [(row[0], from_row(row[1:])) for row in rows]


def leave_context(conn: Connection, conversation_id: str, seqs: Sequence[int]) -> None:
    """Take messages out of a conversation's context. Its history, and every other conversation, keeps them."""
    link = conversation_messages.c
    for start in range(0, len(seqs), IDS_AT_ONCE):
        conn.execute(
            update(conversation_messages)
            .where(
                link.conversation_id == conversation_id, IN_CONTEXT,
                link.message_seq.in_(seqs[start : start + IDS_AT_ONCE]),
            )
            .values(in_context=False)
        )  # fmt: skip


def stand_before(conn: Connection, tenant: str, conversation_id: str, message: Message, seq: int) -> None:
    """Store a message in a conversation's context, directly before the message numbered `seq`."""
    link = conversation_messages.c
    own = link.conversation_id == conversation_id
    place = select(link.position).where(own, link.message_seq == seq).scalar_subquery()
    before = conn.execute(select(func.max(link.position)).where(own, link.position < place)).scalar_one()
    added = insert_row(conn, tenant, message)
    _LINK.rows(conn, conversation_id=conversation_id, position=before + 1, message_seq=added, in_context=True)


def count_outside_context(conn: Connection, conversation_id: str, most: int) -> int:
    """How many messages of a conversation's history the model no longer sees, counted up to `most`."""
    row = _COUNT_OUTSIDE.row(conn, conversation=conversation_id, most=most)
    return 0 if row is None else row[0]


def count(conn: Connection, conversation_id: str) -> int:
    """How many messages a conversation's history holds."""
    counted = select(func.count()).where(conversation_messages.c.conversation_id == conversation_id)
    return conn.execute(counted).scalar_one()


def get(conn: Connection, tenant: str, message_id: str) -> Message:
    """One message. Raises NotFound."""
    row = conn.execute(
        select(*COLUMNS).where(messages.c.id == message_id, messages.c.tenant_id == tenant)
    ).one_or_none()
    if row is None:
        raise not_found("Message", message_id)
    return from_row(row)


def by_seqs(conn: Connection, seqs: Sequence[int]) -> list[Message]:
    """The messages of these seqs, in their order."""
    rows = conn.execute(select(*COLUMNS).where(messages.c.seq.in_(seqs)))
    found = {row.seq: from_row(row) for row in rows}
    return [found[seq] for seq in seqs]


def newest(conn: Connection, wanted: ColumnElement[bool], limit: int) -> list[Message]:
    """The newest of those messages that can be searched, newest first."""
    rows, seq = search.index_rows(conn, message_search.MESSAGES)
    found = select(*COLUMNS).join(rows, seq == messages.c.seq).where(wanted)
    return [from_row(row) for row in conn.execute(found.order_by(messages.c.seq.desc()).limit(limit))]


def rewrite(conn: Connection, tenant: str, message: Message, parts: tuple[AnyPart, ...]) -> None:
    """Replace the parts of a stored message, where it stands."""
    conn.execute(
        update(messages)
        .where(messages.c.id == message.id, messages.c.tenant_id == tenant)
        .values(parts=PARTS_ENCODER.encode(parts).decode())
    )
    message_search.reindex(conn, msgspec.structs.replace(message, parts=parts))


def history(
    conn: Connection,
    tenant: str,
    *,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    run_ids: Collection[str] | None = None,
    step_id: str | None = None,
    group_id: str | None = None,
    roles: Sequence[Role] | None = None,
    before: str | None = None,
    after: str | None = None,
    newest_first: bool = True,
    limit: int = 100,
    keep: Callable[[Message], bool] | None = None,
) -> list[Message]:
    """A page of stored messages, those of one conversation by their place in it, others by when they were stored.

    With `default` for a `conversation_id` those of all default conversations are meant.

    `before` and `after` are message ids and always mean older and newer (decision 13 of the contract); with `after`
    alone the page is the one nearest that cursor. `limit` counts messages that `keep` keeps. Raises NotFound for a
    cursor that does not exist, or is not in the conversation.
    """
    where = [messages.c.tenant_id == tenant]
    if conversation_id == DEFAULT_CONVERSATION:
        conversation_id = None
        where.append(message_search.in_default_conversation())
    place, found = _history(agent_id, conversation_id)
    found = found.where(*where)
    own = messages.alias()
    for column, values in ((own.c.run_id, run_ids), (own.c.step_id, step_id and (step_id,))):
        if values is not None:
            # By way of its own index: one that has the order would be read from end to end, with all else in it.
            found = found.where(messages.c.seq.in_(select(own.c.seq).where(column.in_(list(values)))))
    if group_id is not None:
        found = found.where(messages.c.group_id == group_id)
    if roles is not None:
        found = found.where(messages.c.role.in_(list(roles)))
    if before is not None:
        found = found.where(place < _place(conn, tenant, conversation_id, before))
    if after is not None:
        found = found.where(place > _place(conn, tenant, conversation_id, after))
    oldest_first = before is None and (after is not None or not newest_first)
    page = _sifted(conn, found, place, oldest_first, limit, keep)
    return page if oldest_first != newest_first else page[::-1]


def insert_row(conn: Connection, tenant: str, message: Message) -> int:
    """Store a message in no conversation yet, and not searchable; returns its seq."""
    return _INSERT.rows(
        conn, tenant_id=tenant, id=message.id, agent_id=message.agent_id, role=message.role,
        parts=PARTS_ENCODER.encode(message.parts).decode(), otid=message.otid, name=message.name,
        sender_id=message.sender_id, group_id=message.group_id, batch_item_id=message.batch_item_id,
        step_id=message.step_id, run_id=message.run_id, is_err=message.is_err, created_at=message.created_at,
    )[0][0]  # fmt: skip


def _beginning(conn: Connection, conversation_id: str) -> tuple[int, Message]:
    """The first message in a conversation's context, with its position."""
    link = conversation_messages.c
    first = (
        select(*COLUMNS, link.position)
        .join(conversation_messages, link.message_seq == messages.c.seq)
        .where(link.conversation_id == conversation_id, IN_CONTEXT)
        .order_by(link.position)
        .limit(1)
    )
    row = conn.execute(first).one()
    return row.position, from_row(row)


def _conversations_of(agent_id: str) -> Select[Any]:
    return select(conversations.c.id).where(conversations.c.agent_id == agent_id)


def _history(agent_id: str | None, conversation_id: str | None) -> tuple[ColumnElement[int], Select[Any]]:
    """What orders a history, and its rows, each with its place at the end."""
    link = conversation_messages
    place = messages.c.seq if conversation_id is None else link.c.position
    found = select(*COLUMNS, place.label("place"))
    if conversation_id is not None:
        found = found.join(link, link.c.message_seq == messages.c.seq).where(link.c.conversation_id == conversation_id)
    if agent_id is not None:
        found = found.where(messages.c.agent_id == agent_id)
    return place, found


def _sifted(
    conn: Connection,
    found: Select[Any],
    place: ColumnElement[int],
    ascending: bool,
    limit: int,
    keep: Callable[[Message], bool] | None,
) -> list[Message]:
    """The first `limit` of these messages that are to be kept, in the order of their places."""
    batch = limit if keep is None else max(limit, SIFTED_ROWS)
    page: list[Message] = []
    rest = found
    while True:
        rows = conn.execute(rest.order_by(place if ascending else place.desc()).limit(batch)).all()
        read = [from_row(row) for row in rows]
        page += read if keep is None else [message for message in read if keep(message)]
        if len(rows) < batch or len(page) >= limit:
            return page[:limit]
        last = rows[-1].place
        rest = found.where(place > last if ascending else place < last)


def _place(conn: Connection, tenant: str, conversation_id: str | None, message_id: str) -> int:
    """Where a cursor stands. Raises NotFound."""
    if conversation_id is not None:
        return _position(conn, tenant, conversation_id, message_id)
    found = select(messages.c.seq).where(messages.c.id == message_id, messages.c.tenant_id == tenant)
    return _known(conn.execute(found).scalar_one_or_none(), message_id)


def _position(conn: Connection, tenant: str, conversation_id: str, message_id: str, *, in_context: bool = False) -> int:
    """Where a message stands in a conversation. Raises NotFound where it does not."""
    link = conversation_messages.c
    found = (
        select(link.position)
        .join(messages, messages.c.seq == link.message_seq)
        .where(messages.c.id == message_id, messages.c.tenant_id == tenant, link.conversation_id == conversation_id)
    )
    if in_context:
        found = found.where(IN_CONTEXT)
    return _known(conn.execute(found).scalar_one_or_none(), message_id)


def _known(place: int | None, message_id: str) -> int:
    if place is None:
        raise not_found("Message", message_id)
    return place
