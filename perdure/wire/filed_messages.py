"""Messages as agent files hold them: content, calls and returns in fields of their own, in the contract's spelling.

What that spelling cannot say of a message (the order of its parts, what a vendor wants back, a summary's figures) goes
beside it under `perdure`, which other readers pass over. It is written only where reading the rest would not do.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from perdure.domain.errors import Invalid
from perdure.domain.ids import new_id, now
from perdure.domain.messages import (
    PARTS_DECODER,
    AnyPart,
    ApprovalPart,
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    SummaryPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    envelope_in,
)
from perdure.wire.filing import OURS, maps
from perdure.wire.times import microseconds, precise, spelled_out

Wire = dict[str, Any]

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "approval": "approval",
    "summary": "summary",
}
_FAILED: Final = frozenset({"error", "failed"})


def filed(message: Message, message_id: str, agent_id: str) -> Wire:
    """A message under an id of the file's own."""
    wire = _filed(message, message_id, agent_id)
    read = unfiled(wire)
    if (read.role, read.parts) != (message.role, message.parts):
        wire[OURS] = {"role": message.role, "parts": msgspec.to_builtins(message.parts)}
    return wire


def unfiled(wire: Mapping[str, Any]) -> Message:
    """The message in a file, with a fresh id and of no agent yet. Raises Invalid saying what is wrong with it."""
    role = _ROLES.get(_text(wire.get("role")) or "")
    if role is None:
        raise Invalid(f"has the role {wire.get('role')!r}, which is none of {', '.join(_ROLES)}")
    ours = wire.get(OURS)
    if isinstance(ours, Mapping):
        role, parts = _native(ours)
    else:
        parts = _parts(role, wire)
    return Message(
        id=new_id("message"),
        agent_id="",
        role=role,
        parts=parts,
        created_at=_time(wire.get("created_at")),
        name=_text(wire.get("name")),
    )


def unfiled_all(wires: Any, *, thoughts: bool = False) -> dict[str, Message]:
    """The messages in a list of a file by its ids, in its order; those that hold nothing are left out.

    With `thoughts` their agent speaks through a tool, and text that it wrote beside a call is what it thought. Raises
    Invalid naming the message that cannot be read, or an id that comes twice.
    """
    found: dict[str, Message] = {}
    names: dict[str, str] = {}
    for number, wire in enumerate(maps(wires)):
        message_id = _text(wire.get("id")) or f"number {number}"
        if message_id in found:
            raise Invalid(f"The message {message_id} is in the file twice.")
        try:
            message = unfiled(wire)
        except Invalid as error:
            raise Invalid(f"The message {message_id} {error.message}.") from error
        names |= {call.call_id: call.name for call in message.tool_calls}
        if message.parts:
            parts = tuple(_named(part, names) for part in message.parts)
            if thoughts and message.tool_calls:
                parts = tuple(ReasoningPart(text=p.text, native=False) if isinstance(p, TextPart) else p for p in parts)
            found[message_id] = msgspec.structs.replace(message, parts=parts)
    return found


def _named(part: AnyPart, names: Mapping[str, str]) -> AnyPart:
    """A return with the name of what was called, of which files have only one for several."""
    if not isinstance(part, ToolReturnPart):
        return part
    return msgspec.structs.replace(part, name=names.get(part.call_id, part.name))


def _filed(message: Message, message_id: str, agent_id: str) -> Wire:
    calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    returns = [part for part in message.parts if isinstance(part, ToolReturnPart)]
    decisions = [part for part in message.parts if isinstance(part, ApprovalPart)]
    return {
        "type": "message",
        "id": message_id,
        "agent_id": agent_id,
        "role": "user" if message.role == "summary" else message.role,
        "content": _content(message, returns),
        "name": message.name,
        "otid": None,
        "sender_id": None,
        "batch_item_id": None,
        "group_id": None,
        "model": None,
        "tool_calls": calls or None,
        "tool_call_id": returns[0].call_id if returns else None,
        "tool_returns": [_return(part, message.created_at) for part in returns],
        "approve": decisions[0].approve if decisions else None,
        "approval_request_id": decisions[0].call_id if decisions else None,
        "denial_reason": decisions[0].reason if decisions else None,
        "approvals": [_decision(part) for part in decisions] or None,
        "created_at": precise(message.created_at),
    }


def _content(message: Message, returns: Sequence[ToolReturnPart]) -> list[Wire]:
    if returns:
        return [{"type": "text", "text": _packed(returns[0], message.created_at)}]
    return [content for part in message.parts if (content := _piece(part, message.created_at)) is not None]


def _piece(part: AnyPart, at: int) -> Wire | None:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ReasoningPart():
            return {
                "type": "reasoning", "reasoning": part.text, "is_native": part.native, "signature": part.signature,
            }  # fmt: skip
        case HiddenReasoningPart(state="redacted"):
            return {"type": "redacted_reasoning", "data": part.data or ""}
        case HiddenReasoningPart():
            return {"type": "omitted_reasoning"}
        case ImagePart():
            source = {"type": "base64", "media_type": part.media_type, "data": part.data, "detail": part.detail}
            return {"type": "image", "source": source}
        case SummaryPart():
            note = {"type": "system_alert", "message": part.note, "time": spelled_out(at)}
            return {"type": "text", "text": json.dumps(note)}
        case _:
            return None


def _return(part: ToolReturnPart, at: int) -> Wire:
    return {
        "tool_call_id": part.call_id,
        "status": part.status,
        "stdout": part.stdout,
        "stderr": part.stderr,
        "func_response": _packed(part, at),
    }


def _packed(part: ToolReturnPart, at: int) -> str:
    """A return as it stands in older histories."""
    status = "OK" if part.status == "success" else "Failed"
    return json.dumps({"status": status, "message": part.text, "time": spelled_out(at)})


def _decision(part: ApprovalPart) -> Wire:
    return {"type": "approval", "tool_call_id": part.call_id, "approve": part.approve, "reason": part.reason}


def _native(ours: Mapping[str, Any]) -> tuple[Role, tuple[AnyPart, ...]]:
    try:
        role: Role = msgspec.convert(ours.get("role"), Role)
        return role, PARTS_DECODER.decode(msgspec.json.encode(ours.get("parts")))
    except (msgspec.MsgspecError, TypeError) as error:
        raise Invalid(f"has a key {OURS} that cannot be read ({error})") from error


def _parts(role: Role, wire: Mapping[str, Any]) -> tuple[AnyPart, ...]:
    """What a message of another server consists of, in our order: what was said, then what was called."""
    pieces = _pieces(wire)
    calls = [call for each in maps(wire.get("tool_calls")) if (call := _call(each)) is not None]
    match role:
        case "tool":
            return _returns(wire, pieces)
        case "approval" if not calls:
            return _decisions(wire)
        case "assistant" | "approval":
            known = {call.call_id for call in calls}
            inside = [call for each in pieces if (call := _inner_call(each)) is not None]
            calls = [call for call in inside if call.call_id not in known] + calls
            return (*(part for each in pieces if (part := _part(each)) is not None), *calls)
        case _:
            return tuple(_plain(part) for each in pieces if (part := _part(each)) is not None) or (TextPart(text=""),)


def _plain(part: AnyPart) -> AnyPart:
    """What a person said, out of the envelope in which older histories hold it."""
    packed = envelope_in(part.text) if isinstance(part, TextPart) else None
    return TextPart(text=packed.message) if packed is not None and packed.type == "user_message" else part


def _pieces(wire: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The content of a message, whichever of its forms that has."""
    content = wire.get("content")
    if content is None:
        content = wire.get("text")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    pieces: list[Mapping[str, Any]] = [
        {"type": "text", "text": each} if isinstance(each, str) else each
        for each in (content if isinstance(content, list) else ())
        if each is not None
    ]
    for piece in pieces:
        if not isinstance(piece, dict):
            raise Invalid(f"has content that is neither text nor an object: {str(piece)[:60]!r}")
    return pieces


def _part(piece: Mapping[str, Any]) -> AnyPart | None:
    """A piece of content; None for one that says nothing by itself here."""
    match piece.get("type", "text"):
        case "text":
            return TextPart(text="" if piece.get("text") is None else _string(piece, "text"))
        case "reasoning":
            return ReasoningPart(
                text=_string(piece, "reasoning"), native=piece.get("is_native") is not False,
                signature=_text(piece.get("signature")),
            )  # fmt: skip
        case "summarized_reasoning":
            said = "\n\n".join(_string(each, "text") for each in maps(piece.get("summary")))
            return ReasoningPart(text=said)
        case "redacted_reasoning":
            return HiddenReasoningPart(state="redacted", data=_text(piece.get("data")))
        case "omitted_reasoning":
            return HiddenReasoningPart(state="omitted")
        case "image":
            return _image(piece.get("source"))
        case _:
            return None


def _image(source: Any) -> AnyPart:
    """An image that is in the file itself. Importing fetches nothing, so of one that is elsewhere its address stays."""
    if not isinstance(source, Mapping):
        raise Invalid("has an image without a source")
    data, kind = source.get("data"), source.get("media_type")
    if isinstance(data, str) and isinstance(kind, str) and kind.startswith("image/"):
        return ImagePart(media_type=kind, data=data, detail=_text(source.get("detail")))
    return TextPart(text=f"[An image that was not in the agent file: {_text(source.get('url')) or 'no address'}]")


def _call(wire: Mapping[str, Any]) -> ToolCallPart | None:
    function = wire.get("function")
    if not isinstance(function, Mapping):
        return None
    return ToolCallPart(
        call_id=_string(wire, "id"), name=_string(function, "name"), arguments=_arguments(function.get("arguments"))
    )


def _inner_call(piece: Mapping[str, Any]) -> ToolCallPart | None:
    if piece.get("type") != "tool_call":
        return None
    arguments = _arguments(piece.get("input"))
    return ToolCallPart(call_id=_string(piece, "id"), name=_string(piece, "name"), arguments=arguments)


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value or {}, ensure_ascii=False)


def _returns(wire: Mapping[str, Any], pieces: Sequence[Mapping[str, Any]]) -> tuple[AnyPart, ...]:
    name = _text(wire.get("name")) or ""
    found = [
        _returned(_string(each, "tool_call_id"), name, each.get("func_response"), each.get("status"), each)
        for each in maps(wire.get("tool_returns"))
        if each.get("tool_call_id") is not None
    ]
    if not found and wire.get("tool_call_id") is not None:
        said = "".join(_text(each.get("text")) or "" for each in pieces)
        found = [_returned(_string(wire, "tool_call_id"), name, said, None, {})]
    return tuple(found)


def _returned(call_id: str, name: str, said: Any, status: Any, wire: Mapping[str, Any]) -> ToolReturnPart:
    """A return, out of the envelope in which older histories hold it."""
    text = said if isinstance(said, str) else "" if said is None else json.dumps(said, ensure_ascii=False)
    packed = _object_in(text)
    if packed is not None and "message" in packed and "status" in packed:
        status = packed["status"] if status is None else status
        inner = packed["message"]
        text = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
    failed = isinstance(status, str) and status.lower() in _FAILED
    return ToolReturnPart(
        call_id=call_id, name=name, status="error" if failed else "success", text=text,
        stdout=_lines(wire.get("stdout")), stderr=_lines(wire.get("stderr")),
    )  # fmt: skip


def _decisions(wire: Mapping[str, Any]) -> tuple[AnyPart, ...]:
    found: list[AnyPart] = []
    for each in maps(wire.get("approvals")):
        call_id = _text(each.get("tool_call_id"))
        if call_id is not None and each.get("type") == "tool":
            found.append(_returned(call_id, "", each.get("tool_return"), each.get("status"), each))
        elif call_id is not None:
            found.append(
                ApprovalPart(call_id=call_id, approve=each.get("approve") is True, reason=_text(each.get("reason")))
            )
    return tuple(found)


def _object_in(text: str) -> Mapping[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _lines(value: Any) -> tuple[str, ...] | None:
    lines = [value] if isinstance(value, str) else value
    return tuple(line for line in lines if isinstance(line, str)) or None if isinstance(lines, list | tuple) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _string(wire: Mapping[str, Any], name: str) -> str:
    value = wire.get(name)
    if not isinstance(value, str):
        raise Invalid(f"lacks the text {name}")
    return value


def _time(value: Any) -> int:
    """A moment as the file spells it; now where it spells none."""
    try:
        return max(0, microseconds(datetime.fromisoformat(value)))
    except (TypeError, ValueError, OverflowError):
        return now()
