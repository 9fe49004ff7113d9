"""Conversations: threads of an agent's messages."""

import msgspec
from sqlalchemy import Connection, insert, select

from perdure.domain.conversations import Conversation
from perdure.domain.errors import not_found
from perdure.store.tables import conversations

_COLUMNS = tuple(conversations.c[name] for name in Conversation.__struct_fields__)


def create(conn: Connection, tenant: str, conversation: Conversation) -> None:
    """Store a new conversation."""
    conn.execute(insert(conversations).values(tenant_id=tenant, **msgspec.structs.asdict(conversation)))


def get(conn: Connection, tenant: str, conversation_id: str) -> Conversation:
    """One conversation. Raises NotFound."""
    found = select(*_COLUMNS).where(conversations.c.id == conversation_id, conversations.c.tenant_id == tenant)
    row = conn.execute(found).one_or_none()
    if row is None:
        raise not_found("Conversation", conversation_id)
    return msgspec.convert(row, Conversation, from_attributes=True)
