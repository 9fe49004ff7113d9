"""Events as SSE frames: the only place that knows what a frame looks like.

One line of ASCII JSON a frame, no `event:` line but for errors, no `id:` lines: the profile that all four official SDKs
read. The part of a frame that repeats from token to token is rendered once.
"""

from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

from msgspec import structs

from perdure.domain import events
from perdure.domain.events import AnyEvent
from perdure.domain.ids import new_id, now
from perdure.domain.messages import ToolCallPart, ToolReturnPart
from perdure.wire.generations import Generation
from perdure.wire.json import ascii_json
from perdure.wire.messages import compaction_stats, tool_call, tool_return, usage_statistics
from perdure.wire.times import whole_seconds

DONE: Final = b"data: [DONE]\n\n"

HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class Frames:
    """Encodes one run's events for one reader, who has read up to the event `after`."""

    end = DONE

    def __init__(self, run_id: str, generation: Generation, *, pings: bool, after: int = 0) -> None:
        self._run_id = run_id
        self._generation = generation
        self._pings = pings
        self._seq = after
        self._head_key: tuple[str, int] = ("", 0)
        self._head = ""
        self._member: tuple[str | None, str | None] = (None, None)
        """Name and id of the agent that speaks, where it is one of a group."""

    def encode(self, batch: list[tuple[int, AnyEvent]]) -> bytes:
        """The frames of a batch of numbered events, as one piece of bytes."""
        self._seq = batch[-1][0]
        return "".join([self._frame(seq, event) for seq, event in batch]).encode("ascii")

    def ping(self) -> bytes:
        """An idle ping: it belongs to this reader and repeats the last number. Empty where pings are off."""
        return self._ping(new_id("ping"), now(), self._seq).encode("ascii") if self._pings else b""

    def _frame(self, seq: int, event: AnyEvent) -> str:
        match event:
            case events.AssistantText():
                return f'{self._piece(event, "assistant_message", seq)}"content":{_text(event.text)}}}\n\n'
            case events.Reasoning():
                source = "reasoner_model" if event.native else "non_reasoner_model"
                rest = f'"source":"{source}","reasoning":{_text(event.text)},"signature":{_json(event.signature)}'
                return f"{self._piece(event, 'reasoning_message', seq)}{rest}}}\n\n"
            case events.ToolCallDelta():
                return self._call_delta(seq, event, "tool_call_message", with_nulls=False)
            case events.ApprovalDelta():
                return self._call_delta(seq, event, "approval_request_message", with_nulls=True)
            case events.ToolCalls():
                return self._calls(seq, event, "tool_call_message", event.calls)
            case events.ApprovalRequest():
                return self._calls(seq, event, "approval_request_message", event.calls)
            case events.ToolReturns():
                return self._returns(seq, event, event.returns)
            case events.HiddenReasoning():
                rest = f'"state":"{event.state}","hidden_reasoning":{_json(event.data)}'
                return f"{self._piece(event, 'hidden_reasoning_message', seq)}{rest}}}\n\n"
            case events.ByMember():
                self._member = event.name, event.agent_id
                frame = self._frame(seq, event.event)
                self._member = None, None
                return frame
            case events.CompactionBegan() | events.Summary():
                return self._compaction(seq, event)
            case events.Started():
                return self._ping(event.ping_id, event.at, seq) if self._pings else ""
            case events.Stopped():
                return self._stopped(seq, event)
            case events.UsageReported():
                return self._usage(seq, event)
            case events.Failed():
                return self._failed(seq, event)

    def _piece(self, event: events.Piece, message_type: str, seq: int, name: str | None = None) -> str:
        """A frame up to its own keys. All that stays the same for a part within one second is kept."""
        key = (event.otid, event.at // 1_000_000)
        if key != self._head_key or name is not None:
            self._head_key = key if name is None else ("", 0)
            speaker, sender_id = self._member
            self._head = (
                f'data: {{"id":"{event.message_id}","date":"{whole_seconds(event.at)}","name":{_json(name or speaker)},'
                f'"message_type":"{message_type}","otid":"{event.otid}","sender_id":{_json(sender_id)},'
                f'"step_id":{_json(event.step_id)},"is_err":null,"seq_id":'
            )
        return f'{self._head}{seq},"run_id":"{self._run_id}",'

    def _call_delta(
        self, seq: int, event: events.ToolCallDelta | events.ApprovalDelta, message_type: str, *, with_nulls: bool
    ) -> str:
        delta = {"name": event.name, "arguments": event.arguments, "tool_call_id": event.call_id}
        if not with_nulls:
            delta = {key: value for key, value in delta.items() if value is not None}
        text = _json(delta)
        return f'{self._piece(event, message_type, seq)}"tool_call":{text},"tool_calls":{text}}}\n\n'

    def _calls(self, seq: int, event: events.Piece, message_type: str, calls: tuple[ToolCallPart, ...]) -> str:
        every = [tool_call(call) for call in calls]
        return f'{self._piece(event, message_type, seq)}"tool_call":{_json(every[0])},"tool_calls":{_json(every)}}}\n\n'

    def _returns(self, seq: int, event: events.Piece, returns: tuple[ToolReturnPart, ...]) -> str:
        every = [tool_return(part) for part in returns]
        first = {key: value for key, value in every[0].items() if key != "type"} | {"tool_return": returns[0].text}
        rest = f'{_json(first)[1:-1]},"tool_returns":{_json(every)}'
        return f"{self._piece(event, 'tool_return_message', seq, returns[0].name)}{rest}}}\n\n"

    def _compaction(self, seq: int, event: events.CompactionBegan | events.Summary) -> str:
        """Two types that 0.1.x readers do not know: one of them would end an npm 0.1.x stream."""
        if self._generation is Generation.V0:
            return ""
        if isinstance(event, events.Summary):
            rest = f'"summary":{_text(event.text)},"compaction_stats":{_json(compaction_stats(event.stats))}'
            return f"{self._piece(event, 'summary_message', seq)}{rest}}}\n\n"
        body: dict[str, Any] = {
            "id": event.event_id, "date": whole_seconds(event.at), "name": None, "message_type": "event_message",
            "otid": None, "sender_id": None, "step_id": None, "is_err": None, "seq_id": seq, "run_id": self._run_id,
            "event_type": "compaction",
            "event_data": {
                "trigger": event.trigger, "context_token_estimate": event.context_tokens,
                "context_window": event.context_window,
            },
        }  # fmt: skip
        return _data(body)

    def _ping(self, ping_id: str, at: int, seq: int) -> str:
        return (
            f'data: {{"id":"{ping_id}","date":"{whole_seconds(at)}","name":null,"message_type":"ping","otid":null,'
            f'"sender_id":null,"step_id":null,"is_err":null,"seq_id":{seq},"run_id":"{self._run_id}"}}\n\n'
        )

    def _usage(self, seq: int, event: events.UsageReported) -> str:
        asked: dict[str, Any] = {} if event.logprobs is None else {"logprobs": structs.asdict(event.logprobs)}
        return _data({**usage_statistics(event.usage), **asked, "seq_id": seq, "run_id": self._run_id})

    def _stopped(self, seq: int, event: events.Stopped) -> str:
        body: dict[str, Any] = {
            "message_type": "stop_reason", "stop_reason": event.stop_reason, "seq_id": seq, "run_id": self._run_id
        }  # fmt: skip
        if event.error is not None and self._generation is Generation.V0:
            error = event.error
            body["error"] = {"error_type": error.error_type, "message": error.message, "detail": error.detail}
        return _data(body)

    def _failed(self, seq: int, event: events.Failed) -> str:
        """0.1.x readers find the error on the stop_reason frame: an unknown type would end an npm 0.1.x stream."""
        if self._generation is Generation.V0:
            return ""
        error = event.error
        body = {
            "message_type": "error_message", "run_id": self._run_id, "error_type": error.error_type,
            "message": error.message, "detail": error.detail, "seq_id": seq,
        }  # fmt: skip
        return f"event: error\n{_data(body)}"


class FewerFrames(Frames):
    """For npm 0.1.x, whose stream of a group would end at a type that it has not: those are left out.

    Why the run stopped, and the error where there was one, is told with its usage.
    """

    _stop: events.Stopped | None = None

    def ping(self) -> bytes:
        return b""

    def _frame(self, seq: int, event: AnyEvent) -> str:
        if isinstance(event, events.Stopped):
            self._stop = event
        return super()._frame(seq, event) if isinstance(event, _KNOWN_TO_ALL) else ""

    def _usage(self, seq: int, event: events.UsageReported) -> str:
        body = {**usage_statistics(event.usage), "seq_id": seq, "run_id": self._run_id}
        stop = self._stop
        if stop is not None:
            body |= {"stop_reason": stop.stop_reason, "error": stop.error and structs.asdict(stop.error)}
        return _data(body)


_KNOWN_TO_ALL: Final = (
    events.AssistantText, events.Reasoning, events.ToolCallDelta, events.ToolCalls, events.ToolReturns,
    events.ByMember, events.UsageReported,
)  # fmt: skip


def _text(text: str) -> str:
    return quoted(text) if "[DONE]" not in text else quoted(text).replace("[DONE]", "\\u005bDONE]")


def _json(value: object) -> str:
    """ASCII JSON in which `[DONE]` cannot be mistaken for the end: npm 0.1.x looks for it anywhere in a line."""
    text = ascii_json(value)
    return text.replace("[DONE]", "\\u005bDONE]") if "[DONE]" in text else text


def _data(body: dict[str, Any]) -> str:
    return f"data: {_json(body)}\n\n"
