"""Tools called, one or several at once: S06, S07 and S09 to S16; through both Python SDKs."""

import json
from typing import Any

import pytest

from tests.contract.told import fresh_agent, told, types
from tests.contract.turns import ENDING, TEA, agent_of, frames, of_type, tail, turn
from tests.rig.answers import Answer, Parallel, call, parallel
from tests.rig.model import Script
from tests.rig.sdks import PY1, Client, Decoded
from tests.rig.server import Server

CITIES = ["Oslo", "Rome", "Lima"]
SUNNY = [f"It is sunny in {city}." for city in CITIES]


def several_agent(server: Server, script: Script) -> str:
    """An agent that may call several tools at once."""
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    return agent_of(server, script, tools=["weather"], model_settings=settings)


def three() -> Parallel:
    return parallel(*(call("weather", {"city": city}) for city in CITIES))


def returned(client: Client, items: list[Decoded]) -> list[tuple[str, str]]:
    """Call id and text of each return: of one message in the newer SDK, which reads lists; of one each in the older."""
    messages = of_type(items, "tool_return_message")
    if client.sdk.name == PY1:
        assert len(messages) == 1
        assert messages[0]["tool_return"] == messages[0]["tool_returns"][0]["tool_return"]
        return [(each["tool_call_id"], each["tool_return"]) for each in messages[0]["tool_returns"]]
    return [(each["tool_call_id"], each["tool_return"]) for each in messages]


def test_s06_one_tool_then_text_in_step_mode(py: Client, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    items = turn(py, fresh_agent(py, script))
    assert [item.type for item in items] == [
        "ping", "tool_call_message", "tool_return_message", "assistant_message", *ENDING
    ]  # fmt: skip
    called = items[1]
    assert json.loads(called["tool_call"]["arguments"]) == TEA
    assert called["tool_calls"] == [called["tool_call"]]
    assert tail(items) == ("end_turn", 2)
    assert len({item["step_id"] for item in items[1:4]}) == 2
    assert len({item["run_id"] for item in items[1:4]}) == 1


def test_s07_tool_call_fragments(py: Client, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    deltas = [item["tool_call"] for item in of_type(items, "tool_call_message")]
    assert deltas[0]["name"] == "memory_insert"
    assert not deltas[0].get("arguments")
    assert all(delta["tool_call_id"] == deltas[0]["tool_call_id"] for delta in deltas)
    assert json.loads("".join(delta.get("arguments") or "" for delta in deltas[1:])) == TEA


def test_s07_the_delta_is_an_object_in_both_fields(server: Server, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    found = frames(server, agent_of(server, script), stream_tokens=True)
    deltas = [frame.json for frame in found if frame.kind == "tool_call_message"]
    assert len(deltas) > 1
    assert all(delta["tool_call"] == delta["tool_calls"] for delta in deltas)
    assert None not in [value for delta in deltas for value in delta["tool_call"].values()]


def test_s09_a_tool_without_arguments(py: Client, script: Script) -> None:
    script.answer(call("conversation_search", "")).say("Nothing.")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
    (called,) = of_type(items, "tool_call_message")
    assert (called["tool_call"]["name"], called["tool_call"].get("arguments")) == ("conversation_search", None)
    assert [item["status"] for item in of_type(items, "tool_return_message")] == ["success"]


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s10_a_tool_that_raises(py: Client, script: Script, tokens: bool) -> None:
    script.answer(call("fail", {"reason": "no luck"})).say("It failed.")
    items = turn(py, fresh_agent(py, script, tools=["fail"]), stream_tokens=tokens)
    (answer,) = of_type(items, "tool_return_message")
    assert (answer["status"], answer["name"]) == ("error", "fail")
    assert "no luck" in answer["tool_return"]
    assert tail(items) == ("end_turn", 2)


def test_s11_an_unknown_tool(py: Client, script: Script) -> None:
    script.answer(call("launch", {})).say("I cannot.")
    items = turn(py, fresh_agent(py, script))
    (answer,) = of_type(items, "tool_return_message")
    assert answer["status"] == "error"
    assert answer["tool_return"].startswith("Tool launch not found.")
    assert tail(items) == ("end_turn", 2)


@pytest.mark.parametrize("broken", ['{"query": "te', "[]", "tea", '{"query": "tea"'])
def test_s12_malformed_arguments(py: Client, script: Script, broken: str) -> None:
    script.answer(call("conversation_search", broken)).answer(call("weather", broken)).say("Nothing.")
    items = turn(py, fresh_agent(py, script, tools=["weather"]))
    searched, looked = of_type(items, "tool_return_message")
    assert searched["status"] == "success", "a tool that needs no arguments runs without any"
    assert (looked["status"], "'city' is missing" in looked["tool_return"]) == ("error", True)
    assert tail(items) == ("end_turn", 3)


def test_s13_three_parallel_calls_in_step_mode(py: Client, server: Server, script: Script) -> None:
    asked = three()
    script.answer(asked).say("All sunny.")
    items = turn(py, several_agent(server, script))
    calls = of_type(items, "tool_call_message")
    if py.sdk.name == PY1:
        assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
        (together,) = calls
        named: list[Any] = together["tool_calls"]
    else:
        # 0.1.x reads only the singular fields: one frame for each call and each return.
        assert len({item["otid"] for item in calls}) == 3
        named = [item["tool_call"] for item in calls]
    assert [json.loads(each["arguments"])["city"] for each in named] == CITIES
    assert returned(py, items) == list(zip([each.id for each in asked.calls], SUNNY, strict=True))
    assert tail(items) == ("end_turn", 2)


def test_s14_three_parallel_calls_in_token_mode(py: Client, server: Server, script: Script) -> None:
    asked = three()
    script.answer(asked).say("All sunny.")
    agent = several_agent(server, script)
    items = turn(py, agent, stream_tokens=True)
    deltas = of_type(items, "tool_call_message")
    assert len({item["id"] for item in deltas}) == 1
    arguments: dict[str, str] = {}
    for item in deltas:
        delta = item["tool_call"]
        arguments[delta["tool_call_id"]] = arguments.get(delta["tool_call_id"], "") + (delta.get("arguments") or "")
    assert [json.loads(text)["city"] for text in arguments.values()] == CITIES
    assert returned(py, items) == list(zip(arguments, SUNNY, strict=True))
    assert tail(items) == ("end_turn", 2)
    streamed = {key[:3] for key in told(items)}
    assert streamed == {key[:3] for key in told(py.all("list_messages", agent_id=agent))}


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s15_two_calls_where_parallel_is_off(py: Client, script: Script, tokens: bool) -> None:
    script.answer(parallel(call("weather", {"city": "Oslo"}), call("weather", {"city": "Rome"}))).say("Sunny.")
    agent = fresh_agent(py, script, tools=["weather"])
    items = turn(py, agent, stream_tokens=tokens)
    assert len({item["tool_call"]["tool_call_id"] for item in of_type(items, "tool_call_message")}) == 1
    assert [text for _, text in returned(py, items)] == SUNNY[:1]
    assert told(items) == told(py.all("list_messages", agent_id=agent))


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s16_max_steps(py: Client, script: Script, tokens: bool) -> None:
    script.otherwise(lambda asked: Answer((call("weather", {"city": "Oslo"}),)))
    agent = fresh_agent(py, script, tools=["weather"])
    items = turn(py, agent, max_steps=2, stream_tokens=tokens)
    assert types(items) == ["tool_call_message", "tool_return_message"] * 2 + ENDING
    assert (tail(items), len(script.asked)) == (("max_steps", 2), 2)
