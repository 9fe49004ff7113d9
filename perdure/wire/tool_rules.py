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


def _first(rule: Mapping[str, Any]) -> None:
    if not _is_arguments(rule.get("args")):
        raise ValueError("args of a run_first rule must be an object of arguments")


def _children(rule: Mapping[str, Any]) -> None:
    children = rule.get("children")
    if not isinstance(children, list) or not all(isinstance(child, str) for child in children):
        raise ValueError(f"a rule of type {rule['type']} needs a list of tool names in children")


def _children_with_arguments(rule: Mapping[str, Any]) -> None:
    _children(rule)
    nodes = rule.get("child_arg_nodes")
    if nodes is None:
        return
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ValueError("child_arg_nodes must be a list of objects, each with the name of a child and its args")
    for node in nodes:
        if node.get("name") not in rule["children"]:
            raise ValueError("each of child_arg_nodes must have the name of one of the rule's children")
        if not _is_arguments(node.get("args")):
            raise ValueError("args in child_arg_nodes must be an object of arguments")


def _mapping(rule: Mapping[str, Any]) -> None:
    mapping = rule.get("child_output_mapping")
    if not isinstance(mapping, dict) or not mapping or not all(isinstance(child, str) for child in mapping.values()):
        raise ValueError("a conditional rule needs at least one output and its tool's name in child_output_mapping")
    if not isinstance(rule.get("default_child"), str | None):
        raise ValueError("default_child must be the name of a tool")
    if not isinstance(rule.get("require_output_mapping"), bool | None):
        raise ValueError("require_output_mapping must be true or false")


def _count(rule: Mapping[str, Any]) -> None:
    limit = rule.get("max_count_limit")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ValueError("a rule of type max_count_per_step needs a number from 0 in max_count_limit")


def _is_arguments(value: Any) -> bool:
    return isinstance(value, dict | None)


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    "run_first": _first,
    "constrain_child_tools": _children_with_arguments,
    "parent_last_tool": _children,
    "conditional": _mapping,
    "continue_loop": _nothing,
    "exit_loop": _nothing,
    "max_count_per_step": _count,
    "required_before_exit": _nothing,
    "requires_approval": _nothing,
}

ToolRule = Annotated[dict[str, Any], AfterValidator(check_rule)]
