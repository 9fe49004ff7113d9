"""One model answer, collected into the parts of a message while it streams.

A part's index rises whenever the kind of what arrives changes, so ids and otids are known from the first fragment and
stay the same in the stream, in the stored message and in history read later.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from perdure.domain import events
from perdure.domain.arguments import StreamedArguments
from perdure.domain.events import AnyEvent
from perdure.domain.ids import approval_id, new_id, new_uuid, now, otid
from perdure.domain.messages import (
    AnyPart,
    HiddenReasoningPart,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    Voice,
    begins,
    groups,
)
from perdure.domain.models import Model
from perdure.domain.runs import Logprobs, Usage
from perdure.loop.thoughts import THOUGHTS
from perdure.providers.base import (
    AnsweredBy,
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)

PART_CHARS: Final = 1000
"""What a part weighs by itself, so that an answer of tiny ones has an end, too."""
MAX_CALLS: Final = 100
"""Calls kept of one answer; a model that asks for more is not well, and its history must stay usable."""


class _OpenPart:
    """A part that is still growing."""

    __slots__ = (
        "call_id", "chunks", "extra", "hidden", "kind", "name", "named", "native", "otid", "reader", "signature",
        "speaks", "thinks",
    )  # fmt: skip

    def __init__(self, kind: type[AnyPart]) -> None:
        self.kind = kind
        self.otid = ""
        """Empty for a call of which nothing but thoughts is known yet: it is not shown, and has no place among the
        parts."""
        self.chunks: list[str] = []
        self.extra: dict[str, Any] = {}
        self.signature: str | None = None
        self.call_id: str | None = None
        """The call that this is, or that thoughts belong to."""
        self.name = ""
        self.named = False
        """Whether the newest fragment of the call named its tool."""
        self.native = True
        self.hidden: HiddenReasoningDelta | None = None
        self.speaks = False
        self.thinks = False
        """Whether the call is the agent's voice, and whether it may begin with thoughts: then `reader` splits it."""
        self.reader: StreamedArguments | None = None

    def close(self) -> AnyPart:
        text = "".join(self.chunks)
        if self.kind is ToolCallPart:
            return ToolCallPart(call_id=self.call_id or "", name=self.name, arguments=text or "{}", extra=self.extra)
        if self.kind is ReasoningPart:
            return ReasoningPart(
                text=text, native=self.native, signature=self.signature, call_id=self.call_id, extra=self.extra
            )
        if self.hidden is not None:
            return HiddenReasoningPart(state=self.hidden.state, data=self.hidden.data, extra=self.hidden.extra or {})
        return TextPart(text=text, extra=self.extra)


class Answer:
    """Takes the deltas of one model call; gives the events that show them and, at the end, what to store.

    Calls of tools that are `held` wait for somebody outside. They belong to a message of their own, whose id is the
    answer's minus one, and do not count among its parts. A call of a tool that `thinks` has thoughts among its
    arguments: they are cut out and shown first, as reasoning.
    """

    def __init__(
        self,
        *,
        agent_id: str,
        run_id: str,
        step_id: str,
        show_tokens: bool,
        parallel_calls: bool,
        single_calls: bool,
        voice: Voice | None = None,
        text_is_thought: bool = False,
        held: Callable[[str], bool] = lambda name: False,
        thinks: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.message_id = new_id("message")
        self.request_id = approval_id(self.message_id)
        self._held = held
        self._thinks = thinks
        self._held_parts: list[_OpenPart] = []
        self.usage = Usage(step_count=1)
        self.finish: Finished | None = None
        self.chars = 0
        """Characters that have come so far, seals included; each part counts as `PART_CHARS` more."""
        self.has_too_many_calls = False
        self._logprobs: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        self.model: Model | None = None
        """Who answers, where that is not the model that was asked."""
        self._agent_id = agent_id
        self._run_id = run_id
        self._step_id = step_id
        self._show = show_tokens
        self._parallel = parallel_calls
        self._single_calls = single_calls
        self._voice = voice
        self._text_is_thought = text_is_thought
        self._parts: list[_OpenPart] = []
        self._calls: dict[int, _OpenPart] = {}
        self._call_ids: set[str] = set()
        self._index = -1
        self._open: _OpenPart | None = None

    def take(self, batch: Sequence[AnyDelta]) -> list[AnyEvent]:
        """Add fragments; returns the events that show them, none when tokens are not shown."""
        at = now()
        shown: list[AnyEvent] = []
        for delta in batch:
            event: AnyEvent | None = None
            match delta:
                case TextDelta(text, extra):
                    self.chars += len(text)
                    event = self._text(at, text, extra)
                case ReasoningDelta(text, signature, extra):
                    self.chars += len(text) + len(signature or "")
                    event = self._reasoning(at, text, signature, extra)
                case ToolCallDelta():
                    self.chars += len(delta.arguments)
                    shown += self._call(at, delta)
                case HiddenReasoningDelta(state, data):
                    self.chars += len(data or "")
                    part = _OpenPart(HiddenReasoningPart)
                    part.hidden = delta
                    self._begin(part)
                    event = events.HiddenReasoning(at, self.message_id, part.otid, self._step_id, state, data)
                case UsageDelta(usage):
                    self.usage = usage
                case LogprobsDelta(content, refusal):
                    self._logprobs[0].extend(content)
                    self._logprobs[1].extend(refusal)
                case Finished():
                    self.finish = delta
                    shown += self._unfinished(at)
                case AnsweredBy(model):
                    self.model = model
            if event is not None:
                shown.append(event)
        return shown if self._show else []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said and nothing called yet."""
        return not (self._parts or self._held_parts)

    @property
    def logprobs(self) -> Logprobs | None:
        """Those of the tokens so far, or None where the provider gave none."""
        content, refusal = self._logprobs
        return Logprobs(content=content or None, refusal=refusal or None) if content or refusal else None

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def message(self) -> Message | None:
        """What was said and called, or None where that is nothing."""
        return self._message(self.message_id, "assistant", self._parts)

    def request(self) -> Message | None:
        """The calls that wait for somebody outside, or None."""
        return self._message(self.request_id, "approval", self._held_parts)

    def _message(self, message_id: str, role: Role, parts: list[_OpenPart]) -> Message | None:
        if not parts:
            return None
        return Message(
            id=message_id, agent_id=self._agent_id, role=role, parts=tuple(part.close() for part in parts),
            created_at=now(), step_id=self._step_id, run_id=self._run_id,
        )  # fmt: skip

    def _begin(self, part: _OpenPart) -> _OpenPart:
        """Give a part its place after those before it."""
        if not self._parts or begins(
            part.close(), self._parts[-1].close(), single_calls=self._single_calls, voice=self._voice
        ):
            self._index += 1
        part.otid = otid(self.message_id, self._index)
        self.chars += PART_CHARS
        self._parts.append(part)
        self._open = part
        return part

    def _text(self, at: int, text: str, extra: dict[str, Any] | None) -> AnyEvent | None:
        if self._text_is_thought:
            return self._reasoning(at, text, None, extra, native=False)
        part = self._open
        if part is None or part.kind is not TextPart:
            if not text:
                return None
            part = self._begin(_OpenPart(TextPart))
        if extra:
            part.extra.update(extra)
        if not text:
            return None
        part.chunks.append(text)
        return events.AssistantText(at, self.message_id, part.otid, self._step_id, text)

    def _reasoning(
        self,
        at: int,
        text: str,
        signature: str | None,
        extra: dict[str, Any] | None,
        *,
        native: bool = True,
        call_id: str | None = None,
    ) -> AnyEvent | None:
        part = self._open
        if (
            part is None
            or part.kind is not ReasoningPart
            or part.signature is not None
            or (part.native, part.call_id) != (native, call_id)
        ):
            if not text and signature is None:
                return None
            part = _OpenPart(ReasoningPart)
            part.native, part.call_id = native, call_id
            self._begin(part)
        if signature is not None:
            part.signature = signature
        if extra:
            part.extra.update(extra)
        if not text:
            return None
        part.chunks.append(text)
        return events.Reasoning(at, self.message_id, part.otid, self._step_id, text, native, None, call_id)

    def _call(self, at: int, delta: ToolCallDelta) -> list[AnyEvent]:
        part = self._calls.get(delta.index)
        if part is None:
            self.has_too_many_calls = self._parallel and len(self._calls) >= MAX_CALLS
            if self.has_too_many_calls or (self._calls and not self._parallel):
                return []
            part = self._calls[delta.index] = self._new_call(delta)
        # A dialect that names the tool with every fragment is shown to do so.
        part.named = bool(delta.name)
        if delta.extra:
            part.extra.update(delta.extra)
        if part.reader is None:
            return self._add(at, part, delta.arguments)
        pieces = part.reader.feed(delta.arguments)
        if not part.thinks:
            said = "".join([piece.text for piece in pieces if piece.field is not None])
            return self._add(at, part, delta.arguments, said)
        shown: list[AnyEvent] = []
        raw = said = ""
        for piece in pieces:
            if piece.field is None:
                raw += piece.text
            elif piece.field != THOUGHTS:
                said += piece.text
            else:
                shown += self._add(at, part, raw, said)
                raw = said = ""
                thought = self._reasoning(at, piece.text, None, None, native=False, call_id=part.call_id)
                shown += [thought] if thought is not None else []
        return shown + self._add(at, part, raw, said)

    def _new_call(self, delta: ToolCallDelta) -> _OpenPart:
        part = _OpenPart(ToolCallPart)
        part.name, part.call_id = delta.name or "", self._fresh_call_id(delta.call_id)
        part.thinks = self._thinks(part.name)
        part.speaks = self._voice is not None and part.name == self._voice.tool and not self._held(part.name)
        watched = ([self._voice.argument] if self._voice is not None and part.speaks else []) + [THOUGHTS] * part.thinks
        part.reader = StreamedArguments(watched, (THOUGHTS,)) if watched else None
        return part

    def _add(self, at: int, part: _OpenPart, arguments: str, said: str = "") -> list[AnyEvent]:
        """What shows that a call goes on: nothing as long as it may still begin with thoughts."""
        part.chunks.append(arguments)
        begins = not part.otid
        if begins:
            arguments = "".join(part.chunks)
            if part.thinks and arguments in ("", "{"):
                return []
            self._begin_call(part)
        if part.speaks:
            return [events.AssistantText(at, self.message_id, part.otid, self._step_id, said)] if said else []
        if not begins and not arguments:
            return []
        name = part.name if begins or part.named else None
        call_id, added = part.call_id or "", arguments or None
        if part.otid == self.request_id:
            return [events.ApprovalDelta(at, part.otid, part.otid, self._step_id, call_id, name, added)]
        return [events.ToolCallDelta(at, self.message_id, part.otid, self._step_id, call_id, name, added)]

    def _begin_call(self, part: _OpenPart) -> None:
        if self._held(part.name):
            part.otid = self.request_id
            self._held_parts.append(part)
            self._open = part
        else:
            self._begin(part)

    def _unfinished(self, at: int) -> list[AnyEvent]:
        """Show the calls of which the model wrote nothing but thoughts."""
        shown: list[AnyEvent] = []
        for part in self._calls.values():
            if not part.otid:
                part.thinks, part.chunks = False, ["{}"]
                shown += self._add(at, part, "")
        return shown

    def _fresh_call_id(self, asked: str | None) -> str:
        """The provider's id, or one of ours where it gave none or gave it twice: returns are matched by it."""
        call_id = asked if asked and asked not in self._call_ids else f"call_{new_uuid()[:8]}"
        self._call_ids.add(call_id)
        return call_id


def whole(message: Message, *, single_calls: bool, voice: Voice | None = None) -> list[AnyEvent]:
    """The events that show a stored message at once, one for each logical part."""
    shown: list[AnyEvent] = []
    at, step = message.created_at, message.step_id
    for part_otid, parts in groups(message, single_calls=single_calls, voice=voice):
        first = parts[0]
        match first:
            case TextPart():
                shown.append(events.AssistantText(at, message.id, part_otid, step, _joined(parts)))
            case ReasoningPart():
                shown.append(
                    events.Reasoning(at, message.id, part_otid, step, _joined(parts), first.native, first.signature)
                )
            case HiddenReasoningPart():
                shown.append(events.HiddenReasoning(at, message.id, part_otid, step, first.state, first.data))
            case ToolCallPart() if message.role == "approval":
                shown.append(events.ApprovalRequest(at, message.id, message.id, step, _calls(parts)))
            case ToolCallPart() if voice is not None and voice.speaks(first):
                shown.append(events.AssistantText(at, message.id, part_otid, step, voice.words(first)))
            case ToolCallPart():
                shown.append(events.ToolCalls(at, message.id, part_otid, step, _calls(parts)))
            case ToolReturnPart():
                shown.append(events.ToolReturns(at, message.id, part_otid, step, _returns(parts)))
            case _:
                pass
    return shown


def _joined(parts: Sequence[AnyPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart | ReasoningPart))


def _calls(parts: Sequence[AnyPart]) -> tuple[ToolCallPart, ...]:
    return tuple(part for part in parts if isinstance(part, ToolCallPart))


def _returns(parts: Sequence[AnyPart]) -> tuple[ToolReturnPart, ...]:
    return tuple(part for part in parts if isinstance(part, ToolReturnPart))
