"""What a scripted model says: pieces of an answer, and how the OpenAI chat protocol carries them.

`claude.py` has the same for Anthropic's messages.
"""

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

LIMIT = 30.0
"""Seconds an answer is held back at most."""

_call_ids = itertools.count(1)


@dataclass(frozen=True)
class Text:
    deltas: tuple[str, ...]


@dataclass(frozen=True)
class Reasoning:
    deltas: tuple[str, ...]


@dataclass(frozen=True)
class Redacted:
    """Reasoning that the vendor keeps to itself. The chat protocol has no word for it."""

    data: str


@dataclass(frozen=True)
class Call:
    """A tool call. `arguments` is JSON text as the model would write it, right or wrong."""

    name: str
    arguments: str
    id: str
    fragments: int = 3

    def pieces(self) -> list[str]:
        size = max(1, -(-len(self.arguments) // self.fragments))
        return [self.arguments[at : at + size] for at in range(0, len(self.arguments), size)]


@dataclass(frozen=True)
class Parallel:
    """Calls whose fragments arrive interleaved."""

    calls: tuple[Call, ...]


class Hold:
    """Keeps the rest of an answer back until the test releases it; as the first piece, the headers too."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = False
        self._lock = threading.Lock()
        self._wake: list[Any] = []

    def release(self) -> None:
        with self._lock:
            self._released = True
            for wake in self._wake:
                wake()

    def wait_reached(self, limit: float = LIMIT) -> None:
        if not self.reached.wait(limit):
            raise TimeoutError(f"the model did not come to the hold within {limit} s")

    async def passed(self) -> None:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if not self._released:
                self._wake.append(lambda: loop.call_soon_threadsafe(event.set))
            else:
                event.set()
        self.reached.set()
        await asyncio.wait_for(event.wait(), LIMIT)


@dataclass(frozen=True)
class Pause:
    """The model takes its time, in seconds."""

    seconds: float


class Cut:
    """The connection breaks here."""


@dataclass(frozen=True)
class Raw:
    """Bytes written as they are, for a provider that breaks the protocol."""

    data: bytes


Piece = Text | Reasoning | Redacted | Call | Parallel | Hold | Pause | Cut | Raw


@dataclass(frozen=True)
class Answer:
    """`finish` None leaves the reason out; `usage` is (prompt, completion) tokens, None to report nothing."""

    pieces: tuple[Piece, ...]
    finish: str | Literal["as made"] | None = "as made"
    usage: tuple[int, int] | None = (100, 10)
    done: bool = True

    @property
    def calls(self) -> list[Call]:
        found: list[Call] = []
        for piece in self.pieces:
            found += [piece] if isinstance(piece, Call) else piece.calls if isinstance(piece, Parallel) else []
        return found

    @property
    def reason(self) -> str | None:
        if self.finish == "as made":
            return "tool_calls" if self.calls else "stop"
        return self.finish


@dataclass(frozen=True)
class Refusal:
    """An answer that is no completion: an HTTP error, or with `body` anything at all under any status."""

    status: int
    message: str = "refused by the script"
    body: str | None = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        error = {"message": self.message, "type": "scripted", "param": None, "code": None}
        return json.dumps({"error": error}) if self.body is None else self.body


def text(*deltas: str) -> Text:
    return Text(deltas)


def reasoning(*deltas: str) -> Reasoning:
    return Reasoning(deltas)


def redacted(data: str) -> Redacted:
    return Redacted(data)


def call(
    name: str, arguments: dict[str, Any] | str | None = None, *, id: str | None = None, fragments: int = 3
) -> Call:
    """A call of `name`; a string is sent as it is, so it may be broken JSON."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return Call(name, written, id or f"call_{next(_call_ids):08x}", fragments)


def parallel(*calls: Call) -> Parallel:
    return Parallel(calls)


def chunks(answer: Answer, model: str, top: int | None = None) -> Iterator[dict[str, Any] | Hold | Pause | Cut | Raw]:
    """The answer as stream chunks, with holds, pauses, cuts and raw bytes in their places.

    Each text delta carries log probabilities with those of the `top` likeliest tokens, unless that is None.
    """
    begun = False
    indexes = itertools.count()
    for piece in answer.pieces:
        if not begun and not isinstance(piece, Hold):
            begun = True
            yield _chunk(model, {"role": "assistant", "content": ""})
        if isinstance(piece, Hold | Pause | Cut | Raw):
            yield piece
        elif not isinstance(piece, Redacted):
            for delta in _deltas(piece, indexes):
                likely = None if top is None or "content" not in delta else [likelihood(delta["content"], top)]
                yield _chunk(model, delta, likely=likely)
    if answer.reason is not None:
        yield _chunk(model, {}, answer.reason)
    if answer.usage is not None:
        yield _chunk(model, None, usage=_usage(answer.usage))
    if answer.done:
        yield Raw(b"data: [DONE]\n\n")


def completion(answer: Answer, model: str) -> dict[str, Any]:
    """The answer as one completion, for a caller that does not stream."""
    message: dict[str, Any] = {"role": "assistant", "content": _joined(answer, Text) or None}
    if thought := _joined(answer, Reasoning):
        message["reasoning_content"] = thought
    if answer.calls:
        message["tool_calls"] = [_tool_call(each, each.arguments) for each in answer.calls]
    choice = {"index": 0, "message": message, "finish_reason": answer.reason}
    usage = {"usage": _usage(answer.usage)} if answer.usage else {}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], **usage}


def likelihood(token: str, top: int) -> dict[str, Any]:
    """The log probability of one token, as the model says it."""
    said = {"token": token, "logprob": -0.5, "bytes": list(token.encode())}
    return {**said, "top_logprobs": [{**said, "logprob": -0.5 - rank} for rank in range(top)]}


def _joined(answer: Answer, kind: type[Text] | type[Reasoning]) -> str:
    return "".join("".join(piece.deltas) for piece in answer.pieces if isinstance(piece, kind))


def _deltas(piece: Text | Reasoning | Call | Parallel, indexes: Iterator[int]) -> Iterator[dict[str, Any]]:
    match piece:
        case Text(deltas):
            yield from ({"content": delta} for delta in deltas)
        case Reasoning(deltas):
            yield from ({"reasoning_content": delta} for delta in deltas)
        case Call():
            yield from _call_deltas(piece, next(indexes))
        case Parallel(calls):
            lanes = [_call_deltas(each, next(indexes)) for each in calls]
            yield from (delta for row in itertools.zip_longest(*lanes) for delta in row if delta)


def _call_deltas(piece: Call, index: int) -> Iterator[dict[str, Any]]:
    yield {"tool_calls": [{"index": index, **_tool_call(piece, "")}]}
    for fragment in piece.pieces():
        yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _tool_call(piece: Call, arguments: str) -> dict[str, Any]:
    return {"id": piece.id, "type": "function", "function": {"name": piece.name, "arguments": arguments}}


def _usage(tokens: tuple[int, int]) -> dict[str, int]:
    prompt, made = tokens
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def _chunk(
    model: str,
    delta: dict[str, Any] | None,
    finish: str | None = None,
    usage: dict[str, int] | None = None,
    likely: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
    choice["logprobs"] = None if likely is None else {"content": likely, "refusal": None}
    choices = [] if delta is None else [choice]
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    return {**chunk, "usage": usage} if usage else chunk
