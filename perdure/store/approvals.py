"""Requests for approval that nobody has answered yet: the last message of their conversation's context."""

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, exists, select

from perdure.domain.approvals import Waiting
from perdure.domain.conversations import DEFAULT_CONVERSATION
from perdure.domain.messages import Message
from perdure.store.messages import COLUMNS, from_row
from perdure.store.pages import Page, select_page
from perdure.store.tables import conversation_messages, conversations, messages

_CALL: Final = '"type":"tool_call"'
"""How a call stands in stored parts: an answer to a request has none, and waits for nobody."""


class ApprovalFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant; None means any. `conversation_id` may be `DEFAULT_CONVERSATION`, which is any default
    one. `before` is microseconds UTC.
    """

    tenant: str | None = None
    agent_id: str | None = None
    conversation_id: str | None = None
    run_ids: Collection[str] | None = None
    before: int | None = None


def of_conversations(conn: Connection, conversation_ids: Iterable[str]) -> dict[str, Message]:
    """What each of these conversations waits for, where it does."""
    wanted = list(conversation_ids)
    found = _pending(ApprovalFilter()).where(conversation_messages.c.conversation_id.in_(wanted))
    return {waiting.conversation_id: waiting.request for waiting in _rows(conn, found)}


def list_all(conn: Connection, wanted: ApprovalFilter, *, limit: int = 1000) -> list[Waiting]:
    """What waits for an answer, oldest first."""
    return _rows(conn, _pending(wanted).order_by(messages.c.seq).limit(limit))


def list_page(conn: Connection, tenant: str, wanted: ApprovalFilter, page: Page) -> list[Waiting]:
    """A page of what waits for an answer, by when it was asked for; the cursors are ids of the messages that ask.

    A fork waits for the same message as what it was forked from: a page holds both or none. Raises NotFound for an
    unknown cursor.
    """
    pending = _pending(msgspec.structs.replace(wanted, tenant=tenant))
    asking = select(messages.c.seq).where(messages.c.seq.in_(pending.with_only_columns(messages.c.seq)))
    rows = select_page(
        conn, asking, page,
        noun="Approval", sort=messages.c.seq, key=messages.c.id, known=messages.c.tenant_id == tenant,
    )  # fmt: skip
    order = {row.seq: place for place, row in enumerate(rows)}
    found = _rows(conn, pending.where(messages.c.seq.in_(order)))
    return sorted(found, key=lambda waiting: order[waiting.request.seq])


def _pending(wanted: ApprovalFilter) -> Select[Any]:
    link = conversation_messages
    later = link.alias("later")
    follows = exists().where(
        later.c.conversation_id == link.c.conversation_id,
        later.c.position > link.c.position,
        later.c.in_context.is_(True),
    )
    found = (
        select(messages.c.tenant_id, link.c.conversation_id, conversations.c.is_default, *COLUMNS)
        .join(link, link.c.message_seq == messages.c.seq)
        .join(conversations, conversations.c.id == link.c.conversation_id)
        .where(messages.c.role == "approval", messages.c.parts.contains(_CALL), link.c.in_context.is_(True), ~follows)
    )
    for column, value in (
        (messages.c.tenant_id, wanted.tenant),
        (messages.c.agent_id, wanted.agent_id),
        (conversations.c.is_default, True if wanted.conversation_id == DEFAULT_CONVERSATION else None),
        (conversations.c.id, None if wanted.conversation_id == DEFAULT_CONVERSATION else wanted.conversation_id),
    ):
        if value is not None:
            found = found.where(column == value)
    if wanted.run_ids is not None:
        found = found.where(messages.c.run_id.in_(wanted.run_ids))
    return found if wanted.before is None else found.where(messages.c.created_at < wanted.before)


def _rows(conn: Connection, found: Select[Any]) -> list[Waiting]:
    return [
        Waiting(
            tenant=row.tenant_id,
            conversation_id=row.conversation_id,
            is_default=row.is_default,
            request=from_row(row[3:]),
        )
        for row in conn.execute(found)
    ]
