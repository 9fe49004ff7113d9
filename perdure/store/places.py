"""Messages put elsewhere than at the end of a conversation, or taken out of what the model sees."""

from sqlalchemy import Connection, func, insert, select, update

from perdure.domain.messages import Message
from perdure.store import message_search
from perdure.store.messages import POSITION_GAP, insert_row
from perdure.store.tables import conversation_messages

_link = conversation_messages.c


def insert_first(conn: Connection, tenant: str, conversation_id: str, message: Message) -> None:
    """Store a message before all others of a conversation's context."""
    first = select(func.min(_link.position)).where(_link.conversation_id == conversation_id, _link.in_context.is_(True))
    position = conn.execute(first).scalar()
    seq = insert_row(conn, tenant, message)
    _put(conn, conversation_id, seq, seq * POSITION_GAP if position is None else position - 1)


def insert_after(conn: Connection, tenant: str, conversation_id: str, seq: int, message: Message) -> None:
    """Store a message right after the one of this seq in a conversation's context."""
    place = select(_link.position).where(
        _link.conversation_id == conversation_id, _link.message_seq == seq, _link.in_context.is_(True)
    )
    position = conn.execute(place.order_by(_link.position.desc()).limit(1)).scalar_one()
    added = insert_row(conn, tenant, message)
    _put(conn, conversation_id, added, position + 1)
    message_search.index(conn, [(added, message)])


def take_out(conn: Connection, conversation_id: str, seq: int) -> None:
    """Take a message out of what the model sees of a conversation; it stays in its history."""
    same = (_link.conversation_id == conversation_id) & (_link.message_seq == seq)
    conn.execute(update(conversation_messages).where(same).values(in_context=False))


def _put(conn: Connection, conversation_id: str, seq: int, position: int) -> None:
    row = {"conversation_id": conversation_id, "position": position, "message_seq": seq, "in_context": True}
    conn.execute(insert(conversation_messages).values(**row))
