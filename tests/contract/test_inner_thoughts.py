"""Thoughts as an argument of calls: how older agents think on models that do not think by themselves."""

import json
from typing import Any

import pytest

from tests.contract.told import said, told, types, user
from tests.rig.answers import Cut, call, parallel, text
from tests.rig.model import Script
from tests.rig.sdks import Client, Decoded
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
OSLO = {"thinking": 'Ada asks for "Oslo". \U0001f600', "city": "Oslo", "request_heartbeat": True}
HELLO = {"thinking": "I greet her.", "message": "Hi"}
MODES = pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])


def thinker(server: Server, script: Script, **fields: Any) -> str:
    fields = {"agent_type": "memgpt_v2_agent", "initial_message_sequence": [], "tools": ["weather"], **fields}
    return server.new_agent(model=script.handle, memory_blocks=[{"label": "human", "value": "Ada."}], **fields)["id"]


def config(script: Script, **fields: Any) -> dict[str, Any]:
    named = {"model": script.name, "handle": script.handle, "model_endpoint_type": "openai", "context_window": 32000}
    return {**named, **fields}


def turn(client: Client, agent: str, **options: Any) -> list[Decoded]:
    return client.all("stream", agent_id=agent, messages=user("hi"), **options)


@MODES
def test_s61_the_voice_and_its_thoughts(py: Client, server: Server, script: Script, tokens: bool) -> None:
    script.answer(call("send_message", HELLO, fragments=20))
    agent = thinker(server, script)
    items = turn(py, agent, stream_tokens=tokens)
    assert types(items) == ["reasoning_message", "assistant_message", *ENDING]
    assert (said(items, "reasoning_message"), said(items)) == ("I greet her.", "Hi")
    assert {item["source"] for item in items if item.type == "reasoning_message"} == {"non_reasoner_model"}
    assert (len([item for item in items if item.type == "reasoning_message"]) > 1) is tokens
    assert told(items) == told(py.all("list_messages", agent_id=agent))


@MODES
@pytest.mark.parametrize("fragments", [1, 7, 1000])
def test_thoughts_come_before_their_call(
    py: Client, server: Server, script: Script, tokens: bool, fragments: int
) -> None:
    script.answer(call("weather", OSLO, fragments=fragments)).answer(call("send_message", HELLO))
    agent = thinker(server, script)
    items = turn(py, agent, stream_tokens=tokens)
    called = ["reasoning_message", "tool_call_message", "tool_return_message"]
    assert types(items) == [*called, "reasoning_message", "assistant_message", *ENDING]
    assert said(items, "reasoning_message") == OSLO["thinking"] + "I greet her."
    calls = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    asked = json.loads("".join(each.get("arguments") or "" for each in calls))
    assert asked == {"city": "Oslo", "request_heartbeat": True}
    assert calls[0]["name"] == "weather"
    assert told(items) == told(py.all("list_messages", agent_id=agent))
    first = next(item for item in items if item.type == "reasoning_message")
    assert int(first["otid"][-2:], 16) & 0x7F == 0


def test_the_model_sees_what_it_wrote(server: Server, script: Script, py: Client) -> None:
    script.answer(text("Aloud."), call("weather", OSLO)).answer(call("send_message", HELLO))
    turn(py, thinker(server, script))
    parameters = script.asked[0].tools["weather"]["parameters"]
    assert next(iter(parameters["properties"])) == "thinking"
    assert parameters["required"][0] == "thinking"
    answered = next(message for message in script.asked[1].messages if message["role"] == "assistant")
    assert answered["content"] == "Aloud."
    assert json.loads(answered["tool_calls"][0]["function"]["arguments"]) == OSLO


def test_the_voice_asked_to_be_shown_as_calls(server: Server, script: Script, py: Client) -> None:
    script.answer(call("send_message", HELLO))
    agent = thinker(server, script)
    items = turn(py, agent, use_assistant_message=False, stream_tokens=True)
    assert types(items) == ["reasoning_message", "tool_call_message", "tool_return_message", *ENDING]
    assert json.loads(said(items, "tool_call_message").removeprefix("send_message")) == {"message": "Hi"}
    assert told(items) == told(py.all("list_messages", agent_id=agent, use_assistant_message=False))


@MODES
def test_a_call_that_needs_approval(py1: Client, server: Server, script: Script, tokens: bool) -> None:
    script.answer(call("weather", OSLO, id="call_1"))
    agent = thinker(server, script, tool_rules=[{"type": "requires_approval", "tool_name": "weather"}])
    items = turn(py1, agent, stream_tokens=tokens)
    assert types(items) == ["reasoning_message", "approval_request_message", *ENDING]
    pending = server.get(f"/v1/agents/{agent}").json["pending_approval"]
    assert json.loads(pending["tool_calls"][0]["arguments"]) == {"city": "Oslo", "request_heartbeat": True}
    script.answer(call("send_message", HELLO))
    yes = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "call_1", "approve": True}]}
    assert said(py1.all("stream", agent_id=agent, messages=[yes])) == "Hi"
    sent = script.asked[1].messages[-2]
    assert json.loads(sent["tool_calls"][0]["function"]["arguments"]) == OSLO


def test_thoughts_that_were_cut_off_are_kept(server: Server, script: Script, py: Client) -> None:
    script.answer(call("weather", '{"thinking": "Ada asks fo', fragments=5), Cut())
    agent = thinker(server, script)
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        found = stream.read()
    assert "".join(frame.json["reasoning"] for frame in found if frame.kind == "reasoning_message") == "Ada asks fo"
    assert {frame.kind for frame in found} == {
        "ping", "reasoning_message", "stop_reason", "usage_statistics", "error_message", "[DONE]"
    }  # fmt: skip
    history = server.get(f"/v1/agents/{agent}/messages").json[2:]
    assert [(item["message_type"], item["reasoning"]) for item in history] == [("reasoning_message", "Ada asks fo")]
    script.answer(call("send_message", HELLO))
    assert said(turn(py, agent)) == "Hi"


@pytest.mark.parametrize(
    "written", [{"city": "Oslo"}, {"thinking": None, "city": "Oslo"}, {"thinking": "", "city": "Oslo"}]
)
def test_a_call_without_thoughts(server: Server, script: Script, py: Client, written: dict[str, Any]) -> None:
    script.answer(call("weather", written, fragments=9))
    agent = thinker(server, script)
    items = turn(py, agent, stream_tokens=True)
    assert types(items) == ["tool_call_message", "tool_return_message", *ENDING]
    assert said(items, "tool_call_message") == 'weather{"city": "Oslo"}'
    assert told(items) == told(py.all("list_messages", agent_id=agent))


def test_of_several_calls_only_the_first_is_thought_about(server: Server, script: Script, py: Client) -> None:
    rome = {"thinking": "And Rome.", "city": "Rome"}
    script.answer(parallel(call("weather", OSLO | {"request_heartbeat": False}, fragments=6), call("weather", rome)))
    agent = thinker(server, script)
    items = turn(py, agent, stream_tokens=True)
    assert said(items, "reasoning_message") == OSLO["thinking"]
    assert types(items) == ["reasoning_message", "tool_call_message", "tool_return_message", *ENDING]
    assert told(items) == told(py.all("list_messages", agent_id=agent))


def test_it_can_be_switched_off_and_on(server: Server, script: Script, py: Client) -> None:
    agent = thinker(server, script)
    assert server.get(f"/v1/agents/{agent}").json["llm_config"]["put_inner_thoughts_in_kwargs"] is True
    off = py.one("update_agent", agent_id=agent, llm_config=config(script, put_inner_thoughts_in_kwargs=False))
    assert off["llm_config"]["put_inner_thoughts_in_kwargs"] is False
    script.answer(call("weather", OSLO | {"request_heartbeat": False}))
    items = turn(py, agent)
    assert types(items) == ["tool_call_message", "tool_return_message", *ENDING]
    assert "thinking" not in script.asked[0].tools["weather"]["parameters"]["properties"]
    on = py.one("update_agent", agent_id=agent, llm_config=config(script, put_inner_thoughts_in_kwargs=True))
    assert on["llm_config"]["put_inner_thoughts_in_kwargs"] is True


def test_who_thinks_by_itself_is_not_asked_to(server: Server, script: Script, py: Client) -> None:
    modern = server.new_agent(model=script.handle, llm_config=config(script, put_inner_thoughts_in_kwargs=True))
    assert modern["llm_config"]["put_inner_thoughts_in_kwargs"] is False
    script.say("Hi")
    assert said(turn(py, modern["id"])) == "Hi"
    assert all("thinking" not in tool["parameters"]["properties"] for tool in script.asked[0].tools.values())
    listed = {each["handle"]: each for each in server.get("/v1/models/").json}
    assert listed[script.handle]["put_inner_thoughts_in_kwargs"] is True


def test_a_tool_with_an_argument_of_that_name_keeps_it(server: Server, script: Script, py: Client) -> None:
    own = {"type": "object", "properties": {"thinking": {"type": "string"}}, "required": ["thinking"]}
    script.answer(call("ponder", {"thinking": "deep"}))
    agent = thinker(server, script)
    body = {"messages": user("hi"), "client_tools": [{"name": "ponder", "description": "Ponders", "parameters": own}]}
    reply = server.post(f"/v1/agents/{agent}/messages", body).json
    asked = next(item for item in reply["messages"] if item["message_type"] == "approval_request_message")
    assert json.loads(asked["tool_call"]["arguments"]) == {"thinking": "deep"}
    assert script.asked[0].tools["ponder"]["parameters"]["properties"]["thinking"] == {"type": "string"}


def test_the_built_in_model_thinks_by_itself(server: Server, py: Client) -> None:
    made = server.new_agent(model="perdure/offline", agent_type="memgpt_v2_agent")
    assert made["llm_config"]["put_inner_thoughts_in_kwargs"] is False
    items = turn(py, made["id"], stream_tokens=True)
    assert types(items) == ["reasoning_message", "assistant_message", *ENDING]
    assert {item["source"] for item in items if item.type == "reasoning_message"} == {"reasoner_model"}
