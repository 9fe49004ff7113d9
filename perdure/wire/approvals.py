"""Requests for approval as callers see them, and their answers as callers of both generations send them."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from perdure.domain.approvals import Decision, Waiting
from perdure.domain.errors import Unprocessable
from perdure.domain.messages import ImagePart, TextPart, ToolReturnPart
from perdure.wire.contents import Content, SentContent, part_of
from perdure.wire.messages import tool_call
from perdure.wire.text import Body, Text
from perdure.wire.times import precise


class ApprovalReturn(Body):
    """A yes or no to one call."""

    type: Literal["approval"] = "approval"
    tool_call_id: Text
    approve: bool
    reason: Text | None = None


class ToolReturn(Body):
    """What a tool that the caller runs itself gave."""

    type: Literal["tool"] = "tool"
    tool_call_id: Text
    tool_return: Text | list[Content]
    status: Literal["success", "error"]
    stdout: list[Text] | None = None
    stderr: list[Text] | None = None


def _answer_kind(value: Any) -> str:
    if isinstance(value, dict):
        return "tool" if "tool_return" in value else "approval"
    return "tool" if isinstance(value, ToolReturn) else "approval"


Answer = Annotated[
    Annotated[ApprovalReturn, Tag("approval")] | Annotated[ToolReturn, Tag("tool")], Discriminator(_answer_kind)
]


class ApprovalBody(Body):
    """1.x sends `approvals`, or `tool_returns`; 0.1.x one `approve` with the id of the request."""

    type: Literal["approval", "tool_return"] | None = None
    approvals: list[Answer] | None = None
    tool_returns: list[ToolReturn] | None = Field(default=None, max_length=1000)
    approve: bool | None = None
    approval_request_id: Text | None = None
    reason: Text | None = None
    otid: Text | None = None

    def contents(self) -> list[SentContent]:
        """All that tools are said to have returned."""
        answers = (*(self.approvals or ()), *(self.tool_returns or ()))
        return [answer.tool_return for answer in answers if isinstance(answer, ToolReturn)]


def is_approval(value: Any) -> bool:
    """Whether a message of a request is an answer to pending calls: 0.1.x callers leave `type` out."""
    if not isinstance(value, dict):
        return isinstance(value, ApprovalBody)
    if value.get("type") is None:
        return "approve" in value or "approval_request_id" in value or "approvals" in value
    return value["type"] in ("approval", "tool_return")


def decisions(body: ApprovalBody) -> tuple[Decision, ...]:
    """The decisions in one message. Raises Unprocessable where there are none."""
    answers = [*(body.approvals or ()), *(body.tool_returns or ())]
    if answers:
        return tuple(_decision(answer) for answer in answers)
    if body.approve is None or body.approval_request_id is None:
        raise Unprocessable(
            "Give `approvals` (or `tool_returns`), or `approve` with the `approval_request_id` it answers.",
            ("body", "messages"),
        )
    return (Decision(target=body.approval_request_id, approve=body.approve, reason=body.reason),)


def waiting(shown: Waiting, *, time_limit: float | None) -> dict[str, Any]:
    """A request that nobody has answered. `time_limit` is how many seconds there are for that, None for ever."""
    request, calls = shown.request, [tool_call(call) for call in shown.request.tool_calls]
    expires_at = None if time_limit is None else request.created_at + int(time_limit * 1_000_000)
    return {
        "id": request.id,
        "agent_id": request.agent_id,
        "conversation_id": None if shown.is_default else shown.conversation_id,
        "run_id": request.run_id,
        "step_id": request.step_id,
        "tool_call": calls[0],
        "tool_calls": calls,
        "created_at": precise(request.created_at),
        "expires_at": precise(expires_at),
    }


def _decision(answer: ApprovalReturn | ToolReturn) -> Decision:
    if isinstance(answer, ApprovalReturn):
        return Decision(target=answer.tool_call_id, approve=answer.approve, reason=answer.reason)
    given = answer.tool_return
    parts = [TextPart(text=given)] if isinstance(given, str) else [part_of(part) for part in given]
    returned = ToolReturnPart(
        call_id=answer.tool_call_id,
        name="",
        status=answer.status,
        text="".join(part.text for part in parts if isinstance(part, TextPart)),
        images=tuple(part for part in parts if isinstance(part, ImagePart)),
        stdout=None if answer.stdout is None else tuple(answer.stdout),
        stderr=None if answer.stderr is None else tuple(answer.stderr),
    )
    return Decision(target=answer.tool_call_id, returned=returned)
