"""Tool rules as callers send them: each is checked for what its kind needs, and kept as sent."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator


def check_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule itself. Raises ValueError saying what it lacks."""
    kind = rule.get("type")
    check = _KINDS.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise ValueError(f"a tool rule's type must be one of {', '.join(_KINDS)}")
    if not isinstance(rule.get("tool_name"), str) or not rule["tool_name"]:
        raise ValueError("a tool rule needs the name of its tool in tool_name")
    check(rule)
    return rule


def _nothing(rule: Mapping[str, Any]) -> None:
    """Such rules have no fields of their own that they need."""


def _children(rule: Mapping[str, Any]) -> None:
    children = rule.get("children")
    if not isinstance(children, list) or not all(isinstance(child, str) for child in children):
        raise ValueError(f"a rule of type {rule['type']} needs a list of tool names in children")


def _mapping(rule: Mapping[str, Any]) -> None:
    mapping = rule.get("child_output_mapping")
    if not isinstance(mapping, dict) or not mapping or not all(isinstance(child, str) for child in mapping.values()):
        raise ValueError("a conditional rule needs at least one output and its tool's name in child_output_mapping")


def _count(rule: Mapping[str, Any]) -> None:
    limit = rule.get("max_count_limit")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ValueError("a rule of type max_count_per_step needs a number from 0 in max_count_limit")


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    "run_first": _nothing,
    "constrain_child_tools": _children,
    "parent_last_tool": _children,
    "conditional": _mapping,
    "continue_loop": _nothing,
    "exit_loop": _nothing,
    "max_count_per_step": _count,
    "required_before_exit": _nothing,
    "requires_approval": _nothing,
}

ToolRule = Annotated[dict[str, Any], AfterValidator(check_rule)]
