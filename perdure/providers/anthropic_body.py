"""The body of a request to Anthropic's messages: what the model is asked, and how it may think about it.

Clouds that serve Claude take the same body; `anthropic.py` adds what each wants besides.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import msgspec

from perdure.domain.models import ModelSettings
from perdure.providers.anthropic_history import Block, called, is_mid_thought, system_of, turns
from perdure.providers.anthropic_schema import held_schema, is_closed
from perdure.providers.base import ModelRequest
from perdure.providers.claude import STRANGER, Manner, manner, unsteered
from perdure.providers.known_models import output_limit

INTERLEAVED: Final = "interleaved-thinking-2025-05-14"
BINDING: Final = "thinking-binding-controls-2026-08-01"

USUAL_TOKENS: Final = 32_000
"""Tokens an answer may have, thoughts included, where nobody says how many."""
HARD_TOKENS: Final = 64_000
"""The same for an agent that is to try harder than usual."""
STRANGER_TOKENS: Final = 16_000
LEAST_BUDGET: Final = 1024
"""Tokens: the API refuses a smaller budget for thoughts. As many are left for what is said."""

STRICT_TOOLS: Final = 20
"""Tools of a request whose calls can be held to their schemas."""

_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 30_000}
_USUAL_BUDGET: Final = 4096
_CACHED: Final = {"type": "ephemeral"}
_FORCED: Final = ("any", "tool")


class Asked(msgspec.Struct, frozen=True):
    """A request's body, and the beta features it needs."""

    body: dict[str, Any]
    betas: tuple[str, ...] = ()


def messages_body(request: ModelRequest, *, recall: bool = True, steered: bool = True) -> Asked:
    """The body but for `model` and `stream`, which not every cloud wants.

    Without `recall` no thought comes back; without `steered` nothing is said of how to think.
    """
    settings, how = request.settings, manner(request.model.name)
    how = how if steered else unsteered(how)
    choice = _choice(request, how)
    limit = _max_tokens(request)
    budget = _budget(settings, limit)
    thinks = _wants(settings, how) and not (how.thoughtless != "never" and choice.get("type") in _FORCED)
    thinks = thinks and (how.thinking == "adaptive" or budget >= LEAST_BUDGET)
    system, rest = system_of(request.messages)
    spoken = turns(rest, request.model.name if recall and (thinks or how is STRANGER) else None)
    if thinks and how.thinking == "budget" and is_mid_thought(spoken):
        thinks, spoken = False, turns(rest, None)
    tools = _tools(request, how, spoken)
    body: dict[str, Any] = {"max_tokens": limit, "messages": spoken}
    if system:
        body["system"] = system
    if tools:
        body["tools"] = tools
        body["tool_choice"] = choice if request.tools else {"type": "none"}
    _mark(body)
    body.update(_thinking(how, thinks, budget))
    if settings.temperature is not None and how.sampled and not thinks:
        body["temperature"] = min(settings.temperature, 1.0)
    body.update(_output(settings, how, thinks))
    betas = {INTERLEAVED: thinks and how.interleaved_beta and bool(tools), BINDING: thinks and how.bound}
    return Asked(body, tuple(beta for beta, needed in betas.items() if needed))


def _max_tokens(request: ModelRequest) -> int:
    """Tokens the answer may have, within what the model can give."""
    known = output_limit(request.model.name)
    asked = request.settings.max_output_tokens
    if asked is not None:
        return min(asked, known or asked)
    if known is None:
        return min(STRANGER_TOKENS, request.model.context_window // 2)
    return min(known, HARD_TOKENS if request.settings.reasoning_effort in ("xhigh", "max") else USUAL_TOKENS)


def _budget(settings: ModelSettings, limit: int) -> int:
    """Tokens for thoughts, as asked or by effort, so that some are left to speak."""
    asked = settings.max_reasoning_tokens or _BUDGETS.get(settings.reasoning_effort or "", _USUAL_BUDGET)
    return min(max(asked, LEAST_BUDGET), limit - LEAST_BUDGET)


def _wants(settings: ModelSettings, how: Manner) -> bool:
    """Whether it is to think, or cannot be kept from it."""
    wanted = settings.reasoning and settings.reasoning_effort != "none"
    return how.thinking != "none" and (wanted or how.thoughtless == "never")


def _thinking(how: Manner, thinks: bool, budget: int) -> dict[str, Any]:
    if not thinks:
        quiet = how.thinking != "none" and how.thoughtless in ("disabled", "between_tools")
        return {"thinking": {"type": how.thoughtless}} if quiet else {}
    if how.thinking == "budget":
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    thinking: dict[str, Any] = {"type": "adaptive"}
    if not how.shows_thinking:
        thinking["display"] = "summarized"
    if how.bound:
        # Memory is part of the system prompt, so that what comes before a thought changes: then let it be forgotten.
        thinking["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
    return {"thinking": thinking}


def _output(settings: ModelSettings, how: Manner, thinks: bool) -> dict[str, Any]:
    """How hard to try, and in which form to answer."""
    config: dict[str, Any] = {}
    asked = settings.reasoning_effort
    unwanted = not settings.reasoning or asked == "none"
    if how.thoughtless == "never" and unwanted:
        asked = "low"
    elif not thinks and how.thoughtless in ("disabled", "between_tools") and asked in ("xhigh", "max"):
        asked = "high"  # More is refused without thoughts.
    if asked and asked != "none" and (effort := how.effort(asked)):
        config["effort"] = effort
    if how.structured and (schema := _schema(settings.response_format)) is not None:
        config["format"] = {"type": "json_schema", "schema": held_schema(schema)}
    return {"output_config": config} if config else {}


def _schema(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    if not response_format or response_format.get("type") != "json_schema":
        return None
    schema = (response_format.get("json_schema") or {}).get("schema")
    return cast("dict[str, Any]", schema) if isinstance(schema, dict) else None


def _choice(request: ModelRequest, how: Manner) -> dict[str, Any]:
    """How freely to use the tools. Where a model cannot be made to use one, it is shown no other (`_offered`)."""
    asked = request.tool_choice
    if asked == "none":
        return {"type": "none"}
    choice: dict[str, Any] = {"type": "auto"}
    if asked != "auto" and how.forced:
        choice = {"type": "any"} if asked in ("any", "required") else {"type": "tool", "name": asked}
    if not request.settings.parallel_tool_calls:
        choice["disable_parallel_tool_use"] = True
    return choice


def _tools(request: ModelRequest, how: Manner, spoken: Sequence[dict[str, Any]]) -> list[Block]:
    """The tools on offer; stand-ins for those in history where there are none, since calls of no tool are refused."""
    if not request.tools:
        return [{"name": name, "description": "Gone.", "input_schema": {"type": "object"}} for name in called(spoken)]
    strict, left = request.settings.strict and how.structured, STRICT_TOOLS
    tools: list[Block] = []
    for tool in _offered(request, how):
        # One that cannot be called strictly is offered loosely, though strictness is wanted.
        held = strict and left > 0 and is_closed(tool.get("parameters") or {"type": "object"})
        left -= held
        tools.append(_tool(tool, how, strict=held))
    return tools


def _offered(request: ModelRequest, how: Manner) -> Sequence[dict[str, Any]]:
    if how.forced:
        return request.tools
    return [tool for tool in request.tools if tool["name"] == request.tool_choice] or request.tools


def _tool(tool: dict[str, Any], how: Manner, *, strict: bool) -> Block:
    schema = {"type": "object", **(tool.get("parameters") or {})}
    block: Block = {"name": tool["name"], "input_schema": held_schema(schema) if strict else schema}
    if description := tool.get("description"):
        block["description"] = description
    if strict:
        block["strict"] = True
    elif how.eager:
        block["eager_input_streaming"] = True
    return block


def _mark(body: dict[str, Any]) -> None:
    """Marks what the next request will most likely begin with: tools, system prompt, the user's last two turns.

    The API takes four marks; thoughts and calls bear none.
    """
    for blocks in (body.get("tools"), body.get("system"), *_last_asked(body["messages"])):
        if blocks:
            blocks[-1] = {**blocks[-1], "cache_control": _CACHED}


def _last_asked(spoken: Sequence[dict[str, Any]]) -> Iterator[list[Block]]:
    asked = [turn["content"] for turn in spoken if turn["role"] == "user"]
    yield from asked[-2:]
