"""A message is one entry of history: a role and an ordered tuple of parts.

Parts are kept exactly as they were streamed, in order; the otid of a part follows from the message's id and the part's
index, so history read back later shows the ids the stream showed. What a vendor wants replayed word for word
(signatures, encrypted reasoning) rides in `extra` and means nothing to anyone else.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from perdure.domain.ids import otid

Role = Literal["system", "user", "assistant", "tool", "approval", "summary"]
ReturnStatus = Literal["success", "error"]


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of the parts."""


class TextPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    text: str
    extra: dict[str, Any] = {}


class ReasoningPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    """Reasoning shown to the user. `native` is false where it was prompted for rather than produced by the model."""

    text: str
    native: bool = True
    signature: str | None = None
    extra: dict[str, Any] = {}


class HiddenReasoningPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="hidden_reasoning"):
    """Reasoning the provider keeps to itself: `redacted` (with its blob in `data`) or `omitted`."""

    state: Literal["redacted", "omitted"]
    data: str | None = None
    extra: dict[str, Any] = {}


class ToolCallPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="tool_call"):
    """A call as the model asked for it. `arguments` is the text it streamed, which need not be valid JSON."""

    call_id: str
    name: str
    arguments: str
    extra: dict[str, Any] = {}


class ToolReturnPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="tool_return"):
    """What answered a call. `text` is shown to the model; `stdout` and `stderr` are lines a sandbox collected."""

    call_id: str
    name: str
    status: ReturnStatus
    text: str
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None


class ImagePart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """An image, inlined as base64 when it came in, so that history never depends on someone else's server."""

    media_type: str
    data: str
    detail: str | None = None


class ApprovalPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="approval"):
    """A person's decision on one call."""

    call_id: str
    approve: bool
    reason: str | None = None


AnyPart = TextPart | ReasoningPart | HiddenReasoningPart | ToolCallPart | ToolReturnPart | ImagePart | ApprovalPart


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of history. Times are microseconds UTC; `seq` orders all messages of a store and is 0 until stored."""

    id: str
    agent_id: str
    role: Role
    parts: tuple[AnyPart, ...]
    created_at: int
    seq: int = 0
    otid: str | None = None
    name: str | None = None
    sender_id: str | None = None
    group_id: str | None = None
    batch_item_id: str | None = None
    step_id: str | None = None
    run_id: str | None = None
    is_err: bool = False

    @property
    def text(self) -> str:
        """The text parts joined; empty for messages that hold none."""
        return "".join([part.text for part in self.parts if isinstance(part, TextPart)])

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        return tuple([part for part in self.parts if isinstance(part, ToolCallPart)])

    @property
    def tool_returns(self) -> tuple[ToolReturnPart, ...]:
        return tuple([part for part in self.parts if isinstance(part, ToolReturnPart)])


def groups(message: Message, *, single_calls: bool = False) -> Iterator[tuple[str, Sequence[AnyPart]]]:
    """The logical parts a client sees, as (otid, parts): neighbours of one kind share one otid.

    With `single_calls` every call and every return stands alone, for callers that read only the singular fields.
    """
    start, index = 0, 0
    parts = message.parts
    for end in range(1, len(parts) + 1):
        if end < len(parts) and not parted(parts[start], type(parts[end]), single_calls):
            continue
        yield otid(message.id, index), parts[start:end]
        start, index = end, index + 1


def parted(last: AnyPart, following: type[AnyPart], single_calls: bool) -> bool:
    """Whether a part of kind `following` begins a new logical part after `last`."""
    return type(last) is not following or (single_calls and following in (ToolCallPart, ToolReturnPart))


PARTS_DECODER = msgspec.json.Decoder(tuple[AnyPart, ...])
PARTS_ENCODER = msgspec.json.Encoder()
