"""The chunks of one chat completions answer, turned into deltas. The hot path: every token passes `read`."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from perdure.domain.errors import ModelError
from perdure.domain.messages import Message
from perdure.domain.runs import Usage
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
from perdure.providers.text import Halves, storable

DONE: Final = b"[DONE]"
"""The payload after the last chunk."""

MAX_CALLS: Final = 10_000
MAX_WAITING_CHARS: Final = 1_000_000
"""Calls taken of one answer, and arguments of those that nobody has named; a server that sends more is not well."""

_FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
_REASONS: Final[dict[str, _FinishReason]] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
}
"""All others mean that the model ended by itself, with calls or without."""
_FAILURES: Final = ("error", "insufficient_system_resource", "network_error", "abort")


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | int | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[Any] | None = None
    tool_calls: list[_ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    message: _Delta | None = None
    """In the place of `delta` where the answer is not streamed."""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None


class _Groq(msgspec.Struct, gc=False):
    usage: dict[str, Any] | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: _Groq | None = None


_DECODER: Final = msgspec.json.Decoder(_Chunk)


class _Call:
    """A tool call being streamed. It is shown as soon as its name is known; until then its arguments wait."""

    __slots__ = ("call_id", "given_id", "index", "name", "waiting")

    def __init__(self, index: int, given_id: str, call_id: str) -> None:
        self.index = index
        self.given_id = given_id
        self.call_id = call_id
        self.name: str | None = None
        self.waiting: list[str] = []


_Channel = Literal["text", "reasoning"] | _Call


class ChunkReader:
    """Reads the payloads of one answer. `history` is the request's, so that no call gets an id that is in use."""

    def __init__(self, endpoint: Endpoint, history: Sequence[Message], *, hidden_reasoning: bool) -> None:
        self._endpoint = endpoint
        self._hidden_reasoning = hidden_reasoning
        self._halves: Halves[_Channel] = Halves()
        self._plain = not hidden_reasoning
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] | None = None
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._waiting = 0
        self._ids = CallIds(history)
        self._spoke = False
        self.failure: ModelError | None = None
        """Set where an error came after deltas of the same read: to be raised once they are passed on."""
        self.done = False

    @property
    def finished(self) -> bool:
        """Whether the model has said why it stopped, so that only usage can still come."""
        return self._finish_reason is not None

    def read(self, payloads: Sequence[bytes]) -> list[AnyDelta]:
        """The deltas in these payloads, possibly none. Raises ModelError for an error among them, and for nonsense."""
        out: list[AnyDelta] = []
        try:
            self._read(payloads, out)
        except ModelError as error:
            if not out:
                raise
            self.failure = error
        self._spoke = self._spoke or bool(out)
        return out

    def end(self, out: list[AnyDelta]) -> None:
        """Completes the answer. Raises ModelError if the model never said why it stopped: then the stream was cut."""
        reason = self._finish_reason
        if reason is None:
            what = "ended before its answer was complete: there was no finish_reason"
            raise self._endpoint.failed(what, transient=True)
        for channel, text in self._halves.flush():
            _emit(channel, text, out)
        for call in self._calls:
            if call.name is None:
                self._show(call, "", out)
        if self._usage is not None:
            out.append(UsageDelta(_usage(self._usage)))
        out.append(Finished(_REASONS.get(reason) or ("tool_calls" if self._calls else "stop")))
        self.done = True

    def _read(self, payloads: Sequence[bytes], out: list[AnyDelta]) -> None:
        decode = _DECODER.decode
        for payload in payloads:
            if payload == DONE:
                if not (self._finish_reason or self._spoke or out):
                    raise self._endpoint.failed("ended its answer at once", "llm_empty_response")
                self.end(out)
                return
            try:
                chunk = decode(payload)
                plain = self._plain
            except (ValueError, RecursionError):
                chunk = self._lenient(payload)
                plain = False
            if not chunk.choices:
                self._aside(chunk, payload)
                continue
            choice = chunk.choices[0]
            delta = choice.delta or choice.message
            if delta is not None:
                text = delta.content
                if (
                    plain
                    and text
                    and type(text) is str
                    and delta.tool_calls is None
                    and delta.reasoning_content is None
                    and delta.reasoning is None
                    and "\0" not in text
                ):
                    out.append(TextDelta(text))
                else:
                    self._rich(delta, out)
            if choice.finish_reason is not None or chunk.usage is not None or chunk.error is not None:
                self._closing(chunk, choice, payload)

    def _lenient(self, payload: bytes) -> _Chunk:
        """A chunk the decoder refuses: half a surrogate pair, bad UTF-8, NaN, a number where a string belongs."""
        answer = decoded(payload)
        if not isinstance(answer, dict):
            raise self._endpoint.failed(f"sent a chunk that is no JSON object: {payload[:200]!r}")
        try:
            return msgspec.convert(answer, _Chunk, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as problem:
            error = reported(answer, self._endpoint.key)
            raise error or self._endpoint.failed(f"sent a chunk that cannot be understood: {problem}") from None

    def _aside(self, chunk: _Chunk, payload: bytes) -> None:
        """A chunk without choices: usage, an error, or something of no concern."""
        if chunk.usage is not None:
            self._usage = chunk.usage
        elif chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._usage = chunk.x_groq.usage
        elif chunk.choices is None:
            self._raise_error(payload)

    def _closing(self, chunk: _Chunk, choice: _Choice, payload: bytes) -> None:
        if chunk.error is not None:
            self._raise_error(payload)
        self._usage = chunk.usage or choice.usage or (chunk.x_groq.usage if chunk.x_groq else None) or self._usage
        if choice.finish_reason in _FAILURES:
            raise self._endpoint.failed(f"gave up on its answer: {choice.finish_reason}")
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _raise_error(self, payload: bytes) -> None:
        if error := reported(decoded(payload), self._endpoint.key):
            raise error

    def _rich(self, delta: _Delta, out: list[AnyDelta]) -> None:
        """Everything that is not plain text by itself."""
        if self._hidden_reasoning:
            self._hidden_reasoning = False
            out.append(HiddenReasoningDelta("omitted"))
        # Some gateways send the same reasoning under both names.
        if reasoning := delta.reasoning_content or delta.reasoning:
            self._add("reasoning", reasoning, out)
        content = delta.content
        if isinstance(content, list):
            for channel, text in _parts(content):
                self._add(channel, text, out)
        elif content:
            self._add("text", content, out)
        if delta.refusal:
            self._add("text", delta.refusal, out)
        for fragment in delta.tool_calls or ():
            self._fragment(fragment, out)
        self._plain = not self._halves.waiting

    def _fragment(self, fragment: _ToolCall, out: list[AnyDelta]) -> None:
        function = fragment.function or _Function()
        name = storable(function.name or "").strip()
        call = self._call_of(fragment.index, "" if fragment.id is None else str(fragment.id), name)
        if call.name is None and name:
            self._show(call, name, out)
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments)
        if arguments and call.name is None:
            self._waiting += len(arguments)
            if self._waiting > MAX_WAITING_CHARS:
                raise self._endpoint.failed("sent the arguments of a tool without saying which")
        if arguments:
            self._add(call, arguments, out)

    def _call_of(self, index: int | None, given_id: str, name: str) -> _Call:
        """The call a fragment belongs to, though indexes may be missing or always 0, and ids missing or repeated."""
        if index is not None:
            call = self._by_index.get(index)
        elif given_id:
            call = self._by_id.get(given_id)
        else:
            call = self._calls[-1] if self._calls and not name else None
        if call is not None and call.name is not None and name:
            other_id = bool(given_id and call.given_id and given_id != call.given_id)
            if other_id or name != call.name:
                call = None
        if call is None:
            if len(self._calls) >= MAX_CALLS:
                raise self._endpoint.failed(f"called more than {MAX_CALLS} tools in one answer")
            call = self._by_id[given_id] = _Call(len(self._calls), given_id, self._ids.take(given_id))
            self._calls.append(call)
            if index is not None:
                self._by_index[index] = call
        return call

    def _show(self, call: _Call, name: str, out: list[AnyDelta]) -> None:
        call.name = name
        out.append(ToolCallDelta(call.index, call_id=call.call_id, name=name))
        if call.waiting:
            out.append(ToolCallDelta(call.index, "".join(call.waiting)))

    def _add(self, channel: _Channel, text: str, out: list[AnyDelta]) -> None:
        for each, whole in self._halves.add(channel, text):
            _emit(each, whole, out)


def _emit(channel: _Channel, text: str, out: list[AnyDelta]) -> None:
    if channel == "text":
        out.append(TextDelta(text))
    elif channel == "reasoning":
        out.append(ReasoningDelta(text))
    elif channel.name is None:
        channel.waiting.append(text)
    else:
        out.append(ToolCallDelta(channel.index, text))


def _parts(content: list[Any]) -> Iterator[tuple[Literal["text", "reasoning"], str]]:
    """The text in content that comes as a list of parts; thinking parts hold such a list themselves."""
    for part in content:
        if not isinstance(part, dict):
            continue
        fields = cast("dict[str, Any]", part)
        thinking = fields.get("thinking")
        inner = thinking if isinstance(thinking, list) else [fields]
        channel: Literal["text", "reasoning"] = "text" if thinking is None else "reasoning"
        for piece in cast("list[Any]", inner):
            text = cast("dict[str, Any]", piece).get("text") if isinstance(piece, dict) else None
            if isinstance(text, str) and text:
                yield channel, text


def _usage(given: dict[str, Any]) -> Usage:
    prompt, completion = count(given, "prompt_tokens") or 0, count(given, "completion_tokens") or 0
    total = count(given, "total_tokens") or prompt + completion
    details: dict[str, Any] = given.get("prompt_tokens_details") or {}
    cached = count(details, "cached_tokens")
    if cached is None:
        cached = count(given, "prompt_cache_hit_tokens")
    return Usage(
        completion_tokens=completion,
        prompt_tokens=prompt,
        total_tokens=total,
        step_count=1,
        cached_input_tokens=cached,
        cache_write_tokens=count(details, "cache_write_tokens"),
        reasoning_tokens=count(given.get("completion_tokens_details") or {}, "reasoning_tokens"),
        context_tokens=total,
    )


def count(fields: Any, name: str) -> int | None:
    """The number under `name`; None where there is none that makes sense."""
    value = cast("dict[str, Any]", fields).get(name) if isinstance(fields, dict) else None
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 53 else None
