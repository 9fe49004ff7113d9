"""Stored messages that are changed: history shows the new text where the old one stood, and the model sees it so."""

import json
from typing import Any

import pytest

from tests.contract.told import user
from tests.contract.turns import agent_of
from tests.rig.answers import call, reasoning, text
from tests.rig.model import Script
from tests.rig.server import Server

THOUGHT = {"thinking": "I greet her.", "message": "Hi", "mood": "glad"}


def history(server: Server, agent: str) -> list[dict[str, Any]]:
    return server.get(f"/v1/agents/{agent}/messages").json


def change(server: Server, agent: str, kind: str, said: str) -> dict[str, Any]:
    """Change the newest message of a kind, and return it as it is answered."""
    message = next(item for item in reversed(history(server, agent)) if item["message_type"] == kind)
    field = "reasoning" if kind == "reasoning_message" else "content"
    path = f"/v1/agents/{agent}/messages/{message['id']}"
    reply = server.request("PATCH", path, {"message_type": kind, field: said})
    assert reply.status == 200, reply.text
    assert (reply.json["id"], reply.json["otid"], reply.json[field]) == (message["id"], message["otid"], said)
    return reply.json


def send(server: Server, agent: str, what: str = "hi") -> None:
    assert server.post(f"/v1/agents/{agent}/messages", {"messages": user(what)}).status == 200


def test_what_was_said_and_thought(server: Server, script: Script) -> None:
    script.answer(reasoning("Hm."), text("Hello")).say("Again")
    agent = agent_of(server, script)
    send(server, agent)
    for kind, said in (
        ("user_message", "hey"), ("assistant_message", "Good day"), ("reasoning_message", "Well."),
        ("system_message", "Be kind."),
    ):  # fmt: skip
        change(server, agent, kind, said)
    assert [item.get("content", item.get("reasoning")) for item in history(server, agent)] == [
        "Be kind.", "hey", "Well.", "Good day",
    ]  # fmt: skip
    send(server, agent, "more")
    assert [message["content"] for message in script.asked[1].messages] == ["Be kind.", "hey", "Good day", "more"]


def test_what_an_older_agent_said_by_its_tool(server: Server, script: Script) -> None:
    script.answer(call("send_message", THOUGHT)).answer(call("send_message", {"message": "Bye"}))
    agent = agent_of(server, script, agent_type="memgpt_v2_agent", initial_message_sequence=[])
    send(server, agent)
    change(server, agent, "assistant_message", 'Good "day"')
    assert change(server, agent, "reasoning_message", "I bow.")["source"] == "non_reasoner_model"
    send(server, agent, "more")
    said = next(message for message in script.asked[1].messages if message["role"] == "assistant")
    written = json.loads(said["tool_calls"][0]["function"]["arguments"])
    assert written == {"thinking": "I bow.", "message": 'Good "day"', "mood": "glad"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"message_type": "reasoning_message", "reasoning": "x"}, 400),
        ({"message_type": "assistant_message", "content": ""}, 422),
        ({"message_type": "tool_call_message", "content": "x"}, 422),
    ],
)
def test_what_cannot_be_changed(server: Server, script: Script, body: dict[str, Any], status: int) -> None:
    script.say("Hello")
    agent = agent_of(server, script)
    send(server, agent)
    message = history(server, agent)[-1]
    assert server.request("PATCH", f"/v1/agents/{agent}/messages/{message['id']}", body).status == status
    assert history(server, agent)[-1] == message
