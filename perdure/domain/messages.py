"""A message is one entry of history: a role and an ordered tuple of parts.

Parts are kept exactly as they were streamed, in order; the otid of a part follows from the message's id and the part's
index, so history read back later shows the ids the stream showed. What a vendor wants replayed word for word
(signatures, encrypted reasoning) rides in `extra` and means nothing to anyone else.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from perdure.domain.arguments import field_text, with_field, without_field
from perdure.domain.compaction import CompactionStats
from perdure.domain.ids import otid

Role = Literal["system", "user", "assistant", "tool", "approval", "summary"]
ReturnStatus = Literal["success", "error"]


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of the parts."""


class TextPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    text: str
    extra: dict[str, Any] = {}


class ReasoningPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    """Reasoning shown to the user. `native` is false where it was prompted for rather than produced by the model.

    `call_id` names the call among whose arguments it was written.
    """

    text: str
    native: bool = True
    signature: str | None = None
    call_id: str | None = None
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


class ImagePart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """An image, inlined as base64 when it came in, so that history never depends on someone else's server."""

    media_type: str
    data: str
    detail: str | None = None


class ToolReturnPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="tool_return"):
    """What answered a call: `text` and `images` for the model; `stdout` and `stderr` are lines a sandbox collected."""

    call_id: str
    name: str
    status: ReturnStatus
    text: str
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None
    images: tuple[ImagePart, ...] = ()


class ApprovalPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="approval"):
    """A person's decision on one call."""

    call_id: str
    approve: bool
    reason: str | None = None


class SummaryPart(Part, frozen=True, kw_only=True, omit_defaults=True, tag="summary"):
    """What stands in the context for messages that left it.

    `announced` says that whoever started the run asked to be told of compactions, and so was shown this as a message
    of its own kind.
    """

    text: str
    stats: CompactionStats | None = None
    announced: bool = False

    @property
    def note(self) -> str:
        """The text as the model reads it."""
        return f"{SUMMARY_NOTE}\n\n{self.text}"


SUMMARY_NOTE: Final = (
    "Note: earlier messages left this context to make room; they are kept in history. "
    "The following is a summary of the previous messages:"
)

AnyPart = (
    TextPart
    | ReasoningPart
    | HiddenReasoningPart
    | ToolCallPart
    | ToolReturnPart
    | ImagePart
    | ApprovalPart
    | SummaryPart
)


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
    def spoken(self) -> str:
        """What the model wrote beside its calls, thoughts that it was asked to write down included."""
        return "".join(
            [p.text for p in self.parts if isinstance(p, TextPart) or (isinstance(p, ReasoningPart) and not p.native)]
        )

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        if len(self.parts) == 1 and isinstance(self.parts[0], TextPart):
            return ()
        return tuple([part for part in self.parts if isinstance(part, ToolCallPart)])

    @property
    def tool_returns(self) -> tuple[ToolReturnPart, ...]:
        return tuple([part for part in self.parts if isinstance(part, ToolReturnPart)])

    @property
    def summary(self) -> SummaryPart | None:
        """What this message sums up, if it is a summary."""
        first = self.parts[0] if self.parts else None
        return first if isinstance(first, SummaryPart) else None


class Envelope(msgspec.Struct, frozen=True):
    """A user message as older histories hold it. Of another type it is a note of the server, and nobody said it."""

    type: Literal["user_message", "heartbeat", "login", "system_alert"]
    time: str
    message: str = ""


def envelope_in(text: str) -> Envelope | None:
    """The envelope that a user message's text is, or None where it is plain text."""
    if not text.startswith("{"):
        return None
    try:
        return _ENVELOPE.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


class Voice(msgspec.Struct, frozen=True):
    """The tool an agent speaks through, and the argument that holds what it says: shown as its own words."""

    tool: str = "send_message"
    argument: str = "message"

    def speaks(self, part: AnyPart) -> bool:
        """Whether a call is the agent speaking."""
        return isinstance(part, ToolCallPart) and part.name == self.tool

    def words(self, call: ToolCallPart) -> str:
        """What it says, as far as the call holds it."""
        return field_text(call.arguments, self.argument)

    def saying(self, call: ToolCallPart, words: str) -> ToolCallPart:
        """The call with other words in it."""
        others = without_field(call.arguments, self.argument)
        return msgspec.structs.replace(call, arguments=with_field(others, self.argument, words))


VOICE: Final = Voice()


def groups(
    message: Message, *, single_calls: bool = False, voice: Voice | None = None
) -> Iterator[tuple[str, Sequence[AnyPart]]]:
    """The logical parts a client sees, as (otid, parts): neighbours of one kind share one otid.

    With `single_calls` every call and every return stands alone, for callers that read only the singular fields. A
    call that is the agent's `voice` is a part of its own, and what that returned is left out.
    """
    parts = message.parts
    if voice is not None:
        parts = tuple([p for p in parts if not (isinstance(p, ToolReturnPart) and p.name == voice.tool)])
    start, index = 0, 0
    for end in range(1, len(parts) + 1):
        if end < len(parts) and not begins(parts[end], parts[start], single_calls=single_calls, voice=voice):
            continue
        yield otid(message.id, index), parts[start:end]
        start, index = end, index + 1


def begins(part: AnyPart, before: AnyPart, *, single_calls: bool, voice: Voice | None) -> bool:
    """Whether `part` begins a new logical part after `before`."""
    if type(part) is not type(before) or isinstance(part, HiddenReasoningPart):
        return True
    if isinstance(part, ReasoningPart) and isinstance(before, ReasoningPart):
        return (part.native, part.call_id) != (before.native, before.call_id)
    if not isinstance(part, ToolCallPart | ToolReturnPart):
        return False
    return single_calls or (voice is not None and (voice.speaks(part) or voice.speaks(before)))


_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
PARTS_DECODER = msgspec.json.Decoder(tuple[AnyPart, ...])
PARTS_ENCODER = msgspec.json.Encoder()
