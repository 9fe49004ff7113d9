"""The numbered facts of a run, in the order a reader sees them.

An event carries no number of its own: the log gives numbers when it commits. Events are stored as JSON arrays, so a
new field goes at the end and has a default. The tag is the contract's `message_type`, with `.delta` where a fragment
differs in shape from the whole.
"""

from typing import Literal

import msgspec

from perdure.domain.compaction import CompactionStats, Trigger
from perdure.domain.ids import now
from perdure.domain.messages import ToolCallPart, ToolReturnPart
from perdure.domain.runs import Logprobs, RunError, StopReason, Usage


class Event(msgspec.Struct, frozen=True, array_like=True, tag_field="type"):
    """Base of the events. `at` is microseconds UTC."""

    at: int


class Started(Event, frozen=True, array_like=True, tag="ping"):
    """Event 1 of every run; shown as the first ping."""

    ping_id: str


class Piece(Event, frozen=True, array_like=True):
    """Base of what belongs to a message: the id it is stored under, the otid of its part, its step."""

    message_id: str
    otid: str
    step_id: str | None


class AssistantText(Piece, frozen=True, array_like=True, tag="assistant_message"):
    text: str


class Reasoning(Piece, frozen=True, array_like=True, tag="reasoning_message"):
    text: str
    native: bool = True
    signature: str | None = None
    call_id: str | None = None


class HiddenReasoning(Piece, frozen=True, array_like=True, tag="hidden_reasoning_message"):
    state: Literal["redacted", "omitted"]
    data: str | None = None


class ToolCallDelta(Piece, frozen=True, array_like=True, tag="tool_call_message.delta"):
    """A fragment of a call. `name` comes with the first fragment only."""

    call_id: str
    name: str | None
    arguments: str | None


class ToolCalls(Piece, frozen=True, array_like=True, tag="tool_call_message"):
    calls: tuple[ToolCallPart, ...]


class ApprovalDelta(Piece, frozen=True, array_like=True, tag="approval_request_message.delta"):
    call_id: str
    name: str | None
    arguments: str | None


class ApprovalRequest(Piece, frozen=True, array_like=True, tag="approval_request_message"):
    calls: tuple[ToolCallPart, ...]


class ToolReturns(Piece, frozen=True, array_like=True, tag="tool_return_message"):
    returns: tuple[ToolReturnPart, ...]


class CompactionBegan(Event, frozen=True, array_like=True, tag="event_message"):
    """History is about to be shortened; only for callers who asked to be told. Token counts are estimates."""

    event_id: str
    trigger: Trigger
    context_tokens: int
    context_window: int


class Summary(Piece, frozen=True, array_like=True, tag="summary_message"):
    """What now stands for the messages that left the context; only for callers who asked."""

    text: str
    stats: CompactionStats | None = None


class ByMember(Event, frozen=True, array_like=True, tag="by_member"):
    """What a member of a group said, in the log of the run in which the members take turns."""

    event: "Said"
    agent_id: str
    name: str


class Stopped(Event, frozen=True, array_like=True, tag="stop_reason"):
    """Why the run ended. `error` is repeated here for callers that cannot read an error frame."""

    stop_reason: StopReason
    error: RunError | None = None


class UsageReported(Event, frozen=True, array_like=True, tag="usage_statistics"):
    """What the run cost and, where they were asked for, the log probabilities of its last answer."""

    usage: Usage
    logprobs: Logprobs | None = None


class Failed(Event, frozen=True, array_like=True, tag="error_message"):
    error: RunError


Said = (
    AssistantText
    | Reasoning
    | HiddenReasoning
    | ToolCallDelta
    | ToolCalls
    | ApprovalDelta
    | ApprovalRequest
    | ToolReturns
    | CompactionBegan
    | Summary
)
"""What stands between a run's beginning and its end."""

AnyEvent = Started | Said | ByMember | Stopped | UsageReported | Failed


def message_type(event: AnyEvent) -> str:
    """The contract's name for the frame this event becomes, e.g. `tool_call_message`."""
    return _NAMES[type(event.event if isinstance(event, ByMember) else event)]


def last_events(
    stop_reason: StopReason, usage: Usage, error: RunError | None, logprobs: Logprobs | None = None
) -> list[AnyEvent]:
    """How every run ends: why it stopped, what it cost, and the error where there was one."""
    at = now()
    events: list[AnyEvent] = [Stopped(at, stop_reason, error), UsageReported(at, usage, logprobs)]
    if error is not None:
        events.append(Failed(at, error))
    return events


_NAMES: dict[type, str] = {cls: str(cls.__struct_config__.tag).removesuffix(".delta") for cls in AnyEvent.__args__}

EVENTS_ENCODER = msgspec.json.Encoder()
EVENTS_DECODER = msgspec.json.Decoder(list[AnyEvent])
