"""The tool rules an agent starts with beside those its maker gives."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from perdure.domain.agents import NewAgent
from perdure.domain.models import Model
from perdure.domain.tools import Tool

Rule = dict[str, Any]

_ENDING: Final = frozenset({"send_message", "send_message_to_agent_async", "memory_finish_edits"})
_CONTINUING: Final = frozenset({"letta_core", "letta_memory_core", "letta_sleeptime_core"})
_ABLE_MODELS: Final = ("claude-4-sonnet", "claude-3-5-sonnet", "gpt-5", "gemini-2.5-pro")
"""Models that know by themselves when to go on and when to stop."""


def starting_rules(new: NewAgent, model: Model, tools: Sequence[Tool]) -> tuple[Rule, ...]:
    """The rules of a new agent: those given, those its own tools come with, and approvals that tools demand."""
    rules = list(new.tool_rules or ())
    if _wanted(new, model):
        ruled = {rule["tool_name"] for rule in rules if rule["type"] in ("exit_loop", "continue_loop")}
        for tool in tools:
            if tool.name in _ENDING and tool.name not in ruled:
                rules.append({"type": "exit_loop", "tool_name": tool.name})
            elif tool.tool_type in _CONTINUING and tool.name not in ruled:
                rules.append({"type": "continue_loop", "tool_name": tool.name})
    return with_approvals(rules, tools)


def with_approvals(rules: Iterable[Rule], tools: Iterable[Tool]) -> tuple[Rule, ...]:
    """The rules, and one for each tool that wants approval by default and has none."""
    rules = list(rules)
    asked = {rule["tool_name"] for rule in rules if rule["type"] == "requires_approval"}
    missing = [tool.name for tool in tools if tool.default_requires_approval and tool.name not in asked]
    return (*rules, *({"type": "requires_approval", "tool_name": name} for name in missing))


def _wanted(new: NewAgent, model: Model) -> bool:
    if new.include_base_tool_rules is not None:
        return new.include_base_tool_rules
    if new.agent_type == "letta_v1_agent" and not new.tool_rules:
        return False
    name = model.name.lower()
    able = any(part in name for part in _ABLE_MODELS) and "mini" not in name
    return new.agent_type == "sleeptime_agent" or not able
