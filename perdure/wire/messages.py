"""History as callers see it: one stored message becomes one public message for each of its logical parts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from perdure.domain.compaction import CompactionStats
from perdure.domain.ids import otid
from perdure.domain.messages import (
    VOICE,
    AnyPart,
    ApprovalPart,
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    SummaryPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    Voice,
    groups,
)
from perdure.domain.runs import Usage
from perdure.wire.generations import Generation
from perdure.wire.times import spelled_out, whole_seconds

Public = dict[str, Any]


def public(
    message: Message,
    generation: Generation,
    voice: Voice | None = VOICE,
    kinds: frozenset[str] | None = None,
) -> list[Public]:
    """The public messages of one stored message, in order; the ids and otids are those the stream showed.

    A call of the `voice` is shown as what it says, unless that is None. `kinds` are the types asked for, which decide
    how a summary is shown; None where all are.
    """
    if message.summary is not None:
        return [_summed_up(message, message.summary, generation, kinds)]
    match message.role:
        case "approval" if not message.tool_calls:
            return [_decided(message)]
        case "assistant" | "approval" | "tool":
            return _generated(message, single_calls=generation is Generation.V0, voice=voice)
        case "system":
            return [_message(message, "system_message", message.otid, content=message.text)]
        case "user" | "summary":
            return [_message(message, "user_message", message.otid, content=_content(message))]


def public_all(
    messages: Iterable[Message],
    generation: Generation,
    kinds: frozenset[str] | None = None,
    voice: Voice | None = VOICE,
) -> list[Public]:
    """The public messages of several, of the given message types only (None keeps all)."""
    shown = [item for message in messages for item in public(message, generation, voice, kinds)]
    return shown if kinds is None else [item for item in shown if item["message_type"] in kinds]


def voice_of(request_config: Mapping[str, Any]) -> Voice | None:
    """The voice that a run's caller asked for."""
    if not request_config.get("use_assistant_message", True):
        return None
    return Voice(
        request_config.get("assistant_message_tool_name", VOICE.tool),
        request_config.get("assistant_message_tool_kwarg", VOICE.argument),
    )


def _generated(message: Message, *, single_calls: bool, voice: Voice | None) -> list[Public]:
    shown: list[Public] = []
    for part_otid, parts in groups(message, single_calls=single_calls, voice=voice):
        # What a caller sent in the agent's name keeps the name that the caller gave it.
        rendered = _group(message, message.otid or part_otid, parts, voice)
        if rendered is not None:
            shown.append(rendered)
    return shown


def _group(message: Message, part_otid: str, parts: Sequence[AnyPart], voice: Voice | None) -> Public | None:
    first = parts[0]
    match first:
        case TextPart():
            return _message(message, "assistant_message", part_otid, content=_joined(parts))
        case ReasoningPart():
            source = "reasoner_model" if first.native else "non_reasoner_model"
            return _message(
                message,
                "reasoning_message",
                part_otid,
                source=source,
                reasoning=_joined(parts),
                signature=first.signature,
            )
        case HiddenReasoningPart():
            return _message(
                message, "hidden_reasoning_message", part_otid, state=first.state, hidden_reasoning=first.data
            )
        case ToolCallPart() if voice is not None and voice.speaks(first):
            return _message(message, "assistant_message", part_otid, content=voice.words(first))
        case ToolCallPart():
            calls = [tool_call(part) for part in parts if isinstance(part, ToolCallPart)]
            if message.role == "approval":
                return _message(message, "approval_request_message", message.id, tool_call=calls[0], tool_calls=calls)
            return _message(message, "tool_call_message", part_otid, tool_call=calls[0], tool_calls=calls)
        case ToolReturnPart():
            returns = [tool_return(part) for part in parts if isinstance(part, ToolReturnPart)]
            top = {key: value for key, value in returns[0].items() if key != "type"} | {"tool_return": first.text}
            shown = _message(message, "tool_return_message", part_otid, **top, tool_returns=returns)
            return {**shown, "name": first.name}
        case ApprovalPart() | ImagePart() | SummaryPart():
            return None


def _summed_up(message: Message, part: SummaryPart, generation: Generation, kinds: frozenset[str] | None) -> Public:
    """A summary as a message of its own kind, for callers who asked for that and know it; else as a note of a user."""
    asked = part.announced if kinds is None else "summary_message" in kinds
    part_otid, stats = otid(message.id, 0), compaction_stats(part.stats)
    if asked and generation is Generation.V1:
        return _message(message, "summary_message", part_otid, summary=part.text, compaction_stats=stats)
    note = {"type": "system_alert", "message": part.note, "time": spelled_out(message.created_at)}
    packed = msgspec.json.encode({**note, "compaction_stats": stats} if stats else note).decode()
    return _message(message, "user_message", part_otid, content=packed)


def _decided(message: Message) -> Public:
    """The answer to a request for approval, with the fields that 0.1.x callers require."""
    approvals = [_decision(part) for part in message.parts if isinstance(part, ApprovalPart | ToolReturnPart)]
    first = approvals[0]
    return _message(
        message, "approval_response_message", otid(message.id, 0), approvals=approvals,
        approve=first.get("approve", True), approval_request_id=first["tool_call_id"], reason=first.get("reason"),
    )  # fmt: skip


def _decision(part: ApprovalPart | ToolReturnPart) -> Public:
    if isinstance(part, ToolReturnPart):
        return tool_return(part)
    return {"type": "approval", "tool_call_id": part.call_id, "approve": part.approve, "reason": part.reason}


def _message(message: Message, message_type: str, part_otid: str | None, **own: Any) -> Public:
    return {
        "id": message.id,
        "date": whole_seconds(message.created_at),
        "name": message.name,
        "message_type": message_type,
        "otid": part_otid,
        "sender_id": message.sender_id,
        "step_id": message.step_id,
        "is_err": message.is_err or None,
        "seq_id": None,
        "run_id": message.run_id,
        **own,
    }


def tool_call(part: ToolCallPart) -> Public:
    """A whole call."""
    return {"name": part.name, "arguments": part.arguments, "tool_call_id": part.call_id}


def tool_return(part: ToolReturnPart) -> Public:
    """What answered one call."""
    return {
        "type": "tool",
        "tool_return": [{"type": "text", "text": part.text}, *map(_image, part.images)] if part.images else part.text,
        "status": part.status,
        "tool_call_id": part.call_id,
        "stdout": part.stdout,
        "stderr": part.stderr,
    }


def compaction_stats(stats: CompactionStats | None) -> Public | None:
    """What a compaction did."""
    return None if stats is None else msgspec.structs.asdict(stats)


def usage_statistics(usage: Usage) -> Public:
    """A run's usage, with the keys of both generations."""
    return {"message_type": "usage_statistics", **msgspec.structs.asdict(usage)}


def _content(message: Message) -> str | list[Public]:
    """A text as a string; a list of parts where there are several, or an image."""
    if len(message.parts) == 1 and isinstance(message.parts[0], TextPart):
        return message.text
    content: list[Public] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            content.append(_image(part))
    return content


def _image(part: ImagePart) -> Public:
    source = {"type": "base64", "media_type": part.media_type, "data": part.data, "detail": part.detail}
    return {"type": "image", "source": source}


def _joined(parts: Sequence[AnyPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart | ReasoningPart))
