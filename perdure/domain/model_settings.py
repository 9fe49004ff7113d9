"""How callers say how a model is to be asked, in our words: the 17 variants of the contract as one."""

from collections.abc import Mapping
from typing import Any, Final

_FROM_SETTINGS: Final = {
    "provider_type": "provider_type", "temperature": "temperature", "max_output_tokens": "max_output_tokens",
    "parallel_tool_calls": "parallel_tool_calls", "effort": "reasoning_effort", "verbosity": "verbosity",
    "frequency_penalty": "frequency_penalty", "strict": "strict", "response_format": "response_format",
    "response_schema": "response_format",
}  # fmt: skip
_NESTED: Final = frozenset({"reasoning", "thinking", "thinking_config"})


def settings_named(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ModelSettings` that a settings object names; what it has beyond them is in `extra`."""
    extra = {name: value for name, value in sent.items() if name not in _FROM_SETTINGS and name not in _NESTED}
    return {**renamed(sent, _FROM_SETTINGS), **_reasoning(sent), "extra": extra}


def renamed(sent: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The fields that were sent with a value, under our names for them (`names` is theirs to ours)."""
    return {ours: sent[theirs] for theirs, ours in names.items() if sent.get(theirs) is not None}


def _reasoning(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The three ways in which the variants say whether, how hard and how long to reason."""
    fields: dict[str, Any] = {}
    effort = (sent.get("reasoning") or {}).get("reasoning_effort")
    if effort is not None:
        fields |= {"reasoning": effort != "none", "reasoning_effort": effort}
    thinking = sent.get("thinking") or {}
    if thinking.get("type") is not None:
        fields["reasoning"] = thinking["type"] == "enabled"
    if thinking.get("budget_tokens") is not None:
        fields["max_reasoning_tokens"] = thinking["budget_tokens"]
    config = sent.get("thinking_config") or {}
    if config.get("include_thoughts") is not None:
        fields["reasoning"] = config["include_thoughts"]
    if (config.get("thinking_budget") or 0) > 0:
        fields["max_reasoning_tokens"] = config["thinking_budget"]
    elif config.get("thinking_budget") == 0:
        fields["reasoning"] = False
    return fields
