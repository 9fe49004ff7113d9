"""A run as a response of OpenAI's Responses, whole or as it grows.

Reasoning is shown as summaries. What the agent does with its own tools is not shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final, Literal

import msgspec

from perdure.domain import events
from perdure.domain.events import AnyEvent
from perdure.domain.runs import RunError, StopReason, Usage
from perdure.wire.json import ascii_json
from perdure.wire.openai_calls import OwnCalls
from perdure.wire.openai_errors import openai_error
from perdure.wire.openai_requests import ResponsesBody

_INCOMPLETE: Final[Mapping[StopReason, str | None]] = {
    "cancelled": None,
    "max_steps": "max_output_tokens",
    "max_tokens_exceeded": "max_output_tokens",
}
"""Why a run ended early, as far as OpenAI has a word for it; with any other reason it is complete, or has failed."""

_Kind = Literal["message", "reasoning", "function_call"]
_IDS: Final[Mapping[_Kind, str]] = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
_DELTAS: Final[Mapping[_Kind, str]] = {
    "message": "response.output_text.delta",
    "reasoning": "response.reasoning_summary_text.delta",
    "function_call": "response.function_call_arguments.delta",
}


class _Item:
    """An output item that is growing: at its place among the output, with the beginning of each of its deltas."""

    def __init__(self, kind: _Kind, key: str, place: int, fields: dict[str, Any]) -> None:
        self.kind: _Kind = kind
        self.key = key
        self.fields = fields
        self.pieces: list[str] = []
        self.about: dict[str, Any] = {"output_index": place, "item_id": fields["id"]}
        part = {"message": {"content_index": 0}, "reasoning": {"summary_index": 0}, "function_call": {}}[kind]
        self.part = {**self.about, **part}
        delta = {"type": _DELTAS[kind], **self.part, **({"logprobs": []} if kind == "message" else {})}
        self.head = f'event: {_DELTAS[kind]}\ndata: {ascii_json(delta)[:-1]},"delta":'


class ResponseFrames:
    """Encodes one run's events, and collects them into the response. `error` says why the run failed, where it did.

    Of the frames only those with a number beyond `after` are shown.
    """

    end = b""

    def __init__(self, run_id: str, asked: ResponsesBody, own_tools: frozenset[str], *, after: int = -1) -> None:
        self._id = response_id(run_id)
        self._asked = asked
        self._own = OwnCalls(own_tools)
        self._created = 0
        self._number = 0
        self._after = after
        self._output: list[dict[str, Any]] = []
        self._open: _Item | None = None
        self._called: set[str] = set()
        self._waiting: dict[tuple[_Kind, str], list[tuple[str, str | None]]] = {}
        self._stopped: events.Stopped | None = None
        self._usage: Usage | None = None
        self.error: RunError | None = None

    def encode(self, batch: Iterable[tuple[int, AnyEvent]]) -> bytes:
        """The frames of a batch of events, as one piece of bytes."""
        frames = [frame for _, event in batch for frame in self._frames(event)]
        hidden = max(0, self._after + 1 - (self._number - len(frames)))
        return "".join(frames[hidden:]).encode("ascii")

    def take(self, batch: Iterable[tuple[int, AnyEvent]]) -> None:
        """Add a batch of events without showing them."""
        self.encode(batch)

    def ping(self) -> bytes:
        """A sign of life in a silence, which every reader passes over."""
        return b": ping\n\n"

    def body(self) -> dict[str, Any]:
        """The response as it stands."""
        asked, stop = self._asked, None if self.error else self._stopped
        reason = stop and _INCOMPLETE.get(stop.stop_reason)
        tools = [
            {"type": "function", **tool.model_dump(exclude={"type"}), "strict": False} for tool in asked.tools or ()
        ]
        return {
            "id": self._id, "object": "response", "created_at": self._created, "status": self._status,
            "background": bool(asked.background),
            "error": self.error and _error(self.error), "incomplete_details": reason and {"reason": reason},
            "instructions": None, "max_output_tokens": None, "metadata": asked.metadata or {}, "model": asked.model,
            "output": self._output, "parallel_tool_calls": True, "previous_response_id": asked.previous_response_id,
            "reasoning": {"effort": None, "summary": None}, "store": True, "temperature": None,
            "text": {"format": {"type": "text"}}, "tool_choice": asked.tool_choice or "auto", "tools": tools,
            "top_p": None, "truncation": "disabled", "usage": self._usage and _usage(self._usage),
        }  # fmt: skip

    @property
    def _status(self) -> str:
        if self.error is not None or self._stopped is None:
            return "in_progress" if self.error is None else "failed"
        stop = self._stopped.stop_reason
        return "cancelled" if stop == "cancelled" else "incomplete" if stop in _INCOMPLETE else "completed"

    def _frames(self, event: AnyEvent) -> Iterator[str]:
        match event:
            case events.AssistantText():
                yield from self._in_turn("message", event.otid, event.text)
            case events.Reasoning():
                yield from self._in_turn("reasoning", event.otid, event.text)
            case events.ApprovalDelta() | events.ApprovalRequest():
                for piece in self._own.pieces(event):
                    yield from self._in_turn("function_call", piece.call_id, piece.arguments, piece.name)
            case events.Started():
                self._created = event.at // 1_000_000
                yield self._frame("response.created", response=self.body())
                yield self._frame("response.in_progress", response=self.body())
            case events.Stopped():
                for (kind, key), pieces in self._waiting.items():
                    for text, name in pieces:
                        yield from self._grow(kind, key, text, name)
                yield from self._close()
                self._stopped = event
                self.error = event.error
                if event.stop_reason == "requires_approval":
                    self.error = self._own.hindrance()
            case events.UsageReported():
                # The last event but for failures, of which `stop_reason` has told already.
                self._usage = event.usage
                ending = self._status if self._status != "cancelled" else "incomplete"
                yield self._frame(f"response.{ending}", response=self.body())
            case _:
                pass

    def _in_turn(self, kind: _Kind, key: str, text: str, name: str | None = None) -> Iterator[str]:
        """Shows a fragment, unless a call is being written: items grow one after the other, as readers expect."""
        item = self._open
        waits = item is not None and item.kind == "function_call" and item.key != key
        if item is not None and waits and (self._waiting or not _is_whole("".join(item.pieces))):
            self._waiting.setdefault((kind, key), []).append((text, name))
        else:
            yield from self._grow(kind, key, text, name)

    def _grow(self, kind: _Kind, key: str, text: str, name: str | None) -> Iterator[str]:
        item = self._open
        if item is None or (item.kind, item.key) != (kind, key):
            if key in self._called:
                return
            yield from self._close()
            item = self._open = self._begun(kind, key, name)
            yield self._frame("response.output_item.added", output_index=item.about["output_index"], item=item.fields)
            if kind != "function_call":
                opening = "content_part" if kind == "message" else "reasoning_summary_part"
                yield self._frame(f"response.{opening}.added", **item.part, part=_part(kind, ""))
        if text:
            yield self._delta(item, text)

    def _begun(self, kind: _Kind, key: str, name: str | None) -> _Item:
        fields: dict[str, Any] = {"id": f"{_IDS[kind]}_{key}", "type": kind, "status": "in_progress"}
        match kind:
            case "message":
                fields |= {"role": "assistant", "content": []}
            case "reasoning":
                fields |= {"summary": []}
            case "function_call":
                self._called.add(key)
                fields |= {"call_id": key, "name": name, "arguments": ""}
        item = _Item(kind, key, len(self._output), fields)
        self._output.append(fields)
        return item

    def _delta(self, item: _Item, text: str) -> str:
        item.pieces.append(text)
        self._number += 1
        return f'{item.head}{quoted(text)},"sequence_number":{self._number - 1}}}\n\n'

    def _close(self) -> Iterator[str]:
        item, self._open = self._open, None
        if item is not None:
            yield from self._end(item)

    def _end(self, item: _Item) -> Iterator[str]:
        """Completes an item, in the output too."""
        text, fields = "".join(item.pieces), item.fields
        if item.kind == "function_call":
            fields |= {"arguments": text, "status": "completed"}
            yield self._frame("response.function_call_arguments.done", **item.part, name=fields["name"], arguments=text)
        elif item.kind == "message":
            fields |= {"content": [_part(item.kind, text)], "status": "completed"}
            yield self._frame("response.output_text.done", **item.part, text=text, logprobs=[])
            yield self._frame("response.content_part.done", **item.part, part=_part(item.kind, text))
        else:
            fields |= {"summary": [_part(item.kind, text)], "status": "completed"}
            yield self._frame("response.reasoning_summary_text.done", **item.part, text=text)
            yield self._frame("response.reasoning_summary_part.done", **item.part, part=_part(item.kind, text))
        yield self._frame("response.output_item.done", output_index=item.about["output_index"], item=fields)

    def _frame(self, kind: str, **fields: Any) -> str:
        self._number += 1
        body = {"type": kind, "sequence_number": self._number - 1, **fields}
        return f"event: {kind}\ndata: {ascii_json(body)}\n\n"


def response_id(run_id: str) -> str:
    """The id of a run's response; the run's own can be read from it."""
    return f"resp_{run_id.removeprefix('run-')}"


def _is_whole(arguments: str) -> bool:
    """Whether a call's arguments are complete, so that nothing more of it can come."""
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def _part(kind: _Kind, text: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "summary_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _error(error: RunError) -> dict[str, Any]:
    told = openai_error(error)
    code = "rate_limit_exceeded" if error.error_type == "llm_rate_limit" else "server_error"
    return {"code": code, "message": told["message"]}


def _usage(counted: Usage) -> dict[str, Any]:
    """A run's tokens, summed over its model calls."""
    return {
        "input_tokens": counted.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": counted.cached_input_tokens or 0,
            "cache_write_tokens": counted.cache_write_tokens or 0,
        },
        "output_tokens": counted.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counted.reasoning_tokens or 0},
        "total_tokens": counted.total_tokens,
    }
