"""Requests that are answered before any stream: S30 to S35 and S66; through the Python SDKs where they can be sent."""

import re
import uuid
from typing import Any

import pytest

from tests.contract.told import fresh_agent, said, user
from tests.contract.turns import agent_of, of_type, turn
from tests.rig.model import Script
from tests.rig.sdks import PY0, PY1, Client, SdkError
from tests.rig.server import Server


def path_of(agent: str) -> str:
    return f"/v1/agents/{agent}/messages/stream"


def test_s30_an_unknown_agent(py: Client, server: Server) -> None:
    unknown = "agent-00000000-0000-4000-8000-000000000000"
    reply = server.post(path_of(unknown), {"messages": user("hi")})
    assert (reply.status, reply.json) == (404, {"detail": f"Agent with ID {unknown} not found"})
    assert reply.headers["content-type"] == "application/json"
    with pytest.raises(SdkError) as raised:
        turn(py, unknown)
    assert (raised.value.status, raised.value.body) == (404, reply.json)


def test_s31_a_malformed_agent_id(py: Client, server: Server) -> None:
    reply = server.post(path_of("nonsense"), {"messages": user("hi")})
    assert reply.status == 422
    assert reply.json["detail"][0]["loc"] == ["path", "agent_id"]
    assert "agent-{uuid4}" in reply.json["detail"][0]["msg"]
    assert reply.json["examples"] == ["agent-123e4567-e89b-42d3-8456-426614174000"]
    with pytest.raises(SdkError) as raised:
        turn(py, "nonsense")
    assert raised.value.status == 422


def refused(server: Server, script: Script, body: dict[str, Any]) -> str:
    """What is said of a body that cannot be worked, of which nothing may be left."""
    agent = agent_of(server, script)
    reply = server.post(path_of(agent), body)
    assert reply.status == 422
    assert {"loc", "msg", "type"} <= reply.json["detail"][0].keys()
    assert reply.headers["x-should-retry"] == "false"
    assert not script.asked
    assert len(server.get(f"/v1/agents/{agent}/messages").json) == 1
    assert server.get(f"/v1/runs/?agent_id={agent}").json == []
    return reply.json["detail"][0]["msg"]


def test_s32_both_or_neither(server: Server, script: Script) -> None:
    assert "both" in refused(server, script, {"messages": user("hi"), "input": "hi"})
    assert "either" in refused(server, script, {})


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "wizard", "content": "x"}],
        [{"role": "user"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": []}],
        "hi",
    ],
)
def test_messages_that_say_nothing(server: Server, script: Script, messages: Any) -> None:
    assert refused(server, script, {"messages": messages})


def test_s33_the_input_shorthand(py1: Client, script: Script) -> None:
    agent = fresh_agent(py1, script)
    for shorthand in ("hi", [{"type": "text", "text": "hi"}]):
        script.say("Hello")
        assert said(py1.all("stream", agent_id=agent, input=shorthand)) == "Hello"
        asked = of_type(py1.all("list_messages", agent_id=agent), "user_message")[-1]
        assert asked["content"] == "hi"
        assert re.fullmatch(r"[0-9a-f-]{36}", asked["otid"])
    assert script.asked[0].messages[1] == {"role": "user", "content": "hi"}


def test_s34_no_messages(py: Client, server: Server, script: Script) -> None:
    assert "empty" in refused(server, script, {"messages": []})
    with pytest.raises(SdkError) as raised:
        py.all("stream", agent_id=fresh_agent(py, script), messages=[])
    assert raised.value.status == 422


def test_s35_the_callers_own_otid(py: Client, script: Script) -> None:
    script.say("Hello")
    agent = fresh_agent(py, script)
    py.all("stream", agent_id=agent, messages=[{"role": "user", "content": "hi", "otid": "abc"}])
    (asked,) = of_type(py.all("list_messages", agent_id=agent), "user_message")
    assert asked["otid"] == "abc"


def test_s66_an_unknown_model_for_one_request(py1: Client, server: Server, script: Script) -> None:
    agent = fresh_agent(py1, script)
    handle = f"openai/{uuid.uuid4()}"
    with pytest.raises(SdkError) as raised:
        turn(py1, agent, override_model=handle)
    assert (raised.value.status, raised.value.cls) == (404, "NotFoundError")
    assert handle in raised.value.body["detail"]
    assert server.get(f"/v1/runs/?agent_id={agent}").json == []


@pytest.mark.parametrize("name", [PY0, PY1])
def test_nothing_was_run_of_what_was_refused(sdks: Any, server: Server, script: Script, name: str) -> None:
    client = sdks(name).at(server.base_url)
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError):
        client.all("create", agent_id=agent, messages=[])
    script.say("Hello")
    assert said(turn(client, agent)) == "Hello"
    assert len(script.asked) == 1
