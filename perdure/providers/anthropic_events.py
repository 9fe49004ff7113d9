"""The events of one answer of Anthropic's messages, turned into deltas. The hot path: every token passes `read`."""

import json
from collections.abc import Sequence
from typing import Any, Final, Literal, cast

import msgspec

from perdure.domain.errors import ModelError
from perdure.domain.messages import Message
from perdure.domain.runs import Usage
from perdure.providers.anthropic_history import VENDOR
from perdure.providers.base import (
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from perdure.providers.call_ids import CallIds
from perdure.providers.http import Endpoint
from perdure.providers.refusals import decoded, reported
from perdure.providers.text import Halves, is_storable, storable

MAX_BLOCKS: Final = 10_000
"""Blocks taken of one answer; a server that sends more is not well."""

_FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
_REASONS: Final[dict[str, _FinishReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""All others mean that the model ended by itself, with calls or without."""


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_details: dict[str, Any] | None = None


class _Begun(msgspec.Struct, gc=False):
    """A block as it begins. Calls may bring their whole input at once, and thoughts their text."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Start(msgspec.Struct, gc=False):
    usage: dict[str, Any] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Begun | None = None
    message: _Start | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_DECODER: Final = msgspec.json.Decoder(_Event)
_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
                  "output_tokens_details")  # fmt: skip
_KNOWN: Final = ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
                 "message_stop", "error", "")  # fmt: skip


class _Thought:
    """Thinking that is being streamed. A seal on text that had to be changed is of no more use."""

    __slots__ = ("changed", "seal", "shown")

    def __init__(self) -> None:
        self.seal: str | None = None
        self.shown = False
        self.changed = False


class _Call:
    """A call being streamed, number `index` of its answer."""

    __slots__ = ("index", "input", "name", "written")

    def __init__(self, index: int, name: str, whole: Any) -> None:
        self.index = index
        self.name = name
        self.input = whole
        self.written = False


_Channel = Literal["text"] | _Thought | _Call


def is_last(payload: bytes) -> bool:
    """Whether this payload says that the message is over."""
    return payload[:40].replace(b" ", b"").startswith(b'{"type":"message_stop"')


class EventReader:
    """Reads the payloads of one answer of `model`. `history` is the request's, whose call ids are taken."""

    def __init__(self, endpoint: Endpoint, history: Sequence[Message], model: str) -> None:
        self._endpoint = endpoint
        self._ids = CallIds(history)
        self._model = model
        self._halves: Halves[_Channel] = Halves()
        self._open: dict[int, _Thought | _Call] = {}
        self._blocks = 0
        self._calls = 0
        self._said = False
        self._stop_reason = ""
        self._category = ""
        self._usage: dict[str, Any] = {}
        self._usage_told = False
        self.failure: ModelError | None = None
        """Set where an error came after deltas of the same read: to be raised once they are passed on."""
        self.done = False

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has come."""
        return self._blocks > 0

    def read(self, payloads: Sequence[bytes]) -> list[AnyDelta]:
        """The deltas in these payloads, possibly none. Raises ModelError for an error among them, and for nonsense."""
        out: list[AnyDelta] = []
        try:
            for payload in payloads:
                if not self.done:
                    self._read(payload, out)
        except ModelError as error:
            if not out:
                raise
            self.failure = error
        if out and self._usage and not self._usage_told:
            # With the first words, so that an answer which is cut has the cost of its prompt.
            self._usage_told = True
            out.insert(0, UsageDelta(_usage(self._usage)))
        return out

    def cut(self) -> ModelError:
        """The error for a stream that ended before the message was over."""
        return self._endpoint.failed("ended before its answer was complete: there was no message_stop", transient=True)

    def _read(self, payload: bytes, out: list[AnyDelta]) -> None:
        plain = not self._halves.waiting
        try:
            event = _DECODER.decode(payload)
        except (ValueError, RecursionError):
            event = self._lenient(payload)
            plain = False
        delta = event.delta
        kind = event.type
        if kind == "content_block_delta" and delta is not None:
            if plain and delta.text and "\0" not in delta.text:
                self._said = True
                out.append(TextDelta(delta.text))
            else:
                self._fragment(event.index, delta, out)
        elif kind == "content_block_start" and event.content_block is not None:
            self._begin(event.index, event.content_block, out)
        elif kind == "content_block_stop":
            self._end(event.index, out)
        elif kind == "message_delta":
            self._count(event.usage)
            self._stop(delta or _Delta(), out)
        elif kind == "message_start":
            self._count(event.message and event.message.usage)
        elif kind == "message_stop":
            self._finish(out)
        elif kind == "error" or event.error is not None:
            raise reported(decoded(payload), self._endpoint.key) or self._endpoint.failed("reported an error")

    def _lenient(self, payload: bytes) -> _Event:
        """An event the decoder refuses: half a surrogate pair, bad UTF-8, a form that is new."""
        answer = decoded(payload)
        if not isinstance(answer, dict):
            raise self._endpoint.failed(f"sent an event that is no JSON object: {payload[:200]!r}")
        try:
            return msgspec.convert(answer, _Event, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as problem:
            kind = cast("dict[str, Any]", answer).get("type", "")
            if kind not in _KNOWN:
                return _Event(type=str(kind))
            error = reported(answer, self._endpoint.key)
            raise error or self._endpoint.failed(f"sent an event that cannot be understood: {problem}") from None

    def _begin(self, index: int, block: _Begun, out: list[AnyDelta]) -> None:
        self._blocks += 1
        if self._blocks > MAX_BLOCKS:
            raise self._endpoint.failed(f"sent more than {MAX_BLOCKS} blocks in one answer")
        self._end(index, out)
        if block.type == "thinking":
            self._open[index] = thought = _Thought()
            thought.seal = block.signature or None
            self._add(thought, block.thinking, out)
        elif block.type == "redacted_thinking":
            data = block.data or ""
            if is_storable(data):
                out.append(HiddenReasoningDelta("redacted", data, {VENDOR: {"model": self._model}}))
        elif block.type == "tool_use":
            self._flush(out)
            self._open[index] = call = _Call(self._calls, storable(block.name or "").strip(), block.input)
            self._calls += 1
            out.append(ToolCallDelta(call.index, call_id=self._ids.take(block.id or ""), name=call.name))
        elif block.type == "text":
            self._add("text", block.text, out)

    def _fragment(self, index: int, delta: _Delta, out: list[AnyDelta]) -> None:
        """Every fragment but plain text. Those of blocks that mean nothing here are passed over."""
        block = self._open.get(index)
        self._add("text", delta.text, out)
        if isinstance(block, _Call):
            self._add(block, delta.partial_json, out)
        elif isinstance(block, _Thought):
            block.seal = delta.signature or block.seal
            self._add(block, delta.thinking, out)

    def _end(self, index: int, out: list[AnyDelta]) -> None:
        """Closes a block: a thought gets its seal, a call the input that it had from the start."""
        self._flush(out)
        block = self._open.pop(index, None)
        if isinstance(block, _Call):
            if block.input and not block.written:
                self._add(block, json.dumps(block.input, ensure_ascii=False), out)
                self._flush(out)
        elif block is not None and block.seal and not block.changed and is_storable(block.seal):
            ours = {"model": self._model}
            if block.shown:
                out.append(ReasoningDelta("", block.seal, {VENDOR: ours}))
            else:
                out.append(HiddenReasoningDelta("omitted", None, {VENDOR: {**ours, "signature": block.seal}}))

    def _stop(self, delta: _Delta, out: list[AnyDelta]) -> None:
        """Notes why the model stopped. Where it refuses, what the API says of that is its answer."""
        self._stop_reason = delta.stop_reason or self._stop_reason
        details = delta.stop_details or {}
        if delta.stop_reason == "refusal" and isinstance(explanation := details.get("explanation"), str):
            self._add("text", explanation, out)
        self._category = str(details.get("category") or "")

    def _finish(self, out: list[AnyDelta]) -> None:
        for index in tuple(self._open):
            self._end(index, out)
        self._flush(out)
        self._usage_told = True
        out.append(UsageDelta(_usage(self._usage)))
        if self._stop_reason == "refusal" and not (self._said or self._calls):
            raise self._endpoint.failed(f"withheld its answer: refusal {self._category}".rstrip(), "llm_bad_request")
        out.append(Finished(_REASONS.get(self._stop_reason) or ("tool_calls" if self._calls else "stop")))
        self.done = True

    def _add(self, channel: _Channel, text: str | None, out: list[AnyDelta]) -> None:
        if text:
            self._said = self._said or channel == "text"
            for on, whole in self._halves.add(channel, text):
                _emit(on, whole, out)
            if isinstance(channel, _Thought) and not is_storable(text):
                channel.changed = True

    def _flush(self, out: list[AnyDelta]) -> None:
        for channel, text in self._halves.flush():
            _emit(channel, text, out)

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Takes counts, which grow from event to event; one that is missing leaves what was said before."""
        self._usage.update((name, usage[name]) for name in _COUNTS if usage and usage.get(name) is not None)


def _emit(channel: _Channel, text: str, out: list[AnyDelta]) -> None:
    if channel == "text":
        out.append(TextDelta(text))
    elif isinstance(channel, _Thought):
        channel.shown = True
        out.append(ReasoningDelta(text))
    else:
        channel.written = True
        out.append(ToolCallDelta(channel.index, text, name=channel.name))


def _usage(given: dict[str, Any]) -> Usage:
    """Tokens in our words: the prompt counts with what of it was read from a cache, or written to one."""
    read, written = _number(given, "cache_read_input_tokens"), _number(given, "cache_creation_input_tokens")
    prompt = (_number(given, "input_tokens") or 0) + (read or 0) + (written or 0)
    completion = _number(given, "output_tokens") or 0
    return Usage(
        completion_tokens=completion,
        prompt_tokens=prompt,
        total_tokens=prompt + completion,
        step_count=1,
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=_number(given.get("output_tokens_details"), "thinking_tokens"),
        context_tokens=prompt + completion,
    )


def _number(fields: Any, name: str) -> int | None:
    value = cast("dict[str, Any]", fields).get(name) if isinstance(fields, dict) else None
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 53 else None
