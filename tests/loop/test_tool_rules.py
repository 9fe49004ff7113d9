"""Tool rules: what may be called next, with which arguments, and when a run may stop."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain.errors import Invalid
from perdure.loop.tool_rules import Choice, ToolRules, check_prefilled
from perdure.loop.verdict import Called, Verdict, judge

TOOLS = ("look", "take", "drop", "end")

Rule = dict[str, Any]


def first(tool: str, **fields: Any) -> Rule:
    return {"type": "run_first", "tool_name": tool, **fields}


def child(tool: str, *children: str, **fields: Any) -> Rule:
    return {"type": "constrain_child_tools", "tool_name": tool, "children": list(children), **fields}


def parent(tool: str, *children: str) -> Rule:
    return {"type": "parent_last_tool", "tool_name": tool, "children": list(children)}


def by_output(tool: str, mapping: dict[str, str], **fields: Any) -> Rule:
    return {"type": "conditional", "tool_name": tool, "child_output_mapping": mapping, **fields}


def most(tool: str, count: int) -> Rule:
    return {"type": "max_count_per_step", "tool_name": tool, "max_count_limit": count}


def plain(kind: str, tool: str) -> Rule:
    return {"type": kind, "tool_name": tool}


def allowed(
    rules: list[Rule], *called: str, returned: str | None = None, **options: bool
) -> tuple[str, tuple[str, ...]]:
    """How freely and among which of TOOLS the model chooses after these calls."""
    choice = ToolRules(rules, TOOLS).choice(called, returned, **options)
    return choice.tool_choice, choice.names


def refusal(rules: list[Rule], *called: str, returned: str = "", **options: bool) -> str:
    """Why no choice is left after these calls."""
    with pytest.raises(Invalid) as caught:
        ToolRules(rules, TOOLS).choice(called, returned, **options)
    return caught.value.message


def test_without_rules_everything_is_allowed_and_nothing_is_forced() -> None:
    rules = ToolRules([], TOOLS)
    assert rules.choice([], None) == Choice(TOOLS)
    assert rules.parallel_allowed
    assert rules.section() == ""
    assert rules.missing([]) == ()


def test_a_first_tool_is_forced_once() -> None:
    assert allowed([first("take")]) == ("take", ("take",))
    assert allowed([first("take")], "take") == ("auto", TOOLS)
    assert allowed([first("take"), first("look")]) == ("required", ("look", "take"))


def test_a_first_tool_the_agent_lacks_says_so_until_something_was_called() -> None:
    assert "fly" in refusal([first("fly"), first("look")])
    assert allowed([first("fly")], "look") == ("auto", TOOLS)


def test_children_are_forced_right_after_their_parent_only() -> None:
    rules = [child("look", "take", "drop")]
    assert allowed(rules) == ("auto", TOOLS)
    assert allowed(rules, "look") == ("required", ("take", "drop"))
    assert allowed([child("look", "take")], "look") == ("take", ("take",))
    assert allowed(rules, "look", "take") == ("auto", TOOLS)


def test_children_may_follow_their_parent_and_nothing_else() -> None:
    rules = [parent("look", "take")]
    assert allowed(rules) == ("auto", ("look", "drop", "end"))
    assert allowed(rules, "look") == ("take", ("take",))
    assert allowed(rules, "look", "take") == ("auto", ("look", "drop", "end"))


def test_a_child_may_follow_any_of_its_parents() -> None:
    rules = [parent("look", "take"), parent("drop", "take", "end")]
    assert allowed(rules, "look") == ("take", ("take",))
    assert allowed(rules, "drop") == ("required", ("take", "end"))
    assert allowed(rules, "take") == ("auto", ("look", "drop"))


def test_a_first_tool_need_not_wait_for_its_parent() -> None:
    rules = [first("take"), parent("look", "take")]
    assert allowed(rules) == ("take", ("take",))
    assert allowed(rules, "drop") == ("auto", ("look", "drop", "end"))


@pytest.mark.parametrize(
    ("key", "returned"),
    [
        ("sunny", "sunny"),
        ("sunny", " sunny\n"),
        ("true", "True"),
        ("False", "false"),
        ("1", "1"),
        ("1", "1.0"),
        ("3.50", "3.5"),
        ("-2", "-2"),
        ("1e3", "1000"),
        ("None", "None"),
        ("", ""),
    ],
)
def test_a_return_picks_the_child_by_its_value(key: str, returned: str) -> None:
    assert allowed([by_output("look", {"else": "drop", key: "take"})], "look", returned=returned) == ("take", ("take",))


@pytest.mark.parametrize(
    ("key", "returned"),
    [
        ("sunny", "Sunny"),
        ("1", "True"),
        ("true", "1"),
        ("1", "one"),
        ("1", "1 1"),
        ("inf", "1e999"),
        ("9", "9" * 50_000),
    ],
)
def test_a_return_of_another_value_picks_nothing(key: str, returned: str) -> None:
    assert allowed([by_output("look", {key: "take"})], "look", returned=returned) == ("auto", TOOLS)


def test_a_return_that_stands_in_the_mapping_word_for_word_goes_first() -> None:
    assert allowed([by_output("look", {"1": "take", "1.0": "drop"})], "look", returned="1.0")[0] == "drop"


def test_without_a_match_the_default_follows_or_nothing_may() -> None:
    assert allowed([by_output("look", {"a": "take"}, default_child="end")], "look", returned="b") == ("end", ("end",))
    strict = [by_output("look", {"a": "take"}, require_output_mapping=True)]
    assert allowed(strict, "look", returned="a") == ("take", ("take",))
    said = refusal(strict, "look", returned="b" * 1000)
    assert "conditional" in said
    assert '"bbb' in said
    assert len(said) < 600


def test_a_tool_is_gone_after_its_count() -> None:
    rules = [most("look", 2)]
    assert allowed(rules, "look", "take") == ("auto", TOOLS)
    assert allowed(rules, "look", "take", "look") == ("auto", ("take", "drop", "end"))
    assert allowed([most("look", 0)]) == ("auto", ("take", "drop", "end"))


def test_where_no_tool_is_left_the_model_may_still_speak() -> None:
    rules = ToolRules([most("look", 1)], ["look"])
    assert rules.choice(["look"], "x").names == ()
    assert rules.choice(["look"], "x").tool_choice == "auto"


def test_rules_are_met_all_at_once() -> None:
    rules = [child("look", "take", "drop"), child("look", "drop", "end"), most("end", 0)]
    assert allowed(rules, "look") == ("drop", ("drop",))


@pytest.mark.parametrize(
    ("rules", "called", "kinds"),
    [
        ([child("look", "take"), most("take", 1), most("drop", 0)], ["take", "look"], {"constrain_child_tools", "max"}),
        ([child("look", "take"), child("look", "drop")], ["look"], {"take", "drop"}),
        ([child("look", "take"), parent("drop", "take")], ["look"], {"constrain_child_tools", "parent_last_tool"}),
        ([first("look"), most("look", 0)], [], {"run_first", "max_count_per_step"}),
    ],
)
def test_rules_at_odds_are_named(rules: list[Rule], called: list[str], kinds: set[str]) -> None:
    said = refusal(rules, *called)
    assert all(kind in said for kind in kinds)
    assert "Call drop at most" not in said


def test_a_call_may_be_demanded_from_outside() -> None:
    assert allowed([], must_call=True) == ("required", TOOLS)
    rules = [plain("required_before_exit", "look"), *(most(tool, 0) for tool in TOOLS)]
    said = refusal(rules, must_call=True)
    assert "required_before_exit" in said
    assert "max_count_per_step" in said


def test_rules_about_tools_the_agent_lacks_say_nothing() -> None:
    rules = [
        child("fly", "look"), child("look", "fly"), parent("look", "fly"), parent("fly", "look"), most("fly", 0),
        by_output("look", {"x": "fly"}, require_output_mapping=True), plain("required_before_exit", "fly"),
        plain("exit_loop", "fly"),
    ]  # fmt: skip
    assert allowed(rules, "look", returned="x") == ("auto", TOOLS)
    known = ToolRules(rules, TOOLS)
    assert known.missing([]) == ()
    assert known.parallel_allowed
    assert known.section() == ""
    assert allowed([child("look", "fly", "take")], "look") == ("take", ("take",))


def test_what_a_tool_is() -> None:
    rules = ToolRules(
        [
            plain("exit_loop", "end"),
            plain("continue_loop", "look"),
            child("take", "drop"),
            plain("requires_approval", "drop"),
        ],
        TOOLS,
    )
    assert [tool for tool in TOOLS if rules.is_terminal(tool)] == ["end"]
    assert [tool for tool in TOOLS if rules.continues(tool)] == ["look", "take"]
    assert [tool for tool in TOOLS if rules.needs_approval(tool)] == ["drop"]


def test_only_approvals_leave_parallel_calls_alone() -> None:
    assert ToolRules([plain("requires_approval", "look")], TOOLS).parallel_allowed
    assert not ToolRules([plain("continue_loop", "look")], TOOLS).parallel_allowed


def test_what_is_missing_before_the_end() -> None:
    rules = ToolRules([plain("required_before_exit", tool) for tool in ("take", "look", "take")], TOOLS)
    assert rules.missing([]) == ("take", "look")
    assert rules.missing(["look", "drop"]) == ("take",)


def test_arguments_given_by_rules() -> None:
    nodes = [{"name": "take", "args": {"what": "key"}}, {"name": "drop"}]
    rules = ToolRules(
        [first("look", args={"where": "up"}), child("look", "take", "drop", child_arg_nodes=nodes)], TOOLS
    )
    assert rules.prefilled("look", []) == {"where": "up"}
    assert rules.prefilled("take", []) == {}
    assert rules.prefilled("take", ["look"]) == {"what": "key"}
    assert rules.prefilled("drop", ["look"]) == {}
    assert rules.prefilled("take", ["look", "drop"]) == {}
    assert rules.prefilled("look", ["take"]) == {}


SCHEMA: dict[str, Any] = {
    "name": "look",
    "parameters": {
        "type": "object",
        "required": ["where", "how"],
        "properties": {
            "where": {"type": "string"},
            "how": {"type": "string", "enum": ["fast", "slow"]},
            "far": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "kind": {"const": 7},
        },
    },
}


@pytest.mark.parametrize("given", [{}, {"where": "up"}, {"how": "slow", "far": None}, {"far": 3, "kind": 7}])
def test_given_arguments_that_fit(given: dict[str, Any]) -> None:
    assert check_prefilled(SCHEMA, given) is None


@pytest.mark.parametrize(
    "given",
    [{"where": 1}, {"where": None}, {"how": "well"}, {"far": "3"}, {"kind": 8}, {"who": "me"}, {"far": [1]}],
)
def test_given_arguments_that_do_not_fit(given: dict[str, Any]) -> None:
    said = check_prefilled(SCHEMA, given)
    assert said is not None
    assert "look" in said
    assert repr(next(iter(given))) in said


def test_a_violation_names_what_may_be_called_and_the_rule_that_was_broken() -> None:
    rules = ToolRules([child("look", "take"), most("end", 0)], TOOLS)
    said = rules.violation("drop", rules.choice(["look"], ""))
    assert said.startswith("[ToolConstraintError] Cannot call drop, valid tools include: ['take']")
    assert "Right after look, the next call must be take." in said
    assert "end" not in said


def test_the_section_tells_of_each_rule_the_model_has_to_know() -> None:
    told = [
        child("look", "take", "drop"), by_output("take", {"yes": "drop"}, default_child="end"), most("look", 3),
        parent("drop", "end"), plain("exit_loop", "end"), plain("continue_loop", "drop"),
    ]  # fmt: skip
    untold = [first("look"), plain("required_before_exit", "look"), plain("requires_approval", "look")]
    section = ToolRules([*untold, *told, told[0]], TOOLS).section()
    assert section.startswith("<tool_usage_rules>\n")
    assert section.endswith("\n</tool_usage_rules>")
    assert section.count("<tool_rule>") == len(told)
    assert '"yes": drop; anything else: end' in section
    assert "look at most 3 times" in section
    assert ToolRules(untold, TOOLS).section() == ""


# ---- whether the run goes on


@pytest.mark.parametrize(
    ("ran", "options", "verdict"),
    [
        (None, {}, Verdict("end_turn")),
        (None, {"cut": True}, Verdict("max_tokens_exceeded")),
        (("look",), {}, Verdict(None)),
        (("look", "end"), {}, Verdict("tool_rule")),
        ((), {}, Verdict(None)),
        ((), {"misfit": True}, Verdict("invalid_tool_call")),
    ],
)
def test_what_follows_from_a_step(ran: tuple[str, ...] | None, options: dict[str, bool], verdict: Verdict) -> None:
    rules = ToolRules([plain("exit_loop", "end")], TOOLS)
    assert judge(rules, Called(ran or ()), ran, **options) == verdict


def test_nothing_ends_before_what_is_required() -> None:
    rules = ToolRules([plain("exit_loop", "end"), plain("required_before_exit", "look")], TOOLS)
    assert judge(rules, Called(), None).missing == ("look",)
    assert judge(rules, Called(("end",)), ("end",)).missing == ("look",)
    assert judge(rules, Called(("look", "end")), ("end",)) == Verdict("tool_rule")
    assert judge(rules, Called(), None, cut=True) == Verdict("max_tokens_exceeded")


# ---- whatever the rules

NAMES = st.sampled_from([*TOOLS, "fly"])
SEVERAL = st.lists(NAMES, max_size=3)
RULES = st.lists(
    st.one_of(
        st.builds(first, NAMES),
        st.builds(lambda tool, children: child(tool, *children), NAMES, SEVERAL),
        st.builds(lambda tool, children: parent(tool, *children), NAMES, SEVERAL),
        st.builds(
            lambda tool, mapping, other, strict: by_output(
                tool, mapping, default_child=other, require_output_mapping=strict
            ),
            NAMES, st.dictionaries(st.sampled_from(["1", "true", "x"]), NAMES, min_size=1), st.none() | NAMES,
            st.booleans(),
        ),
        st.builds(most, NAMES, st.integers(0, 2)),
        st.builds(plain, st.sampled_from(["exit_loop", "continue_loop", "required_before_exit"]), NAMES),
    ),
    max_size=6,
)  # fmt: skip


@settings(deadline=None)
@given(RULES, st.lists(st.sampled_from(TOOLS), max_size=4), st.sampled_from(["1", "true", "x", "y"]), st.booleans())
def test_a_choice_can_be_kept(rules: list[Rule], called: list[str], returned: str, must_call: bool) -> None:
    known, named = ToolRules(rules, TOOLS), list[Rule]()
    try:
        choice = known.choice(called, returned, must_call=must_call)
    except Invalid as error:
        named = [rule for rule in rules if rule["type"] in error.message]
        choice = None
    if choice is None:
        assert named
        return
    assert set(choice.names) <= set(TOOLS)
    if choice.tool_choice == "required":
        assert len(choice.names) > 1
    elif choice.tool_choice == "auto":
        assert not must_call
    else:
        assert choice.names == (choice.tool_choice,)
    for rule in rules:
        if rule["type"] == "max_count_per_step" and called.count(rule["tool_name"]) >= rule["max_count_limit"]:
            assert rule["tool_name"] not in choice.names
    for name in set(TOOLS) - set(choice.names):
        hints = known.violation(name, choice).partition("It was not run.")[2]
        assert hints


@settings(deadline=None)
@given(RULES)
def test_rules_in_any_order_allow_the_same(rules: list[Rule]) -> None:
    def outcome(given: list[Rule]) -> tuple[str, ...] | None:
        try:
            return ToolRules(given, TOOLS).choice(["look"], "x").names
        except Invalid:
            return None

    assert outcome(rules) == outcome(rules[::-1])
