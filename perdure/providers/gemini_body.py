"""The body of a Gemini request: history in Google's words, with the seals of its own earlier answers put back."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from perdure.domain.messages import (
    AnyPart,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.domain.models import ModelSettings
from perdure.providers.base import ModelRequest
from perdure.providers.gemini_schema import known_schema
from perdure.providers.images import media_type

UNSEALED: Final = "skip_thought_signature_validator"
"""The signature Google documents for calls that its models did not make: without one, the request is refused.
https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures"""

OPENING: Final = "(The conversation begins.)"
"""Said for the user where history begins with the model, which Gemini does not take."""
GO_ON: Final = "(Go on.)"

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_.:-]")
_GENERATION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_NEWEST: Final = (99, 0)
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 8192}
"""Thinking tokens for an effort; https://ai.google.dev/gemini-api/docs/openai says the same."""
_GREATEST_BUDGET: Final = 24_576
_LEAST_BUDGET_OF_PRO: Final = 128
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])

_Fields = dict[str, Any]


class _Kept(msgspec.Struct, frozen=True):
    """What the provider gave with a part; see `gemini_chunks.py`."""

    seals: list[tuple[int, int, str]] = []
    signature: str | None = None
    id: str | None = None


def gemini_body(request: ModelRequest, *, sealed: bool = True, steered: bool = True, token: str | None = None) -> bytes:
    """The request as JSON. Without `sealed`, Google's own signatures are left out as if another had made all calls.

    Without `steered` nothing is said of how to think. `token` continues an answer that was longer than one request may
    be.
    """
    name, kind = request.model.name, request.model.provider_type
    modern = generation(name) >= (3, 0)
    system, contents = _History(kind, sealed=sealed, strict=modern or not sealed, seeing=modern).of(request)
    tools = _tools(request)
    body: _Fields = {"contents": contents, **tools}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    config = _generation_config(name, request.settings, with_tools=bool(tools))
    if not steered:
        config.pop("thinkingConfig", None)
    if config:
        body["generationConfig"] = config
    if token:
        body["continuationToken"] = token
    return msgspec.json.encode(body)


def generation(name: str) -> tuple[int, int]:
    """Which Gemini it is, such as (2, 5). A name without a number is that of the newest; (0, 0) is none of them."""
    if found := _GENERATION.search(name):
        return int(found[1]), int(found[2] or 0)
    return _NEWEST if "gemini" in name else (0, 0)


class _History:
    """Turns messages into contents. `strict` is a model that refuses calls without a signature.

    One that is `seeing` takes images in what calls returned; others are shown them after it.
    """

    def __init__(self, provider_type: str, *, sealed: bool, strict: bool, seeing: bool) -> None:
        self._type = provider_type
        self._seeing = seeing
        self._sealed = sealed
        self._strict = strict
        self._ids: dict[str, str] = {}
        self._places: dict[str, int] = {}
        self._contents: list[_Fields] = []

    def of(self, request: ModelRequest) -> tuple[str, list[_Fields]]:
        """The system instruction, and contents that begin and end with the user, whose roles alternate."""
        first, *rest = request.messages
        system = first.text if first.role == "system" else ""
        returns: list[ToolReturnPart] = []
        for message in rest if first.role == "system" else request.messages:
            if message.role == "tool":
                returns += message.tool_returns
                continue
            self._answer(returns)
            if message.role in ("assistant", "approval"):
                self._add("model", self._said(message.parts))
            else:
                self._add("user", _shown(message.parts))
        self._answer(returns)
        contents = self._contents
        if not contents or contents[0]["role"] == "model":
            contents.insert(0, {"role": "user", "parts": [{"text": OPENING}]})
        if contents[-1]["role"] == "model":
            self._add("user", [{"text": GO_ON}])
        for said, answered in itertools.pairwise(contents):
            if said["role"] == "model":
                self._seal(said["parts"], answered["parts"])
        return system, contents

    def _add(self, role: str, parts: list[_Fields]) -> None:
        if not parts:
            return
        if self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"] += parts
        else:
            self._contents.append({"role": role, "parts": parts})

    def _answer(self, returns: list[ToolReturnPart]) -> None:
        """Adds what answered the calls before, in the order of the calls: where they have no ids, it is the order."""
        returns.sort(key=lambda part: self._places.get(part.call_id, 0))
        self._add("user", [self._returned(part) for part in returns])
        if not self._seeing:
            self._add("user", [_image(image) for part in returns for image in part.images])
        returns.clear()

    def _said(self, parts: Sequence[AnyPart]) -> list[_Fields]:
        """What the model said. Its thoughts are summaries, and only those that were sealed are of use to it."""
        said: list[_Fields] = []
        for part in parts:
            if isinstance(part, ToolCallPart):
                said.append(self._call(part))
            elif isinstance(part, TextPart) or (isinstance(part, ReasoningPart) and not part.native):
                said += _pieces(part.text, self._kept(part).seals, {})
            elif isinstance(part, ReasoningPart) and (seals := self._kept(part).seals):
                thoughts = _pieces(part.text, seals, {"thought": True})
                said += [thought for thought in thoughts if "thoughtSignature" in thought]
        return said

    def _call(self, call: ToolCallPart) -> _Fields:
        kept = self._kept(call)
        self._places[call.call_id] = len(self._places)
        asked: _Fields = {"name": _tool_name(call.name), "args": _arguments(call.arguments)}
        if kept.id:
            asked["id"] = self._ids[call.call_id] = kept.id
        made: _Fields = {"functionCall": asked}
        if kept.signature:
            made["thoughtSignature"] = kept.signature
        return made

    def _returned(self, part: ToolReturnPart) -> _Fields:
        outcome = {"output" if part.status == "success" else "error": part.text}
        answer: _Fields = {"name": _tool_name(part.name), "response": outcome}
        if part.images and self._seeing:
            answer["parts"] = [_image(image) for image in part.images]
        if own := self._ids.get(part.call_id):
            answer["id"] = own
        return {"functionResponse": answer}

    def _kept(self, part: TextPart | ReasoningPart | ToolCallPart) -> _Kept:
        """What this very provider gave with a part. History may come from a file: what makes no sense is left out."""
        try:
            kept = msgspec.convert(part.extra.get(self._type, {}), _Kept)
        except msgspec.ValidationError:
            return _Kept()
        return kept if self._sealed else _Kept(id=kept.id)

    def _seal(self, parts: list[_Fields], answers: list[_Fields]) -> None:
        """Puts the signed one of parallel calls first, as it came: one that awaited approval was moved behind them.

        What answers it moves along: calls without ids are matched by nothing but their order.
        """
        calls = [at for at, part in enumerate(parts) if "functionCall" in part]
        if not calls or "thoughtSignature" in parts[calls[0]]:
            return
        signed = next((nth for nth, at in enumerate(calls) if "thoughtSignature" in parts[at]), None)
        if signed is not None:
            returns = [at for at, part in enumerate(answers) if "functionResponse" in part]
            parts.insert(calls[0], parts.pop(calls[signed]))
            answers.insert(returns[0], answers.pop(returns[signed]))
        elif self._strict:
            parts[calls[0]]["thoughtSignature"] = UNSEALED


def _shown(parts: Sequence[AnyPart]) -> list[_Fields]:
    """What the model is shown of a message that is not its own."""
    shown: list[_Fields] = []
    for part in parts:
        if isinstance(part, TextPart) and part.text:
            shown.append({"text": part.text})
        elif isinstance(part, ImagePart):
            shown.append(_image(part))
    return shown


def _image(part: ImagePart) -> _Fields:
    return {"inlineData": {"mimeType": media_type(part), "data": part.data}}


def _pieces(text: str, seals: Sequence[tuple[int, int, str]], mark: _Fields) -> list[_Fields]:
    """`text` in the pieces it came in, as far as they differ in their seals; `mark` is put on each."""
    pieces: list[_Fields] = []
    done = 0
    for start, end, signature in seals:
        if not done <= start <= end <= len(text):
            break
        if done < start:
            pieces.append({"text": text[done:start], **mark})
        pieces.append({"text": text[start:end], **mark, "thoughtSignature": signature})
        done = end
    if done < len(text):
        pieces.append({"text": text[done:], **mark})
    return pieces


def _arguments(text: str) -> _Fields:
    """The arguments as streamed, if they are a JSON object; one that is not must not make the history unusable."""
    try:
        return _OBJECT.decode(text)
    except (ValueError, RecursionError):
        return {}


def _tool_name(name: str) -> str:
    """The name of a tool in the letters allowed."""
    if _NAME.fullmatch(name):
        return name
    cleaned = _NOT_IN_NAMES.sub("_", name)[:127]
    return cleaned if _NAME.fullmatch(cleaned) else f"_{cleaned}"


def _tools(request: ModelRequest) -> _Fields:
    """Tools and how freely to use them."""
    if not request.tools:
        return {}
    choice = request.tool_choice
    calling: _Fields = {"mode": {"auto": "AUTO", "none": "NONE"}.get(choice, "ANY")}
    if choice not in ("auto", "none", "any", "required"):
        calling["allowedFunctionNames"] = [_tool_name(choice)]
    declared = [_declaration(tool) for tool in request.tools]
    return {"tools": [{"functionDeclarations": declared}], "toolConfig": {"functionCallingConfig": calling}}


def _declaration(tool: Mapping[str, Any]) -> _Fields:
    declaration: _Fields = {"name": _tool_name(tool["name"]), "description": tool.get("description") or ""}
    schema = known_schema(tool.get("parameters"))
    if schema.get("properties"):
        declaration["parametersJsonSchema"] = schema
    return declaration


def _generation_config(name: str, settings: ModelSettings, *, with_tools: bool) -> _Fields:
    config: _Fields = {}
    if settings.temperature is not None:
        config["temperature"] = settings.temperature
    if settings.max_output_tokens is not None:
        config["maxOutputTokens"] = settings.max_output_tokens
    if thinking := _thinking(name, settings):
        config["thinkingConfig"] = thinking
    response_format = settings.response_format or {}
    # Models before the third generation refuse a request for JSON that also shows tools.
    if response_format.get("type") in ("json_object", "json_schema") and not (with_tools and generation(name) < (3, 0)):
        config["responseMimeType"] = "application/json"
        if schema := (response_format.get("json_schema") or {}).get("schema"):
            config["responseJsonSchema"] = known_schema(schema)
    return config


def _thinking(name: str, settings: ModelSettings) -> _Fields:
    """How much to think: levels since the third generation, budgets in 2.5, nothing before."""
    effort, budget, kind = settings.reasoning_effort, settings.max_reasoning_tokens, generation(name)
    on = settings.reasoning and effort != "none"
    if kind < (2, 5):
        return {}
    if kind < (3, 0):
        if not on:
            return {"thinkingBudget": _LEAST_BUDGET_OF_PRO if "pro" in name else 0}
        if budget is None:
            budget = _BUDGETS.get(effort, _GREATEST_BUDGET) if effort else -1
        return {"includeThoughts": True, "thinkingBudget": budget}
    least = "MINIMAL" if "lite" in name else "LOW"
    if not on:
        return {"thinkingLevel": least}
    if effort is None and budget is not None:
        effort = "low" if budget <= _BUDGETS["low"] else "medium" if budget <= _BUDGETS["medium"] else "high"
    if effort is None:
        return {"includeThoughts": True}
    level = {"minimal": least, "low": "LOW", "medium": "MEDIUM"}.get(effort, "HIGH")
    return {"includeThoughts": True, "thinkingLevel": level}
