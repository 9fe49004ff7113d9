"""The body of a chat completions request: history in OpenAI's words, with each server's quirks."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from perdure.domain.messages import ImagePart, Message, ReasoningPart, TextPart, ToolCallPart
from perdure.domain.models import ModelSettings
from perdure.providers.base import ModelRequest
from perdure.providers.reasoning_details import DETAILS

_REASONING: Final = re.compile(r"(?:o[1-9]|gpt-[5-9])(?!\d)")
"""How names of OpenAI models that reason begin; other rules hold for them."""
_FIRST_GPT_5: Final = re.compile(r"gpt-5(?!\.)")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
UNANSWERED: Final = "(no answer)"
"""What the model is said to have said where it said nothing and a server wants it to have spoken."""
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """How a server differs from OpenAI's own."""

    tool_choice: Literal["named", "required", "auto"] = "named"
    """The strictest form of `tool_choice` it understands."""
    parallel_tool_calls: bool = False
    """Whether it knows the field of that name."""
    effort: Literal["always", "reasoning_models", "nested", "never"] = "always"
    """For which models it takes `reasoning_effort`; `nested` means OpenRouter's `reasoning` object instead."""
    openai_models: bool = False
    """Whether names such as `o3` or `gpt-5` mean OpenAI's reasoning models here."""
    replay_reasoning: Literal["never", "always", "tagged"] = "never"
    """Whether a model's reasoning must come back with what it said and called; `tagged` means within its text."""
    reasoning_details: bool = False
    """Whether it gives pieces of reasoning, some of them sealed, that are to come back with a call."""
    think_tags: bool = True
    """Whether it may pass on text that begins with thoughts between tags, as many local models write."""
    stream_options: bool = True
    """Whether it takes the field of that name, without which others do not tell the usage."""
    penalties: bool = True
    """Whether it takes `frequency_penalty`."""
    unsampled: tuple[str, ...] = ()
    """Models, by the beginning of their names, that refuse sampling parameters."""
    logprobs: Literal["always", "without_tools", "never"] = "always"
    """When it gives log probabilities; asked at another time, it would refuse the whole request."""
    call_id_chars: int | None = None
    """The longest tool call id it takes."""
    exact_call_ids: bool = False
    """Whether ids must have just as many characters, all of them letters and digits."""
    user_after_tool: bool = True
    """Whether a user may speak right after a tool's return."""
    alternate: bool = False
    """Whether it may run models whose chat templates refuse two messages of the user in a row, as many do."""


def reasons_like_openai(model_name: str, quirks: Quirks) -> bool:
    """Whether this is one of OpenAI's reasoning models, which hide their reasoning on chat completions."""
    name = model_name.rpartition("/")[2]
    return quirks.openai_models and _REASONING.match(name) is not None and "-chat" not in name


def chat_body(request: ModelRequest, quirks: Quirks) -> bytes:
    """The request as JSON."""
    reasoning = reasons_like_openai(request.model.name, quirks)
    body: dict[str, Any] = {
        "model": request.model.name,
        "messages": chat_messages(
            request.messages, quirks, "developer" if reasoning else "system", request.model.handle
        ),
        "stream": True,
    }
    if quirks.stream_options:
        body["stream_options"] = {"include_usage": True}
    body.update(_sampling(request.model.name, request.settings, quirks, reasoning))
    body.update(_effort(request.model.name, request.settings, quirks, reasoning))
    body.update(_tools(request, quirks, reasoning))
    body.update(_logprobs(request, quirks, reasoning))
    response_format = request.settings.response_format
    if response_format and response_format.get("type") != "text":
        body["response_format"] = response_format
    return msgspec.json.encode(body)


def chat_messages(
    messages: Sequence[Message], quirks: Quirks, system_role: str, handle: str | None = None
) -> list[dict[str, Any]]:
    """History as chat messages, for the model of that handle.

    Calls that await approval join those of the message before, as one answer's calls.
    """
    chat: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            chat.append({"role": system_role, "content": message.text})
        elif message.role in ("user", "summary"):
            if chat and chat[-1]["role"] == "tool" and not quirks.user_after_tool:
                chat.append({"role": "assistant", "content": UNANSWERED})
            chat.append({"role": "user", "content": _user_content(message)})
        elif message.role == "tool":
            chat += [
                {"role": "tool", "tool_call_id": call_id(part.call_id, quirks), "content": part.text}
                for part in message.tool_returns
            ]
        else:
            said = _assistant(message, quirks, handle)
            before = chat[-1] if chat else {}
            if said and message.role == "approval" and before.get("role") == "assistant":
                chat[-1] = _joined(before, said)
            elif said:
                chat.append(said)
    return _alternating(chat) if quirks.alternate else chat


def _alternating(chat: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, with what the user said in a row as one, such as a summary and what follows it."""
    joined: list[dict[str, Any]] = []
    for message in chat:
        if message["role"] == "user" and joined and joined[-1]["role"] == "user":
            first, second = joined[-1]["content"], message["content"]
            if isinstance(first, str) and isinstance(second, str):
                content: Any = f"{first}\n\n{second}"
            else:
                content = [*_content_parts(first), *_content_parts(second)]
            joined[-1] = {**joined[-1], "content": content}
        else:
            joined.append(message)
    return joined


def _content_parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _user_content(message: Message) -> str | list[dict[str, Any]]:
    if len(message.parts) == 1 and isinstance(message.parts[0], TextPart):
        return message.parts[0].text
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            image = {"url": f"data:{part.media_type};base64,{part.data}"}
            content.append({"type": "image_url", "image_url": image | ({"detail": part.detail} if part.detail else {})})
    if any(part["type"] != "text" for part in content):
        return content
    # Many servers take nothing but a string where no image is involved.
    return "\n".join(part["text"] for part in content)


def _assistant(message: Message, quirks: Quirks, handle: str | None) -> dict[str, Any] | None:
    """What the model said and asked for; None where the message holds neither, which no server accepts."""
    text, calls = message.spoken, message.tool_calls
    if not text and not calls:
        return None
    thought = ""
    if quirks.replay_reasoning != "never":
        thought = "".join([part.text for part in message.parts if isinstance(part, ReasoningPart) and part.native])
    if thought and quirks.replay_reasoning == "tagged":
        text = f"<think>\n{thought}\n</think>\n\n{text}"
    said: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        said["tool_calls"] = [_call(call, quirks) for call in calls]
        kept = calls[0].extra.get(DETAILS) if quirks.reasoning_details else None
        if kept and kept["model"] == handle:
            said["reasoning_details"] = kept["reasoning_details"]
    if quirks.replay_reasoning == "always" and (thought or calls):
        said["reasoning_content"] = thought
    return said


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    joined = {**first, **second, "content": (first["content"] or "") + (second["content"] or "") or None}
    joined["tool_calls"] = first.get("tool_calls", []) + second.get("tool_calls", [])
    if "reasoning_content" in second:
        joined["reasoning_content"] = first.get("reasoning_content", "") + second["reasoning_content"]
    return joined


def _call(call: ToolCallPart, quirks: Quirks) -> dict[str, Any]:
    function = {"name": tool_name(call.name), "arguments": object_text(call.arguments)}
    return {"id": call_id(call.call_id, quirks), "type": "function", "function": function}


def object_text(text: str) -> str:
    """The arguments as streamed, if they are a JSON object; servers refuse whole histories over one that is not."""
    try:
        _OBJECT.decode(text)
    except (ValueError, RecursionError):
        return "{}"
    return text


def tool_name(name: str) -> str:
    """The name a model called, in the letters allowed: one invented name must not make the history unusable."""
    if _NAME.fullmatch(name):
        return name
    return _NOT_IN_NAMES.sub("_", name)[:64] or "unnamed"


def call_id(given: str, quirks: Quirks) -> str:
    """The id, or a stand-in that is always the same where another provider made it as this one does not take it."""
    most = quirks.call_id_chars
    if quirks.exact_call_ids:
        fits = len(given) == most and given.isascii() and given.isalnum()
        return given if fits else hashlib.sha256(given.encode()).hexdigest()[:most]
    if most is None or len(given) <= most:
        return given
    return f"call_{hashlib.sha256(given.encode()).hexdigest()[:24]}"


def _sampling(model_name: str, settings: ModelSettings, quirks: Quirks, reasoning: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if settings.max_output_tokens is not None:
        fields["max_completion_tokens" if reasoning else "max_tokens"] = settings.max_output_tokens
    if reasoning and settings.verbosity and "gpt-5" in model_name:
        fields["verbosity"] = settings.verbosity
    if reasoning or model_name.startswith(quirks.unsampled):
        return fields
    if settings.temperature is not None:
        fields["temperature"] = settings.temperature
    if settings.frequency_penalty is not None and quirks.penalties:
        fields["frequency_penalty"] = settings.frequency_penalty
    return fields


def _logprobs(request: ModelRequest, quirks: Quirks, reasoning: bool) -> dict[str, Any]:
    settings = request.settings
    refused = reasoning or request.model.name.startswith(quirks.unsampled)
    if not settings.return_logprobs or refused or quirks.logprobs == "never":
        return {}
    if request.tools and quirks.logprobs == "without_tools":
        return {}
    return {"logprobs": True} | ({} if settings.top_logprobs is None else {"top_logprobs": settings.top_logprobs})


def _effort(model_name: str, settings: ModelSettings, quirks: Quirks, reasoning: bool) -> dict[str, Any]:
    if quirks.effort == "nested":
        effort = settings.reasoning_effort
        if not settings.reasoning or effort == "none":
            return {"reasoning": {"enabled": False}}
        if effort:
            return {"reasoning": {"effort": effort}}
        return {"reasoning": {"max_tokens": settings.max_reasoning_tokens}} if settings.max_reasoning_tokens else {}
    effort = effort_of(model_name, settings, quirks, reasoning)
    return {"reasoning_effort": effort} if effort else {}


def effort_of(model_name: str, settings: ModelSettings, quirks: Quirks, reasoning: bool) -> str | None:
    """How hard the model is to reason, in OpenAI's words; None leaves that to the server."""
    if quirks.effort == "never" or not (reasoning or quirks.effort in ("always", "nested")):
        return None
    if reasoning and not (settings.reasoning and settings.reasoning_effort != "none"):
        return _least_effort(model_name.rpartition("/")[2])
    return settings.reasoning_effort


def _least_effort(name: str) -> str | None:
    """The least of OpenAI's efforts that the model accepts: from gpt-5.1 on most can go without."""
    if "-pro" in name:
        return None
    if name.startswith("o") or "-codex" in name or "-astra" in name:
        return "low"
    return "minimal" if _FIRST_GPT_5.match(name) else "none"


def offered(request: ModelRequest, quirks: Quirks) -> tuple[Sequence[dict[str, Any]], str]:
    """The tools to show, and how freely to use them: `auto`, `required`, `none`, or the name of one.

    Where a server cannot be told to use one tool, it is shown no other.
    """
    tools, choice = request.tools, request.tool_choice
    if choice == "none" and quirks.tool_choice == "auto":
        return (), choice
    asked = "required" if choice == "any" else choice
    if asked not in ("auto", "required", "none") and quirks.tool_choice != "named":
        tools = [tool for tool in tools if tool["name"] == choice] or tools
        asked = "required"
    if asked == "required" and quirks.tool_choice == "auto":
        asked = "auto"
    return tools, asked


def _tools(request: ModelRequest, quirks: Quirks, reasoning: bool) -> dict[str, Any]:
    tools, choice = offered(request, quirks)
    if not tools:
        return {}
    named = choice not in ("auto", "required", "none")
    fields: dict[str, Any] = {
        "tools": [{"type": "function", "function": tool} for tool in tools],
        "tool_choice": {"type": "function", "function": {"name": choice}} if named else choice,
    }
    if quirks.parallel_tool_calls and not reasoning:
        fields["parallel_tool_calls"] = request.settings.parallel_tool_calls
    return fields
