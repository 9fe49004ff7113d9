"""What holds of every conversation in a database: a model could be asked now. Checked, and mended."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message, TextPart
from perdure.loop.approval import pending_in
from perdure.loop.context import compiled, mended
from perdure.store import agents as agent_store
from perdure.store import messages as message_store
from perdure.store import places
from perdure.store.findings import Finding, finding
from perdure.store.tables import conversations, runs

BATCH: Final = 200
"""Conversations looked up together."""


def contexts(conn: Connection, repair: bool) -> Iterator[Finding]:
    """A context begins with the system message, and each call in it is answered exactly once, right after it.

    Calls may be open at its end, where they wait for somebody or are being worked on.
    """
    working = set(conn.execute(select(runs.c.conversation_id).where(runs.c.status == "running")).scalars())
    for row in _all(conn):
        try:
            context = message_store.context(conn, row.id)
        except msgspec.MsgspecError:
            continue  # Found by its messages.
        if not context or context[0].role != "system":
            done = _begin(conn, row) if repair else None
            yield finding("context", "a conversation that does not begin with its system message", (row.id,), done)
        may_wait = row.id in working or pending_in(context[-2:]) is not None
        yield from _calls(conn, row, context, may_wait, repair)


def _begin(conn: Connection, row: Any) -> str:
    agent = agent_store.get(conn, row.tenant_id, row.agent_id)
    system = Message(
        id=new_id("message"), agent_id=agent.id, role="system", created_at=now(),
        parts=(TextPart(text=compiled(conn, agent, row.id)),),
    )  # fmt: skip
    places.insert_first(conn, row.tenant_id, row.id, system)
    return "compiled it anew"


def _calls(conn: Connection, row: Any, context: Sequence[Message], may_wait: bool, repair: bool) -> Iterator[Finding]:
    """Calls without a return, and returns without a call, by what `mended` makes of the context."""
    stored = {message.id: message for message in context}
    valid = mended(context)
    ids = {message.id for message in valid}
    for at, message in enumerate(valid):
        known = stored.get(message.id)
        if known is None and not (may_wait and at == len(valid) - 1):
            calls = [part.call_id for part in message.tool_returns]
            if repair:
                places.insert_after(conn, row.tenant_id, row.id, _before(valid, at, stored).seq, message)
            done = "answered them with an outcome that is unknown" if repair else None
            yield finding("context", "tool calls that nothing answers", (row.id, *calls), done)
        elif known is not None and len(known.parts) != len(message.parts):
            if repair:
                message_store.rewrite(conn, row.tenant_id, known, message.parts)
            yield finding("context", "returns of no call", (row.id, message.id), "left them out" if repair else None)
    for message in context:
        if message.id not in ids:
            if repair:
                places.take_out(conn, row.id, message.seq)
            done = "took it out of the context; it stays in history" if repair else None
            yield finding("context", "a message of returns that answer no call", (row.id, message.id), done)


def _before(valid: Sequence[Message], at: int, stored: dict[str, Message]) -> Message:
    """The stored message that stands before place `at`."""
    return next(stored[message.id] for message in valid[at - 1 :: -1] if message.id in stored)


def _all(conn: Connection) -> Iterator[Any]:
    """Every conversation, some at a time, in order of their ids."""
    after = ""
    while True:
        found = select(conversations.c.id, conversations.c.tenant_id, conversations.c.agent_id)
        rows = conn.execute(found.where(conversations.c.id > after).order_by(conversations.c.id).limit(BATCH)).all()
        if not rows:
            return
        yield from rows
        after = rows[-1].id
