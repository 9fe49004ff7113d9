"""Conversations: threads of an agent's messages."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, bindparam, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows

from perdure.domain.conversations import DEFAULT_CONVERSATION, Conversation, ConversationDetails
from perdure.domain.errors import Unprocessable, not_found
from perdure.domain.ids import is_id, now
from perdure.store import conversation_blocks
from perdure.store import messages as message_store
from perdure.store.hot import Hot
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import conversation_messages, conversations, runs

OrderBy = Literal["created_at", "last_message_at", "last_run_completion"]

_FIELDS: Final = Conversation.__struct_fields__
_COLUMNS: Final = tuple(conversations.c[name] for name in _FIELDS)
_LAST_RUN: Final = (
    select(func.max(runs.c.completed_at))
    .where(runs.c.conversation_id == conversations.c.id)
    .correlate(conversations)
    .scalar_subquery()
)
_SORTS: Final[Mapping[OrderBy, ColumnElement[Any]]] = {
    "created_at": conversations.c.created_at,
    "last_message_at": func.coalesce(conversations.c.last_message_at, 0),
    "last_run_completion": func.coalesce(_LAST_RUN, 0),
}
_SPOKEN_TO: Final = Hot(
    update_rows(conversations)
    .where(conversations.c.id == bindparam("conversation"))
    .values(last_message_at=bindparam("at"))
)


class ConversationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which conversations of a tenant are meant; None means any. Default and hidden ones never are.

    `summary_search` is part of a summary, in any case.
    """

    agent_id: str | None = None
    archived: bool | None = None
    summary_search: str | None = None


def create(conn: Connection, tenant: str, conversation: Conversation) -> None:
    """Store a new conversation."""
    conn.execute(insert(conversations).values(tenant_id=tenant, **_values(conversation)))


def get(conn: Connection, tenant: str, conversation_id: str) -> Conversation:
    """One conversation. Raises NotFound."""
    found = select(*_COLUMNS).where(conversations.c.id == conversation_id, conversations.c.tenant_id == tenant)
    row = conn.execute(found).mappings().one_or_none()
    if row is None:
        raise not_found("Conversation", conversation_id)
    return _conversation(row)


def addressed(conn: Connection, tenant: str, address: str, agent_id: str | None) -> Conversation:
    """The conversation a caller means: by its id, or as the default one of an agent.

    `address` is a conversation's id, an agent's id, or `default`, which needs the `agent_id`. Raises NotFound, also
    for a conversation that is not this agent's, and Unprocessable where it is not said whose default one is meant.
    """
    if is_id("conv", address):
        conversation = get(conn, tenant, address)
        if conversation.is_default or agent_id not in (None, conversation.agent_id):
            raise not_found("Conversation", address)
        return conversation
    owner = agent_id if address == DEFAULT_CONVERSATION else address
    if owner is None:
        raise Unprocessable("Say whose default conversation is meant.", ("agent_id",), "missing")
    found = select(*_COLUMNS).where(
        conversations.c.agent_id == owner, conversations.c.is_default.is_(True), conversations.c.tenant_id == tenant
    )
    row = conn.execute(found).mappings().one_or_none()
    if row is None:
        raise not_found("Agent", owner)
    return _conversation(row)


def of_messages(conn: Connection, seqs: Collection[int]) -> dict[int, str]:
    """The conversation in which each of these messages was said first, by their seqs; those of default ones are out."""
    link = conversation_messages.c
    found = (
        select(link.message_seq, conversations.c.id, conversations.c.is_default)
        .join(conversations, conversations.c.id == link.conversation_id)
        .where(link.message_seq.in_(list(seqs)))
        .order_by(conversations.c.created_at.desc(), conversations.c.id)
    )
    first = {row.message_seq: row for row in conn.execute(found)}
    return {seq: row.id for seq, row in first.items() if not row.is_default}


def list_page(
    conn: Connection, tenant: str, wanted: ConversationFilter, page: Page, order_by: OrderBy = "created_at"
) -> list[Conversation]:
    """A page of the conversations that match. Where nothing was said or run yet, that counts as longest ago.

    Raises NotFound for an unknown cursor.
    """
    rows = select_page(
        conn, _matching(select(*_COLUMNS), tenant, wanted), page,
        noun="Conversation", sort=_SORTS[order_by], key=conversations.c.id, known=conversations.c.tenant_id == tenant,
    )  # fmt: skip
    return [_conversation(row) for row in rows]


def update(conn: Connection, tenant: str, before: Conversation, after: Conversation) -> Conversation:
    """Store the fields in which `after` differs from `before`, and return the conversation as stored."""
    new, old = _values(after), _values(before)
    fields = {name: value for name, value in new.items() if value != old[name]}
    if not fields:
        return before
    at = now()
    same = (conversations.c.id == before.id) & (conversations.c.tenant_id == tenant)
    conn.execute(update_rows(conversations).where(same).values(**fields, updated_at=at))
    return msgspec.structs.replace(after, updated_at=at)


def spoken_to(conn: Connection, conversation_id: str, at: int) -> None:
    """Note when the newest message was sent to a conversation. Not a change of the conversation itself."""
    _SPOKEN_TO.rows(conn, conversation=conversation_id, at=at)


def delete(conn: Connection, tenant: str, conversation: Conversation) -> None:
    """Delete a conversation with its runs, its own blocks, and its messages except those that a fork shares."""
    message_store.delete_unshared(conn, conversation.id)
    conversation_blocks.delete_of_conversation(conn, conversation.id)
    conn.execute(delete_rows(runs).where(runs.c.conversation_id == conversation.id, runs.c.tenant_id == tenant))
    conn.execute(delete_rows(conversations).where(conversations.c.id == conversation.id))


def details(conn: Connection, conversation: Conversation) -> ConversationDetails:
    """One conversation with its relations."""
    return details_of(conn, [conversation])[0]


def details_of(conn: Connection, found: Sequence[Conversation]) -> list[ConversationDetails]:
    """These conversations with their relations, in a fixed number of queries however many they are."""
    ids = [conversation.id for conversation in found]
    spoken = _spoken_to(conn, [conversation.id for conversation in found if conversation.is_default])
    found = [
        msgspec.structs.replace(each, last_message_at=spoken.get(each.id)) if each.is_default else each
        for each in found
    ]
    contexts = message_store.contexts_ids(conn, ids)
    isolated = conversation_blocks.ids_of(conn, ids)
    return [
        ConversationDetails(
            conversation=conversation,
            message_ids=contexts.get(conversation.id, ()),
            isolated_block_ids=tuple(isolated.get(conversation.id, ())),
        )
        for conversation in found
    ]


def _spoken_to(conn: Connection, default_ids: Collection[str]) -> dict[str, int]:
    """When default conversations were last spoken to: their runs know, so that no message has to note it as well."""
    at = (
        select(runs.c.conversation_id, func.max(runs.c.created_at))
        .where(runs.c.conversation_id.in_(default_ids))
        .group_by(runs.c.conversation_id)
    )
    return {row[0]: row[1] for row in conn.execute(at)} if default_ids else {}


def _matching(found: Select[Any], tenant: str, wanted: ConversationFilter) -> Select[Any]:
    table = conversations.c
    found = found.where(table.tenant_id == tenant, table.is_default.is_(False), table.hidden.is_(False))
    if wanted.agent_id is not None:
        found = found.where(table.agent_id == wanted.agent_id)
    if wanted.archived is not None:
        found = found.where(table.archived_at.is_not(None) if wanted.archived else table.archived_at.is_(None))
    if wanted.summary_search is not None:
        found = found.where(table.summary.icontains(wanted.summary_search, autoescape=True))
    return found


def _values(conversation: Conversation) -> dict[str, Any]:
    return {name: getattr(conversation, name) for name in _FIELDS}


def _conversation(row: RowMapping) -> Conversation:
    return to_struct(row, Conversation)
