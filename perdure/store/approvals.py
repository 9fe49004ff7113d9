"""Requests for approval that nobody has answered yet: the last message of their conversation's context."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, exists, select

from perdure.domain.messages import Message
from perdure.store.messages import COLUMNS, from_row
from perdure.store.tables import conversation_messages, messages

Found = tuple[str, str, Message]
"""Tenant, conversation id, and the message that asks."""


def of_conversations(conn: Connection, conversation_ids: Iterable[str]) -> dict[str, Message]:
    """What each of these conversations waits for, where it does."""
    wanted = list(conversation_ids)
    found = _pending().where(conversation_messages.c.conversation_id.in_(wanted))
    return {conversation_id: message for _, conversation_id, message in _rows(conn, found)}


def list_all(
    conn: Connection, tenant: str | None = None, *, before: int | None = None, limit: int = 1000
) -> list[Found]:
    """What waits for an answer, oldest first: of one tenant or of all, asked for `before` a time if given."""
    found = _pending().order_by(messages.c.seq).limit(limit)
    if tenant is not None:
        found = found.where(messages.c.tenant_id == tenant)
    if before is not None:
        found = found.where(messages.c.created_at < before)
    return _rows(conn, found)


def _pending() -> Select[Any]:
    link = conversation_messages
    later = link.alias("later")
    follows = exists().where(
        later.c.conversation_id == link.c.conversation_id,
        later.c.position > link.c.position,
        later.c.in_context.is_(True),
    )
    return (
        select(messages.c.tenant_id, link.c.conversation_id, *COLUMNS)
        .join(link, link.c.message_seq == messages.c.seq)
        .where(messages.c.role == "approval", link.c.in_context.is_(True), ~follows)
    )


def _rows(conn: Connection, found: Select[Any]) -> list[Found]:
    rows = [(row.tenant_id, row.conversation_id, from_row(row[2:])) for row in conn.execute(found)]
    return [(tenant, conversation_id, message) for tenant, conversation_id, message in rows if message.tool_calls]
