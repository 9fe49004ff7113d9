"""Answers to callers who wait for JSON: everything at once, and failures under their own statuses."""

import threading
import time
from typing import Any

import pytest

from tests.contract.told import ADA, fresh_agent, types, user
from tests.rig.answers import Hold, call, reasoning, text
from tests.rig.http import Reply
from tests.rig.model import Script
from tests.rig.sdks import Client
from tests.rig.server import Server

TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
NPM0 = {"X-Fern-SDK-Version": "0.1.211", "X-Fern-Language": "JavaScript"}


def agent_of(server: Server, script: Script) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA)["id"]


def send(server: Server, agent: str, headers: Any = None, **options: Any) -> Reply:
    return server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi"), **options}, headers=headers)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stream_tokens": True}, "stream_tokens=true"),
        ({"include_pings": False}, "include_pings=false"),
        ({"background": True}, "background=true"),
        ({"background": True, "stream_tokens": True}, "stream_tokens=true; background=true"),
    ],
)
def test_options_of_streams_without_a_stream(
    server: Server, script: Script, options: dict[str, bool], named: str
) -> None:
    reply = send(server, agent_of(server, script), **options)
    assert reply.status == 422
    assert reply.json["detail"][0]["msg"] == (
        f"Streaming options set without streaming enabled. {named}. "
        "Either set streaming=true or use default values for streaming options."
    )
    assert script.asked == []


def test_the_same_options_with_their_defaults(server: Server, script: Script) -> None:
    script.say("Hello")
    options = {"streaming": False, "stream_tokens": False, "include_pings": True, "background": False}
    assert send(server, agent_of(server, script), **options).status == 200


@pytest.mark.parametrize(
    ("refused", "status", "error_type"),
    [
        (400, 400, "llm_bad_request"),
        (401, 401, "llm_authentication"),
        (402, 402, "llm_insufficient_credits"),
        (429, 429, "llm_rate_limit"),
        (500, 500, "llm_error"),
        (504, 504, "llm_timeout"),
    ],
)
def test_a_provider_that_refuses(server: Server, script: Script, refused: int, status: int, error_type: str) -> None:
    for _ in range(10):
        script.refuse(refused, "the script says no")
    agent = agent_of(server, script)
    reply = send(server, agent)
    assert reply.status == status
    error = reply.json["error"]
    assert (error["type"], bool(error["message"])) == (error_type, True)
    assert "the script says no" in error["detail"]
    assert reply.headers["x-should-retry"] == "false"
    (run,) = server.get(f"/v1/runs/?agent_id={agent}").json
    assert (run["status"], run["metadata"]["error"]["error_type"]) == ("failed", error_type)


@pytest.mark.parametrize(("refused", "status"), [(429, 424), (500, 424), (504, 424), (401, 401)])
def test_the_old_npm_sdk_is_never_asked_to_repeat(server: Server, script: Script, refused: int, status: int) -> None:
    for _ in range(10):
        script.refuse(refused)
    reply = send(server, agent_of(server, script), headers=NPM0)
    assert reply.status == status
    assert reply.json.get("status") == (refused if status == 424 else None)


def test_without_any_step(client: Client, server: Server, script: Script) -> None:
    agent = fresh_agent(client, script)
    stop, usage = client.all("create", agent_id=agent, messages=user("hi"), max_steps=0)
    assert (stop["stop_reason"], usage["step_count"], usage["total_tokens"]) == ("end_turn", 0, 0)
    assert script.asked == []


def test_the_types_asked_for(client: Client, script: Script) -> None:
    everything = ["reasoning_message", "tool_call_message", "tool_return_message", "assistant_message"]
    for wanted, shown in (
        (["assistant_message"], ["assistant_message"]),
        (["tool_call_message", "reasoning_message"], everything[:2]),
        ([], everything),
    ):
        script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
        fields = {"messages": user("hi"), "include_return_message_types": wanted}
        items = client.all("create", agent_id=fresh_agent(client, script), **fields)
        assert types(items) == [*shown, "stop_reason", "usage_statistics"]


def test_only_what_the_run_said_itself(server: Server, script: Script) -> None:
    script.say("Hello")
    agent = agent_of(server, script)
    mine = {"role": "assistant", "content": "As I said", "otid": "my-own"}
    body = {"messages": [mine, {"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}]}
    reply = server.post(f"/v1/agents/{agent}/messages", body).json
    assert [item["content"] for item in reply["messages"]] == ["Hello"]
    assert [(message["role"], message["content"]) for message in script.asked[0].messages[1:]] == [
        ("assistant", "As I said"), ("user", "a\nb"),
    ]  # fmt: skip
    kept = server.get(f"/v1/agents/{agent}/messages").json[1:]
    assert (kept[0]["message_type"], kept[0]["content"], kept[0]["otid"]) == (
        "assistant_message", "As I said", "my-own"
    )  # fmt: skip
    assert kept[1]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def test_a_decision_is_answered_as_its_stream_would_be(py: Client, server: Server, script: Script) -> None:
    rules = [{"type": "requires_approval", "tool_name": "weather"}]
    agent = server.new_agent(model=script.handle, tools=["weather"], tool_rules=rules)["id"]
    script.answer(call("weather", {"city": "Oslo"}, id="call_1")).say("Sunny.")
    py.all("create", agent_id=agent, messages=user("hi"))
    yes = {"type": "approval", "approve": True, "approval_request_id": "call_1"}
    items = py.all("create", agent_id=agent, messages=[yes])
    assert types(items) == ["tool_return_message", "assistant_message", "stop_reason", "usage_statistics"]
    assert "approval_response_message" in [item.type for item in py.all("list_messages", agent_id=agent)]


def test_answers_wait_for_their_turn(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(hold, text("first")).say("second")
    agent = agent_of(server, script)
    replies: dict[str, Reply] = {}

    def ask(what: str) -> None:
        replies[what] = server.post(f"/v1/agents/{agent}/messages", {"messages": user(what)})

    callers = [threading.Thread(target=ask, args=(what,)) for what in ("1", "2")]
    callers[0].start()
    hold.wait_reached()
    callers[1].start()
    deadline = time.monotonic() + 20
    while len(server.get(f"/v1/runs/?agent_id={agent}&active=true").json) < 2:
        assert time.monotonic() < deadline
    hold.release()
    for caller in callers:
        caller.join(20)
    assert [replies[what].json["messages"][0]["content"] for what in ("1", "2")] == ["first", "second"]
