"""Tool rules through the real Python SDK: what the model is offered, what it may not do, and when a turn ends."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.told import fresh_agent, said, told, types, user
from tests.rig.answers import call, parallel
from tests.rig.model import Asked, Script
from tests.rig.sdks import PY1, Client, Decoded, Sdk, SdkError
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
TOOLS = ["weather", "fail", "conversation_search"]
SUNNY = "It is sunny in Oslo."

Rule = dict[str, Any]


@pytest.fixture
def py(sdks: Callable[[str], Sdk], server: Server) -> Client:
    return sdks(PY1).at(server.base_url)


def ruled(client: Client, script: Script, *rules: Rule, **fields: Any) -> str:
    """An agent with TOOLS alone, under these rules alone."""
    bare = {"include_base_tools": False, "include_base_tool_rules": False}
    fields = {"tools": TOOLS, "tool_rules": list(rules), **bare, **fields}
    return fresh_agent(client, script, **fields)


def turn(client: Client, agent: str, **options: Any) -> list[Decoded]:
    return client.all("stream", agent_id=agent, messages=user("hi"), **options)


def stop(items: list[Decoded]) -> str:
    assert [item.type for item in items[-2:]] == ENDING
    return items[-2]["stop_reason"]


def returns(items: list[Decoded]) -> list[tuple[str, str]]:
    """Status and text of each tool return."""
    return [(item["status"], item["tool_return"]) for item in items if item.type == "tool_return_message"]


def offer(asked: Asked) -> tuple[Any, set[str]]:
    """How freely and among which tools the model was asked to choose."""
    choice = asked.body.get("tool_choice")
    return (choice["function"]["name"] if isinstance(choice, dict) else choice), set(asked.tools)


def rule(kind: str, tool: str, **fields: Any) -> Rule:
    return {"type": kind, "tool_name": tool, **fields}


def weather() -> Any:
    return call("weather", {"city": "Oslo"})


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s17_a_terminal_tool_ends_the_turn(py: Client, server: Server, script: Script, tokens: bool) -> None:
    script.answer(weather())
    items = turn(py, ruled(py, script, rule("exit_loop", "weather")), stream_tokens=tokens)
    assert types(items) == ["tool_call_message", "tool_return_message", *ENDING]
    assert (stop(items), returns(items)) == ("tool_rule", [("success", SUNNY)])
    run = server.get(f"/v1/runs/{items[0]['run_id']}").json
    assert (run["status"], run["stop_reason"]) == ("completed", "tool_rule")


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s18_what_is_required_comes_before_the_end(py: Client, script: Script, tokens: bool) -> None:
    script.say("All", " done.").answer(weather()).say("Now", " done.")
    agent = ruled(py, script, rule("required_before_exit", "weather"))
    items = turn(py, agent, stream_tokens=tokens)
    assert types(items) == [
        "assistant_message", "tool_call_message", "tool_return_message", "assistant_message", *ENDING,
    ]  # fmt: skip
    assert (stop(items), said(items)) == ("end_turn", "All done.Now done.")
    history = py.all("list_messages", agent_id=agent)
    assert told(items) == told(history)
    _, beat = (item for item in history if item.type == "user_message")
    note = json.loads(beat["content"])
    assert note["type"] == "heartbeat"
    assert note["reason"].startswith("[This is an automated system message hidden from the user] ")
    assert "weather" in note["reason"]
    assert note["time"].endswith("UTC+0000")
    assert script.asked[1].said == beat["content"]
    assert [offer(asked)[0] for asked in script.asked] == ["auto", "required", "auto"]


def test_what_is_required_comes_before_a_terminal_tool_as_well(py: Client, script: Script) -> None:
    script.answer(weather()).answer(call("conversation_search", {"query": "tea"})).answer(weather())
    rules = rule("exit_loop", "weather"), rule("required_before_exit", "conversation_search")
    items = turn(py, ruled(py, script, *rules))
    assert stop(items) == "tool_rule"
    assert len(returns(items)) == 3


def test_a_model_that_never_calls_what_is_required_runs_out_of_steps(py: Client, script: Script) -> None:
    script.say("No.").say("No!")
    agent = ruled(py, script, rule("required_before_exit", "weather"))
    assert stop(turn(py, agent, max_steps=2)) == "max_steps"
    kinds = [item.type for item in py.all("list_messages", agent_id=agent)]
    assert kinds == ["system_message", "user_message", "assistant_message", "user_message", "assistant_message"]


def test_an_agent_that_keeps_no_history_still_sees_its_own_turn(py: Client, script: Script) -> None:
    script.answer(weather()).say("Old.").say("Done.").answer(weather()).say("Sunny.")
    agent = ruled(py, script, rule("required_before_exit", "weather"), message_buffer_autoclear=True)
    turn(py, agent)
    turn(py, agent)
    roles = [message["role"] for message in script.asked[-1].messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "tool"]


def test_17_the_first_tool_is_forced(py: Client, script: Script) -> None:
    script.answer(weather()).say("Sunny.")
    items = turn(py, ruled(py, script, rule("run_first", "weather")))
    assert stop(items) == "end_turn"
    assert [offer(asked) for asked in script.asked] == [("weather", {"weather"}), ("auto", set(TOOLS))]


def test_17_a_first_tool_may_come_with_arguments(py: Client, script: Script) -> None:
    script.answer(call("weather", {"city": "Rome"})).answer(call("weather", {"city": "Lima"})).say("Sunny.")
    items = turn(py, ruled(py, script, rule("run_first", "weather", args={"city": "Oslo"})))
    assert [text for _, text in returns(items)] == [SUNNY, "It is sunny in Lima."]


def test_18_a_call_that_may_not_follow_is_not_run(py: Client, script: Script) -> None:
    script.answer(weather()).answer(weather()).answer(call("conversation_search", {})).say("Fine.")
    agent = ruled(py, script, rule("constrain_child_tools", "weather", children=["conversation_search"]))
    items = turn(py, agent)
    refused = returns(items)[1]
    assert refused[0] == "error"
    assert refused[1].startswith(
        "[ToolConstraintError] Cannot call weather, valid tools include: ['conversation_search']"
    )
    only = ("conversation_search", {"conversation_search"})
    assert [offer(asked) for asked in script.asked] == [("auto", set(TOOLS)), only, only, ("auto", set(TOOLS))]
    assert script.asked[2].said == refused[1]
    assert (stop(items), said(items)) == ("end_turn", "Fine.")


def test_18_children_may_come_with_arguments(py: Client, script: Script) -> None:
    script.answer(call("fail", {"reason": "x"})).answer(call("weather", '{"city": "Ro')).say("Sunny.")
    nodes = [{"name": "weather", "args": {"city": "Oslo"}}]
    children = rule("constrain_child_tools", "fail", children=["weather"], child_arg_nodes=nodes)
    assert returns(turn(py, ruled(py, script, children)))[1] == ("success", SUNNY)


@pytest.mark.parametrize(
    ("mapping", "more", "following"),
    [
        ({"rain": "fail", SUNNY: "conversation_search"}, {}, ("conversation_search", {"conversation_search"})),
        ({"rain": "fail"}, {"default_child": "weather"}, ("weather", {"weather"})),
        ({"rain": "fail"}, {}, ("auto", set(TOOLS))),
    ],
)
def test_19_the_return_picks_what_follows(
    py: Client, script: Script, mapping: dict[str, str], more: dict[str, Any], following: tuple[str, set[str]]
) -> None:
    script.answer(weather()).say("I would rather stop.")
    agent = ruled(py, script, rule("conditional", "weather", child_output_mapping=mapping, **more))
    assert stop(turn(py, agent)) == "end_turn"
    assert offer(script.asked[1]) == following


def test_19_a_return_that_has_to_fit_and_does_not(py: Client, script: Script) -> None:
    script.answer(weather())
    strict = rule("conditional", "weather", child_output_mapping={"rain": "fail"}, require_output_mapping=True)
    with pytest.raises(SdkError) as raised:
        turn(py, ruled(py, script, strict))
    assert SUNNY in raised.value.body["message"]


def test_20_a_tool_is_gone_after_its_count(py: Client, script: Script) -> None:
    script.answer(weather()).answer(weather()).say("Sunny.").say("Hello again.")
    agent = ruled(py, script, rule("max_count_per_step", "weather", max_count_limit=1))
    items = turn(py, agent)
    assert [status for status, _ in returns(items)] == ["success", "error"]
    assert [set(asked.tools) for asked in script.asked] == [set(TOOLS), *[{"fail", "conversation_search"}] * 2]
    turn(py, agent)
    assert set(script.asked[3].tools) == set(TOOLS)


def test_a_child_is_offered_after_its_parent_alone(py: Client, script: Script) -> None:
    script.answer(weather()).answer(call("fail", {"reason": "x"})).say("Fine.")
    items = turn(py, ruled(py, script, rule("parent_last_tool", "weather", children=["fail"])))
    others = ("auto", {"weather", "conversation_search"})
    assert [offer(asked) for asked in script.asked] == [others, ("fail", {"fail"}), others]
    assert stop(items) == "end_turn"


def test_16_rules_leave_one_call_at_a_time(py: Client, script: Script) -> None:
    script.answer(parallel(weather(), call("weather", {"city": "Rome"}))).say("Sunny.")
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    agent = ruled(py, script, rule("continue_loop", "weather"), model_settings=settings)
    items = turn(py, agent, stream_tokens=True)
    assert returns(items) == [("success", SUNNY)]
    assert len({item["tool_call"]["tool_call_id"] for item in items if item.type == "tool_call_message"}) == 1
    assert script.asked[0].body["parallel_tool_calls"] is False


def test_an_unknown_tool_under_rules(py: Client, script: Script) -> None:
    script.answer(call("launch")).answer(weather()).say("Sunny.")
    items = turn(py, ruled(py, script, rule("run_first", "weather")))
    assert returns(items)[0] == ("error", "Tool launch not found. Available tools: weather.")
    assert offer(script.asked[1]) == ("weather", {"weather"})


def test_given_arguments_that_do_not_fit_end_the_turn(py: Client, server: Server, script: Script) -> None:
    script.answer(weather()).answer(weather()).say("Sunny.")
    agent = ruled(py, script, rule("run_first", "weather", args={"city": 7}))
    items = turn(py, agent)
    assert types(items) == ["tool_call_message", "tool_return_message", *ENDING]
    (status, text), *_ = returns(items)
    assert (stop(items), status) == ("invalid_tool_call", "error")
    assert "'city' must be a string" in text
    assert server.get(f"/v1/runs/{items[0]['run_id']}").json["status"] == "failed"
    py.one("update_agent", agent_id=agent, tool_rules=[])
    assert said(turn(py, agent)) == "Sunny."


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (
            [
                rule("run_first", "weather"),
                rule("constrain_child_tools", "weather", children=["fail"]),
                rule("max_count_per_step", "fail", max_count_limit=0),
            ],
            ["constrain_child_tools", "max_count_per_step", "fail"],
        ),
        ([rule("run_first", "launch")], ["launch", "run_first"]),
    ],
)
def test_rules_at_odds_fail_the_run_and_say_which(
    py: Client, script: Script, rules: list[Rule], named: list[str]
) -> None:
    agent = ruled(py, script, *rules)
    if rules[0]["tool_name"] == "weather":
        script.answer(weather())
    with pytest.raises(SdkError) as raised:
        turn(py, agent)
    error = raised.value
    assert (error.body["error_type"], stop(error.before)) == ("internal_error", "error")
    assert all(name in error.body["message"] for name in named)
    assert error.before[-1]["step_count"] == len(script.asked)
    script.say("Better.")
    py.one("update_agent", agent_id=agent, tool_rules=[])
    assert said(turn(py, agent)) == "Better."


def test_the_system_message_tells_of_the_rules(py: Client, server: Server, script: Script) -> None:
    for _ in range(4):
        script.say("Hello.")
    agent = ruled(py, script, rule("exit_loop", "weather"))
    turn(py, agent)
    system = script.asked[0].system
    assert system.index("</memory_blocks>") < system.index("<tool_usage_rules>") < system.index("<memory_metadata>")
    assert "Calling weather ends your turn." in system
    kept = server.get(f"/v1/agents/{agent}").json["tools"]
    weather_id = next(tool["id"] for tool in kept if tool["name"] == "weather")
    for verb, told_of in (("detach", False), ("attach", True)):
        assert server.request("PATCH", f"/v1/agents/{agent}/tools/{verb}/{weather_id}").status == 200
        turn(py, agent)
        assert ("<tool_usage_rules>" in script.asked[-1].system) == told_of
    py.one("update_agent", agent_id=agent, tool_rules=[])
    turn(py, agent)
    assert "<tool_usage_rules>" not in script.asked[-1].system


@pytest.mark.parametrize(
    "wrong",
    [
        rule("conditional", "weather", child_output_mapping={}),
        rule("constrain_child_tools", "weather", children=["fail"], child_arg_nodes=[{"name": "weather"}]),
        rule("run_first", "weather", args=["Oslo"]),
        rule("wander", "weather"),
    ],
)
def test_a_rule_that_is_no_rule_is_refused(py: Client, script: Script, wrong: Rule) -> None:
    agent = ruled(py, script)
    for op, fields in (("create_agent", {"model": script.handle}), ("update_agent", {"agent_id": agent})):
        with pytest.raises(SdkError) as raised:
            py.one(op, tool_rules=[wrong], **fields)
        assert raised.value.status == 422
        assert raised.value.body["detail"][0]["loc"][:2] == ["body", "tool_rules"]
