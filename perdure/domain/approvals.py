"""Calls that wait for somebody outside: a person's yes or no, or a tool that the caller runs itself."""

import msgspec

from perdure.domain.messages import Message, ToolCallPart, ToolReturnPart


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to a pending call.

    `target` names the call by its id; an older caller may name the whole request by its message id instead. It is
    either a yes or no with a reason, or what the caller's own tool returned.
    """

    target: str
    approve: bool = True
    reason: str | None = None
    returned: ToolReturnPart | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A request that nobody has answered, and the conversation that waits for it."""

    tenant: str
    conversation_id: str
    is_default: bool
    request: Message


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversation waits for.

    `request` holds the calls to be decided; `allowed` are calls of the same answer that need no decision and run with
    those that are approved.
    """

    request: Message
    allowed: tuple[ToolCallPart, ...] = ()

    @property
    def calls(self) -> tuple[ToolCallPart, ...]:
        return self.request.tool_calls
