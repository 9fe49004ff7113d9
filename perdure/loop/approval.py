"""Calls that wait for somebody outside: found in history, matched with the answers that came for them."""

from collections.abc import Sequence
from typing import Final

import msgspec

from perdure.domain.approvals import Decision, Pending
from perdure.domain.errors import Invalid
from perdure.domain.ids import new_id, now
from perdure.domain.messages import ApprovalPart, Message, ToolCallPart, ToolReturnPart
from perdure.domain.requests import TurnRequest
from perdure.domain.tools import Tool

NOTHING_PENDING: Final = (
    "Cannot process approval response: No tool call is currently awaiting approval. "
    "Please send a regular message to interact with the agent."
)
PENDING: Final = (
    "CONFLICT: Cannot send a new message: The agent is waiting for approval on a tool call. "
    "Please approve or deny the pending request before continuing."
)
DENIED: Final = "Error: request to call tool denied. User reason: {reason}"
CANCELLED: Final = "The user cancelled the request, so the tool call was denied."
EXPIRED: Final = "Nobody answered the request for approval in time, so the tool call was denied."
MIN_RETURN_CHARS: Final = 5_000


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Pending calls with their answers: the message that keeps the decisions, what the caller's own tools gave, what
    is told of denied calls, and the calls that may run now."""

    response: Message
    given: tuple[ToolReturnPart, ...]
    denied: tuple[ToolReturnPart, ...]
    approved: tuple[ToolCallPart, ...]


def pending_in(last: Sequence[Message]) -> Pending | None:
    """What a conversation waits for, by the last messages of its context."""
    if not last or last[-1].role != "approval" or not last[-1].tool_calls:
        return None
    request = last[-1]
    before = last[-2] if len(last) > 1 else None
    together = before is not None and before.role == "assistant" and before.step_id == request.step_id
    return Pending(request=request, allowed=before.tool_calls if before is not None and together else ())


def settle(pending: Pending, decisions: Sequence[Decision], *, run_id: str, return_chars: int) -> Settled:
    """Match answers with what is pending. Raises Invalid unless every pending call is answered exactly once."""
    calls = {call.call_id: call for call in pending.calls}
    answers: dict[str, Decision] = {}
    for decision in decisions:
        whole_request = decision.target in (pending.request.id, pending.request.step_id)
        for call_id in calls if whole_request else (decision.target,):
            answers[call_id] = decision
    if answers.keys() != calls.keys() or len(decisions) > len(calls):
        received = [decision.target for decision in decisions]
        raise Invalid(f"Invalid tool call IDs. Expected '{list(calls)}', but received '{received}'.")
    given: list[ToolReturnPart] = []
    denied: list[ToolReturnPart] = []
    approved: list[ToolCallPart] = []
    kept: list[ApprovalPart | ToolReturnPart] = []
    for call_id, call in calls.items():
        decision = answers[call_id]
        if decision.returned is not None:
            returned = msgspec.structs.replace(
                decision.returned, name=call.name, text=clipped(decision.returned.text, return_chars)
            )
            given.append(returned)
            kept.append(returned)
            continue
        kept.append(ApprovalPart(call_id=call_id, approve=decision.approve, reason=decision.reason))
        if decision.approve:
            approved.append(call)
        else:
            denied.append(denial(call, DENIED.format(reason=decision.reason)))
    response = Message(
        id=new_id("message"), agent_id=pending.request.agent_id, role="approval", parts=tuple(kept), created_at=now(),
        run_id=run_id, step_id=pending.request.step_id,
    )  # fmt: skip
    return Settled(response=response, given=tuple(given), denied=tuple(denied), approved=(*pending.allowed, *approved))


def client_tools(request: TurnRequest) -> tuple[Tool, ...]:
    """The tools that the caller runs itself, as the model is shown them."""
    return tuple(
        Tool(
            id="", name=tool["name"], tool_type="custom", description=tool.get("description") or "",
            json_schema={
                "name": tool["name"], "description": tool.get("description") or "",
                "parameters": tool.get("parameters") or {"type": "object", "properties": {}},
            },
        )
        for tool in request.client_tools
    )  # fmt: skip


def refuse_all(pending: Pending, why: str, *, run_id: str | None) -> tuple[Message, Message]:
    """The messages that answer everything pending with no: the decisions, and the returns."""
    calls = (*pending.allowed, *pending.calls)
    response = Message(
        id=new_id("message"), agent_id=pending.request.agent_id, role="approval", created_at=now(), run_id=run_id,
        parts=tuple(ApprovalPart(call_id=call.call_id, approve=False, reason=why) for call in pending.calls),
        step_id=pending.request.step_id,
    )  # fmt: skip
    returns = Message(
        id=new_id("message"), agent_id=pending.request.agent_id, role="tool", created_at=now(), run_id=run_id,
        parts=tuple(denial(call, DENIED.format(reason=why)) for call in calls), name=calls[0].name,
        step_id=pending.request.step_id,
    )  # fmt: skip
    return response, returns


def denial(call: ToolCallPart, text: str) -> ToolReturnPart:
    """What the model is told of a call that was not allowed."""
    return ToolReturnPart(call_id=call.call_id, name=call.name, status="error", text=text)


def return_chars(context_window: int) -> int:
    """Characters kept of what a caller's own tool returned: a fifth of the window, at four characters a token."""
    return max(MIN_RETURN_CHARS, context_window * 4 // 5)


def clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... [truncated {len(text) - limit} chars]"
