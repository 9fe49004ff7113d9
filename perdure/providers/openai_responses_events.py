"""The events of one Responses answer, turned into deltas. The hot path: every token passes `read`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from perdure.domain.errors import ModelError
from perdure.domain.runs import Usage
from perdure.providers.base import (
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from perdure.providers.call_ids import CallIds
from perdure.providers.http import Endpoint
from perdure.providers.openai_chunks import DONE, count
from perdure.providers.openai_responses_body import KEY
from perdure.providers.refusals import decoded, reported
from perdure.providers.text import Halves, storable

MAX_ITEMS: Final = 1_000
"""Items read of one answer; what a server sends beyond them is passed over."""

_TEXT: Final = "response.output_text.delta"
_ENDS: Final = ("response.completed", "response.incomplete")
_LAST: Final = tuple(b'{"type":%s"%s"' % (space, name.encode()) for name in _ENDS for space in (b"", b" "))
_KINDS: Final = ("message", "reasoning", "function_call")
_READ: Final = frozenset(
    {
        _TEXT,
        *_ENDS,
        "response.failed",
        "response.function_call_arguments.delta",
        "response.output_item.added",
        "response.output_item.done",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.refusal.delta",
    }
)
"""Events that must make sense; all others are passed over."""
_REASONS: Final[Mapping[str, Literal["length", "content_filter"]]] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
"""Why an answer is incomplete; with any other reason it ended as it should."""


class _Response(msgspec.Struct, gc=False):
    status: Any = None
    usage: Any = None
    incomplete_details: Any = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    output_index: int | None = None
    item_id: str | None = None
    summary_index: int | None = None
    item: Any = None
    response: _Response | None = None


_DECODER: Final = msgspec.json.Decoder(_Event)


class _Item:
    """An output item being streamed. `call` is the number of a tool call; `shown` says that it came as it grew."""

    __slots__ = ("call", "ended", "id", "kind", "piece", "shown")

    def __init__(self, kind: str, item_id: str) -> None:
        self.kind = kind
        self.id = item_id
        self.call = -1
        self.shown = False
        self.ended = False
        self.piece: tuple[str, int | None] | None = None
        """The piece of reasoning that came last; a blank line goes between two."""


_SURPLUS: Final = _Item("surplus", "")
"""Stands for all that is passed over."""

_Channel = Literal["text", "reasoning"] | int
"""Where text goes; a number is that of a tool call."""


def is_last(payload: bytes) -> bool:
    """Whether nothing follows this payload. False where that cannot be told at a glance."""
    return payload.startswith(_LAST)


class EventReader:
    """Reads the payloads of the answer to `request`."""

    def __init__(self, endpoint: Endpoint, request: ModelRequest) -> None:
        self._endpoint = endpoint
        self._model = request.model.handle
        self._halves: Halves[_Channel] = Halves()
        self._ids = CallIds(request.messages)
        self._items: dict[int | str | None, _Item] = {}
        self._calls = 0
        self.failure: ModelError | None = None
        """Set where an error came after deltas of the same read: to be raised once they are passed on."""
        self.done = False

    def read(self, payloads: Sequence[bytes]) -> list[AnyDelta]:
        """The deltas in these payloads, possibly none. Raises ModelError for an error among them, and for nonsense."""
        out: list[AnyDelta] = []
        try:
            self._read(payloads, out)
        except ModelError as error:
            if not out:
                raise
            self.failure = error
        return out

    def cut(self) -> ModelError:
        """The error for a stream that ended before the answer did."""
        return self._endpoint.failed(
            "ended before its answer was complete: there was no response.completed", transient=True
        )

    def _read(self, payloads: Sequence[bytes], out: list[AnyDelta]) -> None:
        decode = _DECODER.decode
        for payload in payloads:
            if self.done:
                return
            plain = not self._halves.waiting
            try:
                event = decode(payload)
            except (ValueError, RecursionError):
                event = self._lenient(payload)
                plain = False
            text = event.delta
            if plain and event.type == _TEXT and type(text) is str and text and "\0" not in text:
                self._item_of(event, "message").shown = True
                out.append(TextDelta(text))
            else:
                self._rich(event, payload, out)

    def _lenient(self, payload: bytes) -> _Event:
        """An event the decoder refuses: half a surrogate pair, bad UTF-8, a word where a number belongs."""
        if payload == DONE:
            raise self.cut()
        answer = decoded(payload)
        if not isinstance(answer, dict):
            raise self._endpoint.failed(f"sent an event that is no JSON object: {payload[:200]!r}")
        fields = cast("dict[str, Any]", answer)
        try:
            return msgspec.convert(fields, _Event, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as problem:
            if error := reported(fields, self._endpoint.key):
                raise error from None
            if str(fields.get("type")) in _READ:
                raise self._endpoint.failed(f"sent an event that cannot be understood: {problem}") from None
            return _Event()

    def _rich(self, event: _Event, payload: bytes, out: list[AnyDelta]) -> None:
        """Everything that is not plain text. Unknown events are passed over."""
        match event.type:
            case "response.function_call_arguments.delta":
                self._grow(event, "function_call", out)
            case "response.refusal.delta" | "response.output_text.delta":
                self._grow(event, "message", out)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._grow(event, "reasoning", out)
            case "response.output_item.added":
                self._added(event, out)
            case "response.output_item.done":
                self._ended(event, out)
            case "response.completed" | "response.incomplete":
                self._end(event.response or _Response(), out)
            case "response.failed":
                raise self._failed(event.response or _Response())
            case "error" | "":
                error = reported(decoded(payload), self._endpoint.key)
                if error or event.type:
                    raise error or self._endpoint.failed("reported an error without saying which")
            case _:
                pass

    def _item_of(self, event: _Event, kind: str) -> _Item:
        """The item an event belongs to: by its place, since some gateways change ids underway, else by its id."""
        key = event.item_id if event.output_index is None else event.output_index
        item = self._items.get(key)
        # A call that nobody has named cannot be shown; all of it comes at its end.
        return item or (_SURPLUS if kind == "function_call" else self._begin(key, kind, event.item_id or ""))

    def _begin(self, key: int | str | None, kind: str, item_id: str) -> _Item:
        if len(self._items) >= MAX_ITEMS:
            return _SURPLUS
        item = self._items[key] = _Item(kind, item_id)
        return item

    def _grow(self, event: _Event, kind: str, out: list[AnyDelta]) -> None:
        item, text = self._item_of(event, kind), event.delta
        if item.kind != kind or item.ended or not isinstance(text, str) or not text:
            return
        if kind == "reasoning":
            piece = (event.type, event.summary_index)
            if item.shown and piece != item.piece:
                self._add("reasoning", "\n\n", out)
            item.piece = piece
        item.shown = True
        self._add(_channel(item), text, out)

    def _added(self, event: _Event, out: list[AnyDelta]) -> None:
        fields = _fields(event.item)
        known = self._items.get(_place(event, fields))
        if known is None or known.ended or (known.id, known.kind) != (_text(fields, "id"), _text(fields, "type")):
            self._begin_as(event, fields, out)

    def _begin_as(self, event: _Event, fields: Mapping[str, Any], out: list[AnyDelta]) -> _Item:
        item = self._begin(_place(event, fields), _text(fields, "type"), _text(fields, "id"))
        if item.kind == "function_call":
            item.call, self._calls = self._calls, self._calls + 1
            self._flush(out)
            call_id = self._ids.take(_text(fields, "call_id"))
            out.append(ToolCallDelta(item.call, call_id=call_id, name=storable(_text(fields, "name")).strip()))
        return item

    def _ended(self, event: _Event, out: list[AnyDelta]) -> None:
        """An item is complete: what of it has not been streamed is shown now, with what the vendor wants back."""
        fields = _fields(event.item)
        item = self._items.get(_place(event, fields))
        if item is None or item.kind != _text(fields, "type") or (item.ended and item.id != _text(fields, "id")):
            item = self._begin_as(event, fields, out)
        if item.ended or item.kind not in _KINDS:
            return
        item.ended = True
        for text in () if item.shown else _texts(fields):
            self._add(_channel(item), text, out)
            item.shown = True
        self._flush(out)
        if item.kind == "reasoning":
            out += self._sealed(item, fields)
        elif item.kind == "message" and (phase := fields.get("phase")):
            out.append(TextDelta("", self._extra(phase=phase)))

    def _sealed(self, item: _Item, fields: Mapping[str, Any]) -> Iterator[AnyDelta]:
        """What follows reasoning: its seal, and the item as it is to come back."""
        seal = storable(_text(fields, "encrypted_content"))
        kept: dict[str, Any] = {"id": item_id} if (item_id := _text(fields, "id")) else {}
        kept |= {name: pieces for name in ("summary", "content") if (pieces := _list(fields, name))}
        # What is neither sealed nor in the open, a server would look for among what it keeps; that is nothing.
        is_whole = bool(seal) or "content" in kept
        kept.setdefault("summary", [])
        if not item.shown:
            kept |= {"encrypted_content": seal} if seal else {}
            yield HiddenReasoningDelta("omitted", extra=self._extra(item=kept) if is_whole else None)
        elif is_whole:
            yield ReasoningDelta("", seal or None, self._extra(item=kept))

    def _extra(self, **kept: Any) -> dict[str, Any]:
        return {KEY: {"model": self._model, **_storable(kept)}}

    def _end(self, response: _Response, out: list[AnyDelta]) -> None:
        self._flush(out)
        if isinstance(response.usage, dict):
            out.append(UsageDelta(_usage(cast("dict[str, Any]", response.usage))))
        why = _fields(response.incomplete_details).get("reason")
        if why is None and response.status == "incomplete":
            why = "max_output_tokens"  # Some servers say no more than that.
        reason = _REASONS.get(str(why))
        out.append(Finished(reason or ("tool_calls" if self._calls else "stop")))
        self.done = True

    def _failed(self, response: _Response) -> ModelError:
        error = reported({"error": response.error}, self._endpoint.key) if response.error else None
        return error or self._endpoint.failed("gave up on its answer without saying why")

    def _add(self, channel: _Channel, text: str, out: list[AnyDelta]) -> None:
        for each, whole in self._halves.add(channel, text):
            out.append(_delta(each, whole))

    def _flush(self, out: list[AnyDelta]) -> None:
        """Gives up on half a pair, before something that ends its text."""
        out += [_delta(channel, text) for channel, text in self._halves.flush()]


def _channel(item: _Item) -> _Channel:
    return item.call if item.kind == "function_call" else "reasoning" if item.kind == "reasoning" else "text"


def _delta(channel: _Channel, text: str) -> AnyDelta:
    if channel == "text":
        return TextDelta(text)
    return ReasoningDelta(text) if channel == "reasoning" else ToolCallDelta(channel, text)


def _place(event: _Event, fields: Mapping[str, Any]) -> int | str | None:
    return event.output_index if event.output_index is not None else _text(fields, "id") or event.item_id


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    return cast("list[Any]", value) if isinstance(value, list) else []


def _texts(item: Mapping[str, Any]) -> Iterator[str]:
    """All text of a complete item; a blank line goes between two pieces of reasoning."""
    if item.get("type") == "function_call":
        pieces = [_text(item, "arguments")]
    else:
        listed = [_fields(each) for name in ("summary", "content") for each in _list(item, name)]
        pieces = [_text(each, "text") or _text(each, "refusal") for each in listed]
    between = "\n\n" if item.get("type") == "reasoning" else ""
    if text := between.join(piece for piece in pieces if piece):
        yield text


def _fields(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _storable(value: Any) -> Any:
    """JSON with all its text storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {storable(name): _storable(each) for name, each in cast("dict[str, Any]", value).items()}
    return value


def _usage(given: dict[str, Any]) -> Usage:
    prompt, completion = count(given, "input_tokens") or 0, count(given, "output_tokens") or 0
    total = count(given, "total_tokens") or prompt + completion
    details = given.get("input_tokens_details")
    return Usage(
        completion_tokens=completion,
        prompt_tokens=prompt,
        total_tokens=total,
        step_count=1,
        cached_input_tokens=count(details, "cached_tokens"),
        cache_write_tokens=count(details, "cache_write_tokens"),
        reasoning_tokens=count(given.get("output_tokens_details"), "reasoning_tokens"),
        context_tokens=total,
    )
