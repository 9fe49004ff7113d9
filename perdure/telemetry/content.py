"""What was said, as the semantic conventions put it into spans. Only for operators who ask for it."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from perdure.domain.messages import AnyPart, ImagePart, Message, ReasoningPart, TextPart, ToolCallPart, ToolReturnPart

_ROLES: Final = {"approval": "assistant", "summary": "user"}
"""What a model is shown these roles of ours as."""


def asked(messages: Sequence[Message]) -> dict[str, str]:
    """The attributes for what a model was asked."""
    system = [part for message in messages if message.role == "system" for part in _parts(message)]
    said = [_message(message) for message in messages if message.role != "system"]
    return {"gen_ai.system_instructions": _json(system), "gen_ai.input.messages": _json(said)}


def answered(message: Message) -> dict[str, str]:
    """The attributes for what it answered."""
    return {"gen_ai.output.messages": _json([_message(message)])}


def _message(message: Message) -> dict[str, Any]:
    return {"role": _ROLES.get(message.role, message.role), "parts": _parts(message)}


def _parts(message: Message) -> list[dict[str, Any]]:
    return [made for part in message.parts if (made := _part(part)) is not None]


def _part(part: AnyPart) -> dict[str, Any] | None:
    match part:
        case TextPart(text=text):
            return {"type": "text", "content": text}
        case ReasoningPart(text=text):
            return {"type": "reasoning", "content": text}
        case ToolCallPart(call_id=call_id, name=name, arguments=arguments):
            return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}
        case ToolReturnPart(call_id=call_id, text=text):
            return {"type": "tool_call_response", "id": call_id, "response": text}
        case ImagePart(media_type=media_type):
            # The image itself would fill a span many times over.
            return {"type": "image", "mime_type": media_type}
        case _:
            return None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
