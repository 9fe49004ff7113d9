"""A run as a chat completion, whole or in chunks, the way OpenAI's clients read it.

Reasoning goes in `reasoning_content`, as most servers beside OpenAI's have it. What the agent does with its own tools
is not shown. Texts that it says before and after using them are parted by a blank line.
"""

from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

from perdure.domain import events
from perdure.domain.events import AnyEvent
from perdure.domain.runs import Logprobs, RunError, StopReason, Usage
from perdure.wire.json import ascii_json
from perdure.wire.openai_calls import CallPiece, OwnCalls
from perdure.wire.openai_errors import openai_error
from perdure.wire.sse import DONE

_FINISH: Final[dict[StopReason, str]] = {
    "max_steps": "length",
    "max_tokens_exceeded": "length",
    "requires_approval": "tool_calls",
}
"""Everything else is a `stop`."""


class ChatFrames:
    """Encodes one run's events as chunks. `address` is what the caller named as the model."""

    end = DONE

    def __init__(self, run_id: str, address: str, own_tools: frozenset[str], *, include_usage: bool) -> None:
        self._id = completion_id(run_id)
        self._address = address
        self._own = OwnCalls(own_tools)
        self._include_usage = include_usage
        self._head = ""
        self._otid = ""
        self._stopped: events.Stopped | None = None

    def encode(self, batch: Iterable[tuple[int, AnyEvent]]) -> bytes:
        """The chunks of a batch of events, as one piece of bytes."""
        return "".join([self._frame(event) for _, event in batch]).encode("ascii")

    def ping(self) -> bytes:
        """A sign of life in a silence, which every reader passes over."""
        return b": ping\n\n"

    def _frame(self, event: AnyEvent) -> str:
        match event:
            case events.AssistantText():
                gap = "\n\n" if self._otid not in ("", event.otid) else ""
                self._otid = event.otid
                return self._delta(f'{{"content":{quoted(gap + event.text)}}}')
            case events.Reasoning():
                return self._delta(f'{{"reasoning_content":{quoted(event.text)}}}')
            case events.ApprovalDelta() | events.ApprovalRequest():
                return "".join([self._call(piece) for piece in self._own.pieces(event)])
            case events.Started():
                self._head = (
                    f'data: {{"id":"{self._id}","object":"chat.completion.chunk","created":{event.at // 1_000_000},'
                    f'"model":{quoted(self._address)},"choices":['
                )
                return self._delta('{"role":"assistant","content":""}')
            case events.Stopped():
                self._stopped = event
                return ""
            case events.UsageReported():
                cost = f'{self._head}],"usage":{ascii_json(usage(event.usage))}}}\n\n' if self._include_usage else ""
                return self._finish(event.logprobs) + cost
            case events.Failed():
                return _failed(event.error)
            case _:
                return ""

    def _delta(self, delta: str, finish: str = "null", likely: str = "null") -> str:
        return f'{self._head}{{"index":0,"delta":{delta},"logprobs":{likely},"finish_reason":{finish}}}]}}\n\n'

    def _call(self, piece: CallPiece) -> str:
        function: dict[str, Any] = {"arguments": piece.arguments}
        call: dict[str, Any] = {"index": piece.number, "function": function}
        if piece.name is not None:
            function = {"name": piece.name, **function}
            call = {"index": piece.number, "id": piece.call_id, "type": "function", "function": function}
        return self._delta(ascii_json({"tool_calls": [call]}))

    def _finish(self, logprobs: Logprobs | None) -> str:
        """Why the run ended, with the log probabilities of its last answer; nothing where it failed."""
        stopped = self._stopped
        if stopped is None or stopped.error is not None:
            return ""
        if stopped.stop_reason == "requires_approval" and (hindrance := self._own.hindrance()):
            return _failed(hindrance)
        return self._delta("{}", f'"{finish_reason(stopped.stop_reason)}"', ascii_json(_likely(logprobs)))


class ChatAnswer:
    """Collects one run's events into a completion. `error` says why there is none, where that is so.

    Where the answer has a form that the caller `formed`, only the last text is the answer.
    """

    def __init__(self, run_id: str, address: str, own_tools: frozenset[str], *, formed: bool = False) -> None:
        self._id = completion_id(run_id)
        self._address = address
        self._own = OwnCalls(own_tools)
        self._formed = formed
        self._created = 0
        self._texts: dict[str, list[str]] = {}
        self._thoughts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish = "stop"
        self._usage = Usage()
        self._logprobs: Logprobs | None = None
        self.error: RunError | None = None

    def take(self, batch: Iterable[tuple[int, AnyEvent]]) -> None:
        """Add a batch of events."""
        for _, event in batch:
            match event:
                case events.Started():
                    self._created = event.at // 1_000_000
                case events.AssistantText():
                    self._texts.setdefault(event.otid, []).append(event.text)
                case events.Reasoning():
                    self._thoughts.append(event.text)
                case events.ApprovalDelta() | events.ApprovalRequest():
                    for piece in self._own.pieces(event):
                        self._take_call(piece)
                case events.Stopped():
                    self._finish = finish_reason(event.stop_reason)
                    if event.stop_reason == "requires_approval":
                        self.error = self._own.hindrance()
                case events.UsageReported():
                    self._usage, self._logprobs = event.usage, event.logprobs
                case events.Failed():
                    self.error = event.error
                case _:
                    pass

    def body(self) -> dict[str, Any]:
        """The completion."""
        texts = ["".join(pieces) for pieces in self._texts.values()]
        content = "\n\n".join(texts[-1:] if self._formed else texts)
        message: dict[str, Any] = {"role": "assistant", "content": content or None, "refusal": None}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if self._calls:
            message["tool_calls"] = list(self._calls.values())
        choice = {"index": 0, "message": message, "logprobs": _likely(self._logprobs), "finish_reason": self._finish}
        return {
            "id": self._id, "object": "chat.completion", "created": self._created, "model": self._address,
            "choices": [choice], "usage": usage(self._usage),
        }  # fmt: skip

    def _take_call(self, piece: CallPiece) -> None:
        function = {"name": piece.name, "arguments": ""}
        call = self._calls.setdefault(piece.number, {"id": piece.call_id, "type": "function", "function": function})
        call["function"]["arguments"] += piece.arguments


def completion_id(run_id: str) -> str:
    """The id of a run's completion; the run's own can be read from it."""
    return f"chatcmpl-{run_id.removeprefix('run-')}"


def finish_reason(stop_reason: StopReason) -> str:
    return _FINISH.get(stop_reason, "stop")


def usage(counted: Usage) -> dict[str, Any]:
    """A run's tokens, summed over its model calls."""
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.total_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_input_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": counted.reasoning_tokens or 0},
    }


def _likely(logprobs: Logprobs | None) -> dict[str, Any] | None:
    return None if logprobs is None else {"content": logprobs.content, "refusal": logprobs.refusal}


def _failed(error: RunError) -> str:
    return f"data: {ascii_json({'error': openai_error(error)})}\n\n"
