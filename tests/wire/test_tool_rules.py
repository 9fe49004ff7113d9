"""Tool rules as callers send them: kept as sent, or refused with what is wrong."""

from typing import Any

import pytest

from perdure.wire.tool_rules import check_rule

FITTING: list[dict[str, Any]] = [
    {"type": "run_first"},
    {"type": "run_first", "args": None},
    {"type": "run_first", "args": {"a": 1}, "prompt_template": "ignored"},
    {"type": "constrain_child_tools", "children": ["b"]},
    {"type": "constrain_child_tools", "children": ["b"], "child_arg_nodes": None},
    {"type": "constrain_child_tools", "children": ["b"], "child_arg_nodes": [{"name": "b", "args": {"x": []}}]},
    {"type": "parent_last_tool", "children": ["b", "c"]},
    {"type": "conditional", "child_output_mapping": {"1": "b"}},
    {"type": "conditional", "child_output_mapping": {"1": "b"}, "default_child": "c", "require_output_mapping": True},
    {"type": "conditional", "child_output_mapping": {"1": "b"}, "default_child": None, "require_output_mapping": None},
    {"type": "max_count_per_step", "max_count_limit": 0},
    {"type": "exit_loop"},
    {"type": "continue_loop"},
    {"type": "required_before_exit"},
    {"type": "requires_approval"},
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": None}, "type must be one of"),
    ({"type": "wander"}, "type must be one of"),
    ({"type": "exit_loop", "tool_name": ""}, "tool_name"),
    ({"type": "exit_loop", "tool_name": 1}, "tool_name"),
    ({"type": "run_first", "args": []}, "args"),
    ({"type": "constrain_child_tools"}, "children"),
    ({"type": "constrain_child_tools", "children": [1]}, "children"),
    ({"type": "constrain_child_tools", "children": ["b"], "child_arg_nodes": {}}, "child_arg_nodes"),
    ({"type": "constrain_child_tools", "children": ["b"], "child_arg_nodes": ["b"]}, "child_arg_nodes"),
    ({"type": "constrain_child_tools", "children": ["b"], "child_arg_nodes": [{"name": "c"}]}, "one of the rule's"),
    ({"type": "constrain_child_tools", "children": ["b"], "child_arg_nodes": [{"name": "b", "args": 1}]}, "args"),
    ({"type": "parent_last_tool", "children": "b"}, "children"),
    ({"type": "conditional"}, "child_output_mapping"),
    ({"type": "conditional", "child_output_mapping": {}}, "child_output_mapping"),
    ({"type": "conditional", "child_output_mapping": {"1": None}}, "child_output_mapping"),
    ({"type": "conditional", "child_output_mapping": {"1": "b"}, "default_child": 1}, "default_child"),
    ({"type": "conditional", "child_output_mapping": {"1": "b"}, "require_output_mapping": "no"}, "true or false"),
    ({"type": "max_count_per_step"}, "max_count_limit"),
    ({"type": "max_count_per_step", "max_count_limit": -1}, "max_count_limit"),
    ({"type": "max_count_per_step", "max_count_limit": True}, "max_count_limit"),
]


@pytest.mark.parametrize("rule", FITTING)
def test_a_rule_is_kept_as_sent(rule: dict[str, Any]) -> None:
    sent = {"tool_name": "a", **rule}
    assert check_rule(sent) is sent


@pytest.mark.parametrize(("rule", "said"), WRONG)
def test_a_wrong_rule_is_refused_with_what_it_lacks(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_rule({"tool_name": "a", **rule})
