"""Calls that wait for a person or for the caller's own tools: scenarios S36 to S49, and that they never deadlock."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.told import fresh_agent, said, told, types, user
from tests.rig.answers import Hold, call, parallel, text
from tests.rig.http import Frame
from tests.rig.model import Script
from tests.rig.sdks import PY0, PY1, Client, Decoded, SdkError
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
ASK_FIRST = [{"type": "requires_approval", "tool_name": "weather"}]
OSLO = {"city": "Oslo"}


def careful_agent(server: Server, script: Script, **fields: Any) -> str:
    """An agent whose `weather` needs a person's yes."""
    fields = {"tools": ["weather"], "tool_rules": ASK_FIRST, "model": script.handle, **fields}
    return server.new_agent(**fields)["id"]


def turn(client: Client, agent: str, messages: list[dict[str, Any]] | None = None, **options: Any) -> list[Decoded]:
    return client.all("stream", agent_id=agent, messages=messages or user("hi"), **options)


def stop(items: list[Decoded]) -> str:
    assert [item.type for item in items[-2:]] == ENDING
    return items[-2]["stop_reason"]


def decide(client: Client, request: Decoded, approve: bool, reason: str | None = None) -> list[dict[str, Any]]:
    """The answer in the form this SDK's users write it."""
    if client.sdk.name == PY0:
        return [{"type": "approval", "approve": approve, "approval_request_id": request["id"], "reason": reason}]
    answer = {"type": "approval", "tool_call_id": request["tool_call"]["tool_call_id"], "approve": approve}
    return [{"type": "approval", "approvals": [{**answer, "reason": reason}]}]


def asked_for(items: list[Decoded]) -> Decoded:
    return next(item for item in items if item.type == "approval_request_message")


def frames(server: Server, agent: str, messages: list[dict[str, Any]], **options: Any) -> list[Frame]:
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": messages, **options}) as stream:
        return stream.read()


def history(server: Server, agent: str) -> list[dict[str, Any]]:
    return server.get(f"/v1/agents/{agent}/messages").json[1:]


def kinds(items: list[dict[str, Any]]) -> list[str]:
    return [item["message_type"] for item in items]


def test_s36_a_call_that_needs_approval_in_step_mode(py: Client, server: Server, script: Script) -> None:
    script.answer(text("Let me look."), call("weather", OSLO))
    agent = careful_agent(server, script)
    items = turn(py, agent)
    assert types(items) == ["assistant_message", "approval_request_message", *ENDING]
    assert stop(items) == "requires_approval"
    request = asked_for(items)
    assert request["otid"] == request["id"]
    assert json.loads(request["tool_call"]["arguments"]) == OSLO
    assert items[-1]["step_count"] == 1
    run = server.get(f"/v1/runs/{items[0]['run_id'] if py.sdk.name == PY1 else request['run_id']}").json
    assert (run["status"], run["stop_reason"]) == ("completed", "requires_approval")
    assert kinds(history(server, agent)) == ["user_message", "assistant_message", "approval_request_message"]


def test_s37_the_same_in_token_mode(py: Client, server: Server, script: Script) -> None:
    script.answer(text("Let me look."), call("weather", OSLO))
    agent = careful_agent(server, script)
    items = turn(py, agent, stream_tokens=True)
    deltas = [item for item in items if item.type == "approval_request_message"]
    assert len({item["id"] for item in deltas}) == 1
    assert all(item["otid"] == item["id"] for item in deltas)
    said_id = next(item["id"] for item in items if item.type == "assistant_message")
    assert int(deltas[0]["id"][-36:].replace("-", ""), 16) == int(said_id[-36:].replace("-", ""), 16) - 1
    assert json.loads("".join(item["tool_call"].get("arguments") or "" for item in deltas)) == OSLO
    stored = {(item["id"], item["otid"], item["message_type"]) for item in history(server, agent)}
    assert {
        (item["id"], item["otid"], item.type) for item in items if item.type in kinds(history(server, agent))
    } <= stored


def test_s38_some_calls_need_approval_and_some_do_not(py1: Client, server: Server, script: Script) -> None:
    insert = call("memory_insert", {"label": "human", "new_string": "Likes Oslo."})
    script.answer(parallel(insert, call("weather", OSLO)))
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    blocks = [{"label": "human", "value": "Ada."}]
    own = {"model_settings": settings, "memory_blocks": blocks, "include_base_tool_rules": False}
    agent = careful_agent(server, script, **own)
    items = turn(py1, agent)
    assert types(items) == ["tool_call_message", "approval_request_message", *ENDING]
    block = f"/v1/agents/{agent}/core-memory/blocks/human"
    assert server.get(block).json["value"] == "Ada.", "nothing may run before the decision"
    script.say("Done.")
    items = turn(py1, agent, decide(py1, asked_for(items), True))
    returns = next(item for item in items if item.type == "tool_return_message")
    assert {entry["status"] for entry in returns["tool_returns"]} == {"success"}
    assert len(returns["tool_returns"]) == 2
    assert server.get(block).json["value"] == "Ada.\nLikes Oslo."


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s39_approved(py: Client, server: Server, script: Script, tokens: bool) -> None:
    script.answer(call("weather", OSLO))
    agent = careful_agent(server, script)
    request = asked_for(turn(py, agent))
    script.say("It is sunny.")
    items = turn(py, agent, decide(py, request, True), stream_tokens=tokens)
    assert types(items) == ["tool_return_message", "assistant_message", *ENDING]
    assert [item["tool_return"] for item in items if item.type == "tool_return_message"] == ["It is sunny in Oslo."]
    assert stop(items) == "end_turn"
    assert kinds(history(server, agent)) == [
        "user_message", "approval_request_message", "approval_response_message", "tool_return_message",
        "assistant_message",
    ]  # fmt: skip


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s40_denied(py: Client, server: Server, script: Script, tokens: bool) -> None:
    script.answer(call("weather", OSLO))
    agent = careful_agent(server, script)
    request = asked_for(turn(py, agent))
    script.say("Then not.")
    items = turn(py, agent, decide(py, request, False, "no"), stream_tokens=tokens)
    returned = next(item for item in items if item.type == "tool_return_message")
    assert returned["status"] == "error"
    assert returned["tool_return"] == "Error: request to call tool denied. User reason: no"
    assert script.asked[-1].said == returned["tool_return"]
    assert said(items) == "Then not."


def test_s41_a_tool_of_the_callers_own(py1: Client, server: Server, script: Script) -> None:
    locate = {"name": "locate", "description": "Where the user is", "parameters": {"type": "object", "properties": {}}}
    script.answer(call("locate", {}))
    agent = fresh_agent(py1, script)
    items = turn(py1, agent, client_tools=[locate])
    assert "locate" in script.asked[0].tools
    request = asked_for(items)
    assert stop(items) == "requires_approval"
    script.say("You are in Oslo.")
    returned = {"tool_call_id": request["tool_call"]["tool_call_id"], "tool_return": "Oslo", "status": "success"}
    items = turn(py1, agent, [{"type": "tool_return", "tool_returns": [returned]}], client_tools=[locate])
    assert said(items) == "You are in Oslo."
    stored = history(server, agent)
    assert kinds(stored)[1:4] == ["approval_request_message", "approval_response_message", "tool_return_message"]
    assert stored[2]["approvals"][0]["type"] == "tool"
    assert stored[3]["tool_return"] == "Oslo"


def test_s42_an_answer_to_another_call(server: Server, script: Script) -> None:
    script.answer(call("weather", OSLO, id="call_right"))
    agent = careful_agent(server, script)
    frames(server, agent, user("hi"))
    wrong = [{"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "call_wrong", "approve": True}]}]
    reply = server.post(f"/v1/agents/{agent}/messages/stream", {"messages": wrong})
    assert reply.status == 400
    assert "Expected '['call_right']', but received '['call_wrong']'" in reply.json["detail"]
    assert reply.headers["x-should-retry"] == "false"
    script.say("It is sunny.")
    right = [{"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "call_right", "approve": True}]}]
    assert frames(server, agent, right)[-1].kind == "[DONE]"


def test_s43_an_answer_when_nothing_is_asked(server: Server, script: Script) -> None:
    agent = careful_agent(server, script)
    answer = [{"type": "approval", "approve": True, "approval_request_id": "call_1"}]
    for path in ("messages", "messages/stream"):
        reply = server.post(f"/v1/agents/{agent}/{path}", {"messages": answer})
        assert reply.status == 400
        assert "No tool call is currently awaiting approval" in reply.json["detail"]
    assert history(server, agent) == []


def test_s44_a_message_while_an_approval_is_pending(py: Client, server: Server, script: Script) -> None:
    script.answer(call("weather", OSLO))
    agent = careful_agent(server, script)
    request = asked_for(turn(py, agent))
    for path in ("messages", "messages/stream"):
        reply = server.post(f"/v1/agents/{agent}/{path}", {"messages": user("hello?")})
        assert reply.status == 409
        assert reply.json["detail"]["code"] == "PENDING_APPROVAL"
        assert reply.json["detail"]["pending_request_id"] == request["id"]
        assert reply.headers["x-should-retry"] == "false"
    with pytest.raises(SdkError):
        turn(py, agent)
    assert kinds(history(server, agent)) == ["user_message", "approval_request_message"]
    state = server.get(f"/v1/agents/{agent}").json
    assert state["pending_approval"]["id"] == request["id"]
    script.say("It is sunny.")
    assert stop(turn(py, agent, decide(py, request, True))) == "end_turn"
    assert server.get(f"/v1/agents/{agent}").json["pending_approval"] is None


def test_s45_an_answer_with_a_message_after_it(py: Client, server: Server, script: Script) -> None:
    script.answer(call("weather", OSLO))
    agent = careful_agent(server, script)
    request = asked_for(turn(py, agent))
    script.say("Sunny, and so is Rome.")
    items = turn(py, agent, [*decide(py, request, True), *user("and Rome?")])
    assert types(items) == ["tool_return_message", "assistant_message", *ENDING]
    assert kinds(history(server, agent))[2:] == [
        "approval_response_message", "tool_return_message", "user_message", "assistant_message",
    ]  # fmt: skip
    assert script.asked[1].said == "and Rome?"


def test_s45_the_message_after_it_is_kept_when_no_step_is_left(server: Server, script: Script) -> None:
    script.answer(call("weather", OSLO, id="call_1"))
    agent = careful_agent(server, script)
    frames(server, agent, user("hi"))
    yes = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "call_1", "approve": True}]}
    found = frames(server, agent, [yes, *user("and Rome?")], max_steps=1)
    assert kinds(history(server, agent))[-1] in ("user_message", "assistant_message")
    assert "and Rome?" in [item.get("content") for item in history(server, agent)]
    assert found[-1].kind == "[DONE]"


def test_s46_the_same_answer_again(py: Client, server: Server, script: Script) -> None:
    script.answer(call("weather", OSLO))
    agent = careful_agent(server, script)
    request = asked_for(turn(py, agent))
    script.say("It is sunny.")
    first = turn(py, agent, decide(py, request, True))
    again = turn(py, agent, decide(py, request, True))
    assert told(again) == told(first)
    assert len(script.asked) == 2
    assert kinds(history(server, agent)).count("tool_return_message") == 1


def test_s49_cancelled_while_an_approval_is_pending(server: Server, script: Script) -> None:
    script.answer(call("weather", OSLO))
    agent = careful_agent(server, script)
    frames(server, agent, user("hi"))
    reply = server.post(f"/v1/agents/{agent}/messages/cancel", {})
    assert reply.status == 200
    assert list(reply.json.values()) == ["cancelled"]
    assert kinds(history(server, agent))[-2:] == ["approval_response_message", "tool_return_message"]
    script.say("Fine.")
    assert "Fine." in [frame.json.get("content") for frame in frames(server, agent, user("never mind"))[:-1]]


def test_a_waiting_message_is_refused_at_its_turn(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Let me look."), hold, call("weather", OSLO, id="call_1"))
    agent = careful_agent(server, script)
    path = f"/v1/agents/{agent}/messages/stream"
    with (
        server.stream(path, {"messages": user("1"), "stream_tokens": True}) as one,
        server.stream(path, {"messages": user("2")}) as two,
    ):
        one.until("assistant_message")
        two.until("ping")
        hold.release()
        assert one.read()[-1].kind == "[DONE]"
        assert [frame.kind for frame in two.read()] == [
            "ping", "stop_reason", "usage_statistics", "error_message", "[DONE]",
        ]  # fmt: skip
        assert two.frames[-2].json["error_type"] == "pending_approval"
    assert "2" not in [item.get("content") for item in history(server, agent)]


def test_pending_approvals_survive_a_restart(new_server: Callable[..., Server], script: Script) -> None:
    script.answer(call("weather", OSLO, id="call_1"))
    server = new_server(tools=["tests.rig.tools:weather"]).start()
    agent = careful_agent(server, script)
    frames(server, agent, user("hi"))
    server.kill()
    server.start()
    assert server.get(f"/v1/agents/{agent}").json["pending_approval"]["tool_calls"][0]["tool_call_id"] == "call_1"
    script.say("It is sunny.")
    yes = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "call_1", "approve": True}]}
    assert [frame.kind for frame in frames(server, agent, [yes])] == [
        "ping", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics", "[DONE]",
    ]  # fmt: skip


def test_an_approval_nobody_gives_in_time_is_denied(
    models: Any, new_server: Callable[..., Server], script: Script
) -> None:
    script.answer(call("weather", OSLO))
    environment = {**models.environment, "PERDURE_APPROVAL_MINUTES": "0.005", "PERDURE_PING_SECONDS": "0.1"}
    server = new_server(environment, tools=["tests.rig.tools:weather"]).start()
    agent = careful_agent(server, script)
    frames(server, agent, user("hi"))
    eventually(lambda: kinds(history(server, agent))[-1] == "tool_return_message")
    assert len(script.asked) == 1, "a denial for lack of time asks no model"
    script.say("Fine.")
    assert frames(server, agent, user("go on"))[-1].kind == "[DONE]"


def eventually(check: Callable[[], bool], limit: float = 20.0) -> None:
    deadline = time.monotonic() + limit
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
