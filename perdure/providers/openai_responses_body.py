"""The body of a Responses request: history as input items, nothing of it kept by the server.

What the vendor seals comes back as it was given: reasoning items, and the phase of what was said. They lie in a part's
`extra` under `KEY` and go to the provider that made them, to no other. An item goes in without its own id, reasoning
excepted: an id ties it to the reasoning it followed, and it is refused where that is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from perdure.domain.messages import (
    AnyPart,
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from perdure.domain.models import Model
from perdure.providers.base import ModelRequest
from perdure.providers.openai_body import (
    Quirks,
    call_id,
    effort_of,
    object_text,
    offered,
    reasons_like_openai,
    tool_name,
)

KEY: Final = "openai_responses"
"""Under this a part's `extra` holds `model` (the handle of the one that made it) and its `item` or `phase`."""

LEAST_OUTPUT_TOKENS: Final = 16
"""The API refuses a lower limit."""

_LOOSE: Final = ("$ref", "allOf", "anyOf", "if", "not", "oneOf", "patternProperties")
"""Words of JSON Schema that keep a tool from being called strictly: the API refuses or restricts them."""


class Concessions(msgspec.Struct, frozen=True):
    """What a server has refused to take in this call, and is asked again without."""

    sealed: bool = False
    """Sealed reasoning: what was made earlier is another account's, or the model knows of none."""
    summary: bool = False
    """Summaries of reasoning, which OpenAI gives to verified organisations only."""


def responses_body(request: ModelRequest, quirks: Quirks, conceded: Concessions) -> bytes:
    """The request as JSON."""
    reasoning = reasons_like_openai(request.model.name, quirks)
    replayed = None if conceded.sealed else request.model
    instructions, messages = _instructions(request.messages)
    body: dict[str, Any] = {
        "model": request.model.name,
        "input": input_items(messages, quirks, replayed, reasoning),
        "stream": True,
        "store": False,
    }
    if instructions is not None:
        # One for each conversation, whose requests then share the server's cache of their common beginning.
        body |= {"instructions": instructions.text, "prompt_cache_key": instructions.id}
    if reasoning and not conceded.sealed:
        body["include"] = ["reasoning.encrypted_content"]
    body |= _sampling(request, quirks, reasoning, summarised=not conceded.summary)
    body |= _text(request, reasoning)
    body |= _tools(request, quirks)
    return msgspec.json.encode(body)


def input_items(messages: Sequence[Message], quirks: Quirks, replayed: Model | None, reasoning: bool) -> list[Any]:
    """History as input items. `replayed` is the model whose own reasoning goes back to it, if any does."""
    items: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            items.append({"role": "developer" if reasoning else "system", "content": message.text})
        elif message.role in ("user", "summary"):
            items.append({"role": "user", "content": _user_content(message)})
        elif message.role == "tool":
            items += [
                {"type": "function_call_output", "call_id": call_id(part.call_id, quirks), "output": part.text}
                for part in message.tool_returns
            ]
        else:
            items += [item for part in message.parts for item in _said(part, quirks, replayed, reasoning)]
    return _led_on(items)


def _instructions(messages: Sequence[Message]) -> tuple[Message | None, Sequence[Message]]:
    if messages and messages[0].role == "system":
        return messages[0], messages[1:]
    return None, messages


def _user_content(message: Message) -> str | list[dict[str, Any]]:
    if all(isinstance(part, TextPart) for part in message.parts):
        return "\n".join(part.text for part in message.parts if isinstance(part, TextPart))
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "input_text", "text": part.text})
        elif isinstance(part, ImagePart):
            url = f"data:{part.media_type};base64,{part.data}"
            content.append({"type": "input_image", "image_url": url, "detail": part.detail or "auto"})
    return content


def _said(part: AnyPart, quirks: Quirks, replayed: Model | None, reasoning: bool) -> list[dict[str, Any]]:
    """What a part of an answer is as input; nothing where it is for somebody else, or for no model."""
    if isinstance(part, ToolCallPart):
        function = {"name": tool_name(part.name), "arguments": object_text(part.arguments)}
        return [{"type": "function_call", "call_id": call_id(part.call_id, quirks), **function}]
    if isinstance(part, TextPart) or (isinstance(part, ReasoningPart) and not part.native):
        if not part.text:
            return []
        phase = _own(part, replayed, reasoning).get("phase")
        said = {"type": "message", "role": "assistant", "content": part.text}
        return [{**said, "phase": phase} if phase else said]
    if isinstance(part, ReasoningPart | HiddenReasoningPart) and (item := _own(part, replayed, reasoning).get("item")):
        seal = part.signature if isinstance(part, ReasoningPart) else None
        return [{"type": "reasoning", **item, **({"encrypted_content": seal} if seal else {})}]
    return []


def _own(
    part: TextPart | ReasoningPart | HiddenReasoningPart, replayed: Model | None, reasoning: bool
) -> Mapping[str, Any]:
    """What this provider gave with the part. A model that does not reason refuses the reasoning of one that does."""
    kept = cast("dict[str, Any]", part.extra.get(KEY) or {})
    maker = str(kept.get("model"))
    if replayed is None:
        return {}
    is_own = maker == replayed.handle or (reasoning and maker.startswith(f"{replayed.provider_name}/"))
    return kept if is_own else {}


def _led_on(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items without reasoning that led to nothing, as in an answer that broke off: the API refuses it."""
    kept: list[dict[str, Any]] = []
    leads = False
    for item in reversed(items):
        if item.get("type") != "reasoning":
            leads = item.get("type") in ("message", "function_call")
        elif not leads:
            continue
        kept.append(item)
    return kept[::-1]


def _sampling(request: ModelRequest, quirks: Quirks, reasoning: bool, *, summarised: bool) -> dict[str, Any]:
    settings, fields = request.settings, dict[str, Any]()
    if settings.max_output_tokens is not None:
        fields["max_output_tokens"] = max(settings.max_output_tokens, LEAST_OUTPUT_TOKENS)
    if settings.temperature is not None and not reasoning and not request.model.name.startswith(quirks.unsampled):
        fields["temperature"] = settings.temperature
    effort = effort_of(request.model.name, settings, quirks, reasoning)
    asked = {"effort": effort} if effort else {}
    if reasoning and summarised and settings.reasoning and effort != "none":
        asked["summary"] = "auto"
    return {**fields, "reasoning": asked} if asked else fields


def _text(request: ModelRequest, reasoning: bool) -> dict[str, Any]:
    settings, fields = request.settings, dict[str, Any]()
    if settings.verbosity and reasoning and "gpt-" in request.model.name:
        fields["verbosity"] = settings.verbosity
    wanted = settings.response_format or {}
    if wanted.get("type") == "json_schema":
        fields["format"] = {"type": "json_schema", **wanted["json_schema"]}
    elif wanted.get("type") == "json_object":
        fields["format"] = {"type": "json_object"}
    return {"text": fields} if fields else {}


def _tools(request: ModelRequest, quirks: Quirks) -> dict[str, Any]:
    tools, choice = offered(request, quirks)
    if not tools:
        return {}
    named = choice not in ("auto", "required", "none")
    fields: dict[str, Any] = {
        "tools": [_tool(tool, strict=request.settings.strict) for tool in tools],
        "tool_choice": {"type": "function", "name": choice} if named else choice,
    }
    if quirks.parallel_tool_calls:
        fields["parallel_tool_calls"] = request.settings.parallel_tool_calls
    return fields


def _tool(tool: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """A tool as it is offered. One that cannot be called strictly is offered loosely, though strictness is wanted."""
    closed = _closed(tool.get("parameters")) if strict else None
    return {"type": "function", **tool, **({"parameters": closed} if closed else {}), "strict": closed is not None}


def _closed(schema: Any) -> dict[str, Any] | None:
    """The schema with objects that take nothing but what it names; None where something in it may be left out."""
    if not isinstance(schema, dict):
        return None
    fields = cast("dict[str, Any]", schema)
    if any(word in fields for word in _LOOSE):
        return None
    if "items" in fields:
        items = _closed(fields["items"])
        return None if items is None else {**fields, "items": items}
    if fields.get("type") != "object":
        return fields
    properties = cast("dict[str, Any]", fields.get("properties") or {})
    closed = {name: _closed(value) for name, value in properties.items()}
    required = cast("list[str]", fields.get("required") or [])
    is_open = "properties" not in fields or fields.get("additionalProperties", False) is not False
    if is_open or set(required) != set(properties) or None in closed.values():
        return None
    return {**fields, "properties": closed, "required": list(properties), "additionalProperties": False}
