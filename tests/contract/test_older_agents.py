"""Agents of the older types: S61 to S64, heartbeats, and the voice asked to be shown as calls."""

from typing import Any

import pytest

from tests.contract.told import said, told, types, user
from tests.rig.answers import Cut, call, text
from tests.rig.model import Script
from tests.rig.sdks import Client, Decoded
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]


def old_agent(server: Server, script: Script, **fields: Any) -> str:
    fields = {"agent_type": "memgpt_v2_agent", "initial_message_sequence": [], "tools": ["weather"], **fields}
    return server.new_agent(model=script.handle, memory_blocks=[{"label": "human", "value": "Ada."}], **fields)["id"]


def turn(client: Client, agent: str, **options: Any) -> list[Decoded]:
    return client.all("stream", agent_id=agent, messages=user("hi"), **options)


def test_s61_the_voice_in_token_mode(py: Client, server: Server, script: Script) -> None:
    script.answer(text("A greeting.", " I greet."), call("send_message", {"message": "Hi"}))
    agent = old_agent(server, script)
    items = turn(py, agent, stream_tokens=True)
    assert types(items) == ["reasoning_message", "assistant_message", *ENDING]
    assert {item["source"] for item in items if item.type == "reasoning_message"} == {"non_reasoner_model"}
    assert said(items) == "Hi"
    assert items[-2]["stop_reason"] == "end_turn"
    assert script.asked[0].body["tool_choice"] == "required"
    parameters = script.asked[0].tools["weather"]["parameters"]
    assert "request_heartbeat" in parameters["required"]
    assert "request_heartbeat" not in script.asked[0].tools["send_message"]["parameters"]["properties"]


def test_s62_the_voice_as_calls(py: Client, server: Server, script: Script) -> None:
    script.answer(call("send_message", {"message": "Hi"}))
    agent = old_agent(server, script)
    items = turn(py, agent, use_assistant_message=False)
    assert types(items) == ["tool_call_message", "tool_return_message", *ENDING]
    history = py.all("list_messages", agent_id=agent, use_assistant_message=False)
    assert told(items) == told(history)
    assert said(py.all("list_messages", agent_id=agent)) == "Hi"


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s63_a_heartbeat_asked_for(py: Client, server: Server, script: Script, tokens: bool) -> None:
    script.answer(call("weather", {"city": "Oslo", "request_heartbeat": True}))
    script.answer(call("send_message", {"message": "Sunny."}))
    agent = old_agent(server, script)
    items = turn(py, agent, stream_tokens=tokens)
    assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
    assert items[-1]["step_count"] == 2
    history = server.get(f"/v1/agents/{agent}/messages").json
    hidden = [item for item in history if item["message_type"] == "user_message" and "heartbeat" in item["content"]]
    assert len(hidden) == 1


def test_no_heartbeat_ends_the_turn(server: Server, py: Client, script: Script) -> None:
    script.answer(call("weather", {"city": "Oslo", "request_heartbeat": False}))
    items = turn(py, old_agent(server, script))
    assert types(items) == ["tool_call_message", "tool_return_message", *ENDING]
    assert items[-2]["stop_reason"] == "end_turn"


def test_a_tool_that_always_goes_on(server: Server, py: Client, script: Script) -> None:
    script.answer(call("memory_insert", {"label": "human", "new_string": "Likes tea.", "request_heartbeat": False}))
    script.answer(call("send_message", {"message": "Noted."}))
    items = turn(py, old_agent(server, script))
    assert said(items) == "Noted."
    assert items[-1]["step_count"] == 2


def test_s64_no_call_at_all(server: Server, script: Script) -> None:
    script.say("I will not.")
    agent = old_agent(server, script)
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        found = stream.read()
    assert [frame.kind for frame in found] == [
        "ping", "reasoning_message", "stop_reason", "usage_statistics", "error_message", "[DONE]",
    ]  # fmt: skip
    assert found[2].json["stop_reason"] == "no_tool_call"
    assert found[4].json["error_type"] == "llm_error"


def test_words_that_were_cut_off_are_kept(server: Server, script: Script) -> None:
    script.answer(call("send_message", '{"message": "Once upon a ti', fragments=4), Cut())
    agent = old_agent(server, script)
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        found = stream.read()
    streamed = "".join(frame.json["content"] for frame in found if frame.kind == "assistant_message")
    kept = [item["content"] for item in server.get(f"/v1/agents/{agent}/messages").json[2:]]
    assert streamed == "Once upon a ti"
    assert kept == [streamed]
    script.answer(call("send_message", {"message": "Again."}))
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("go on")}) as stream:
        assert stream.read()[-1].kind == "[DONE]"


@pytest.mark.parametrize("kind", ["memgpt_agent", "react_agent", "workflow_agent", "split_thread_agent"])
def test_every_older_type_works_a_turn(server: Server, script: Script, kind: str) -> None:
    script.answer(call("send_message", {"message": "Here."}))
    fields = {"agent_type": kind, "tools": ["send_message"], "system": "You answer."}
    agent = old_agent(server, script, **fields)
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        assert [frame.kind for frame in stream.read()] == [
            "ping", "assistant_message", "stop_reason", "usage_statistics", "[DONE]",
        ]  # fmt: skip


def test_a_modern_agent_with_the_voice(py: Client, server: Server, script: Script) -> None:
    script.answer(call("send_message", {"message": "Hi"})).say("Done.")
    agent = old_agent(server, script, agent_type="letta_v1_agent", tools=["send_message"])
    items = turn(py, agent, stream_tokens=True)
    assert types(items) == ["assistant_message", *ENDING]
    assert said(items) == "HiDone."
    assert told(items) == told(py.all("list_messages", agent_id=agent))
