"""Requests for approval and what may happen to a conversation while one is pending: an answer, or a refusal of it."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection

from perdure.domain.approvals import Decision, Pending
from perdure.domain.errors import Conflict, Invalid, NotFound
from perdure.domain.requests import TurnRequest
from perdure.loop.approval import NOTHING_PENDING, PENDING, pending_in, refuse_all, return_chars, settle
from perdure.store import agents as agent_store
from perdure.store import approvals as approval_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store import tools as tool_store
from perdure.store.approvals import ApprovalFilter

ABANDONED: Final = "The caller went on without carrying out this call."
RECENT: Final = 20
"""Messages of a context among which an answer that came before is looked for."""


def pending_of(conn: Connection, conversation_id: str) -> Pending | None:
    """What a conversation waits for, or None."""
    if message_store.last_role(conn, conversation_id) != "approval":
        return None
    return pending_in(message_store.tail(conn, conversation_id, 2))


def abandoned(conn: Connection, pending: Pending) -> Decision | None:
    """What answers pending calls for a caller that goes on without them; None where a person was asked.

    A tool that the agent does not have is the caller's own, to be carried out or not as it likes.
    """
    own = {tool.name for tool in tool_store.of_agent(conn, pending.request.agent_id)}
    if any(call.name in own for call in pending.calls):
        return None
    return Decision(target=pending.request.id, approve=False, reason=ABANDONED)


def check_turn(conn: Connection, conversation_id: str, request: TurnRequest, context_window: int) -> Pending | None:
    """What a conversation waits for.

    Raises Invalid for decisions that fit nothing pending, Conflict for a message while something is. A compaction
    leaves alone what is pending.
    """
    pending = pending_of(conn, conversation_id)
    if request.decisions:
        if pending is None:
            raise Invalid(NOTHING_PENDING)
        settle(pending, request.decisions, run_id="", return_chars=return_chars(context_window))
    elif pending is not None and request.compaction is None:
        raise Conflict(PENDING, pending_request_id=pending.request.id)
    return pending


def decided_by(conn: Connection, conversation_id: str, decisions: Sequence[Decision]) -> str | None:
    """The run that handled these decisions when they came before; None where they are new."""
    targets = {decision.target for decision in decisions}
    asked = False
    for message in message_store.tail(conn, conversation_id, RECENT):
        asked = asked or message.id in targets
        answered = {part.call_id for part in message.tool_returns}
        if answered and (asked or targets <= answered):
            return message.run_id
    return None


def refuse_pending(
    conn: Connection,
    why: str,
    *,
    tenant: str | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    run_ids: Collection[str] | None = None,
    before: int | None = None,
) -> list[str]:
    """Answer what is pending with no, without asking a model; returns the runs that had asked.

    Of one tenant, agent or conversation, or of these runs, where that is given, and asked for `before` a time. A
    conversation that is being worked on is left alone.
    """
    refused: list[str] = []
    wanted = ApprovalFilter(
        tenant=tenant, agent_id=agent_id, conversation_id=conversation_id, run_ids=run_ids, before=before
    )
    for waiting in approval_store.list_all(conn, wanted):
        thread, run_id = waiting.conversation_id, waiting.request.run_id or ""
        try:
            agent_store.hold(conn, waiting.tenant, waiting.request.agent_id, alone=True)
        except NotFound:
            continue
        # Looked at again: until the agent was held, an answer may have come.
        pending = pending_of(conn, thread)
        if pending is None or run_store.active(conn, thread):
            continue
        message_store.append(conn, waiting.tenant, thread, refuse_all(pending, why, run_id=run_id))
        refused.append(run_id)
    return refused
