"""Thoughts that a model writes as an argument of its calls, for models that would not think otherwise.

Every tool is shown with one more argument, in front. What is written there is cut from the call while it streams and
shown as reasoning; in what the model sees of its history it is back in its place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from perdure.domain.arguments import with_field
from perdure.domain.messages import AnyPart, Message, ReasoningPart, ToolCallPart

THOUGHTS: Final = "thinking"
"""The name of the argument."""

_PARAMETER: Final = {
    "type": "string",
    "description": (
        "Write this first: what you make of the situation, and why this call is the right next step. "
        "It is kept apart from the call, and whoever you talk to does not take it for your words."
    ),
}


def has_own(schema: Mapping[str, Any]) -> bool:
    """Whether a tool has an argument of that name itself, which then means what the tool says."""
    return THOUGHTS in ((schema.get("parameters") or {}).get("properties") or {})


def with_thoughts(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A tool's function schema with the argument for thoughts in front."""
    if has_own(schema):
        return dict(schema)
    parameters = schema.get("parameters") or {}
    return {
        **schema,
        "parameters": {
            **parameters,
            "type": "object",
            "properties": {THOUGHTS: _PARAMETER, **(parameters.get("properties") or {})},
            "required": [THOUGHTS, *(parameters.get("required") or ())],
        },
    }


def recalled(messages: Sequence[Message]) -> list[Message]:
    """History in which calls carry their thoughts again, as the model wrote them."""
    thoughts: dict[tuple[str | None, str], str] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ReasoningPart) and part.call_id is not None:
                key = (message.step_id, part.call_id)
                thoughts[key] = thoughts.get(key, "") + part.text
    if not thoughts:
        return list(messages)
    called = {(message.step_id, call.call_id) for message in messages for call in message.tool_calls}
    found: list[Message] = []
    for message in messages:
        parts = tuple(
            _recalled(message, part, thoughts)
            for part in message.parts
            if not (isinstance(part, ReasoningPart) and (message.step_id, part.call_id) in called)
        )
        if parts:
            found.append(message if parts == message.parts else msgspec.structs.replace(message, parts=parts))
    return found


def _recalled(message: Message, part: AnyPart, thoughts: Mapping[tuple[str | None, str], str]) -> AnyPart:
    if not isinstance(part, ToolCallPart):
        return part
    text = thoughts.get((message.step_id, part.call_id))
    if text is None:
        return part
    return msgspec.structs.replace(part, arguments=with_field(part.arguments, THOUGHTS, text))
