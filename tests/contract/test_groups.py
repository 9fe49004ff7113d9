"""Groups: members take turns in one stream with one end, whoever manages them, and go on after a crash."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.told import said, told, types, user
from tests.contract.turns import kinds, said_in
from tests.operation.waiting import soon
from tests.rig.answers import Answer, Hold, call, text
from tests.rig.http import Frame
from tests.rig.model import Script
from tests.rig.sdks import JS0, Client
from tests.rig.server import Server

LIMIT = 20.0
Scripts = Callable[[], Script]


def member(server: Server, script: Script, name: str, **fields: Any) -> str:
    body = {"memory_blocks": [], "include_base_tools": False, "description": f"Knows {name}.", **fields}
    return server.new_agent(model=script.handle, name=name, **body)["id"]


def group_of(server: Server, agents: list[str], **manager: Any) -> str:
    body = {"agent_ids": agents, "description": "Friends", "manager_config": {"manager_type": "round_robin", **manager}}
    made = server.post("/v1/groups/", body)
    assert made.status == 200, made.text
    return made.json["id"]


def frames(server: Server, group: str, what: str = "hi", **body: Any) -> list[Frame]:
    with server.stream(f"/v1/groups/{group}/messages/stream", {"messages": user(what), **body}) as stream:
        return stream.read()


def speakers(found: list[Frame]) -> list[tuple[str, str]]:
    """Who said what, in order."""
    return [
        (frame.json["name"], frame.json["content"]) for frame in found if frame.kind == "assistant_message"
    ]  # fmt: skip


def ended_once(found: list[Frame]) -> str:
    """The one reason for which the stream stopped; its numbers have no gaps."""
    assert kinds(found)[-1] == "[DONE]"
    shown = [frame.json for frame in found[:-1]]
    assert [each["seq_id"] for each in shown] == list(range(1, len(found)))
    assert len({each["run_id"] for each in shown}) == 1
    assert kinds(found).count("stop_reason") == kinds(found).count("usage_statistics") == 1
    return next(each["stop_reason"] for each in shown if each["message_type"] == "stop_reason")


def heard(script: Script, at: int = -1) -> list[str]:
    """What a member's model was shown after its system message."""
    return [message["content"] for message in script.asked[at].messages[1:]]


def test_members_take_turns_in_one_stream(server: Server, old_client: Client, new_script: Scripts) -> None:
    first, second = new_script(), new_script()
    a, b = member(server, first, "Ann"), member(server, second, "Bo")
    made = old_client.one("create_group", agent_ids=[a, b], description="Two friends")
    assert (made["manager_type"], made["agent_ids"]) == ("round_robin", [a, b])
    group = made["id"]
    assert group in [each["id"] for each in old_client.all("list_agent_groups", agent_id=b)]
    first.say("I am", " Ann.")
    second.say("And I Bo.")
    items = old_client.all("stream_group", group_id=group, messages=user("Who are you?"), stream_tokens=True)
    ending = ["usage_statistics"] if old_client.sdk.name == JS0 else ["stop_reason", "usage_statistics"]
    assert types(items) == ["assistant_message", *ending]
    words = [(item["name"], item["sender_id"], item["content"]) for item in items if item.type == "assistant_message"]
    assert words == [("Ann", a, "I am"), ("Ann", a, " Ann."), ("Bo", b, "And I Bo.")]
    assert items[-1]["step_count"] == 2
    assert heard(first) == ["Who are you?"]
    asked, news = heard(second)
    assert asked == "Who are you?"
    assert news == f"[Message from Ann, agent with ID '{a}' - said to this group] I am Ann."
    # History is what was streamed, and the question stands in it once.
    listed = old_client.all("list_group_messages", group_id=group)
    assert [(each.type, each.get("name")) for each in listed] == [
        ("user_message", None), ("assistant_message", "Ann"), ("assistant_message", "Bo"),
    ]  # fmt: skip
    assert told(listed) == told(items)
    first.say("Yes.")
    second.say("No.")
    again = old_client.all("ask_group", group_id=group, messages=user("Sure?"))
    assert said(again) == "Yes.No."
    assert [line[:40] for line in heard(first)[2:]] == [f"[Message from Bo, agent with ID '{b}' - sai"[:40], "Sure?"]
    old_client.all("reset_group", group_id=group)
    assert old_client.all("list_group_messages", group_id=group) == []
    assert [message["message_type"] for message in server.get(f"/v1/agents/{a}/messages").json[1:]] != []
    first.say("Hello?")
    second.say("Hello.")
    old_client.all("ask_group", group_id=group, messages=user("New start"))
    assert heard(first) == ["New start"]
    old_client.all("delete_group", group_id=group)
    assert server.get(f"/v1/groups/{group}").status == 404


def test_group_ping_pong_ends(server: Server, script: Script) -> None:
    """Attack 20: two members that answer each other for ever are stopped by max_turns."""
    agents = [member(server, script, "Ping"), member(server, script, "Pong")]
    script.otherwise(lambda asked: Answer((text("Your turn."),)))
    group = group_of(server, agents, max_turns=6)
    found = frames(server, group)
    assert [name for name, _ in speakers(found)] == ["Ping", "Pong"] * 3
    assert ended_once(found) == "end_turn"
    changed = {"manager_config": {"manager_type": "round_robin", "max_turns": 1000}}
    assert server.request("PATCH", f"/v1/groups/{group}", changed).status == 422


def test_a_dynamic_manager_chooses_until_it_is_done(server: Server, new_script: Scripts) -> None:
    leader, first, second = new_script(), new_script(), new_script()
    a, b = member(server, first, "Ann"), member(server, second, "Annabel")
    boss = member(server, leader, "Boss")
    config = {"manager_type": "dynamic", "manager_agent_id": boss, "max_turns": 3}
    group = group_of(server, [a, b], **config)
    leader.say("Annabel should speak.").say("Then Ann.").say("DONE!")
    second.say("Tea is ready.")
    first.say("Coming.")
    found = frames(server, group, "What is up?")
    assert speakers(found) == [
        ("Boss", "Annabel should speak."), ("Annabel", "Tea is ready."), ("Boss", "Then Ann."), ("Ann", "Coming."),
        ("Boss", "DONE!"),
    ]  # fmt: skip
    assert ended_once(found) == "end_turn"
    assert f"- Annabel ({b}): Knows Annabel." in heard(leader, 0)[-1]
    assert "Tea is ready." in heard(leader, 1)[-2]
    leader.otherwise(lambda asked: Answer((text("Whoever likes."),)))
    for script in (first, second):
        script.otherwise(lambda asked: Answer((text("Me."),)))
    found = frames(server, group, "And now?")
    assert [name for name, _ in speakers(found)] == ["Boss", "Ann", "Boss", "Annabel", "Boss", "Ann"]
    assert ended_once(found) == "max_steps"


def test_a_supervisor_asks_all_members(server: Server, new_script: Scripts) -> None:
    leader, crew = new_script(), new_script()
    agents = [member(server, crew, "Ann"), member(server, crew, "Bo")]
    boss = member(server, leader, "Boss")
    group = group_of(server, agents, manager_type="supervisor", manager_agent_id=boss)
    leader.answer(call("send_message_to_all_agents_in_group", {"message": "Ready?"})).say("All ready.")
    crew.otherwise(lambda asked: Answer((text("Aye."),)))
    found = frames(server, group, "Ask them.")
    assert speakers(found) == [("Boss", "All ready.")]
    assert ended_once(found) == "end_turn"
    (answer,) = (frame.json for frame in found if frame.kind == "tool_return_message")
    assert [(each["agent_id"], each["response"]) for each in json.loads(answer["tool_return"])] == [
        (agent, ["Aye."]) for agent in agents
    ]  # fmt: skip


def test_a_sleeptime_group_speaks_through_its_manager(server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle, memory_blocks=[], enable_sleeptime=True)
    script.say("Yes.")
    found = frames(server, agent["managed_group"]["id"])
    assert said_in(found) == "Yes."
    assert ended_once(found) == "end_turn"
    assert server.get(f"/v1/groups/{agent['managed_group']['id']}").json["turns_counter"] == 1


def test_cancelling_a_groups_run(server: Server, new_script: Scripts) -> None:
    first, second, hold = new_script(), new_script(), Hold()
    a, b = member(server, first, "Ann"), member(server, second, "Bo")
    group = group_of(server, [a, b])
    first.answer(text("Half of"), hold)
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/groups/{group}/messages/stream", body) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
        server.post(f"/v1/agents/{a}/messages/cancel", {"run_ids": [run_id]})
        found = stream.read()
    assert ended_once(found) == "cancelled"
    assert server.get(f"/v1/runs/{run_id}").json["status"] == "cancelled"
    soon(lambda: server.get("/v1/runs/active").json == [] or not active(server, a), LIMIT)
    assert [message["content"] for message in server.get(f"/v1/agents/{a}/messages").json[1:]] == ["hi", "Half of"]
    assert second.asked == []


def active(server: Server, agent: str) -> list[Any]:
    return server.get(f"/v1/runs/active?agent_id={agent}").json


def test_a_member_that_fails_ends_the_talk(server: Server, new_script: Scripts) -> None:
    first, second = new_script(), new_script()
    group = group_of(server, [member(server, first, "Ann"), member(server, second, "Bo")])
    first.refuse(400)
    found = frames(server, group)
    assert kinds(found)[-4:] == ["stop_reason", "usage_statistics", "error_message", "[DONE]"]
    assert found[-2].json["error_type"] == "llm_bad_request"
    assert second.asked == []


def test_a_group_goes_on_after_a_crash(new_server: Callable[..., Server], new_script: Scripts) -> None:
    first, second, third = new_script(), new_script(), new_script()
    server, hold = new_server().start(), Hold()
    agents = [member(server, script, name) for script, name in ((first, "Ann"), (second, "Bo"), (third, "Cy"))]
    group = group_of(server, agents)
    first.say("One", " two.")
    second.answer(hold).say("Three.")
    third.say("Four.")
    body = {"messages": user("Count!"), "stream_tokens": True}
    with server.stream(f"/v1/groups/{group}/messages/stream", body) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
        hold.wait_reached()
        server.kill()
    server.start()
    with server.stream(f"/v1/runs/{run_id}/stream", {}) as again:
        found = again.read()
    assert [frame.raw for frame in found[: len(stream.frames)]] == [frame.raw for frame in stream.frames]
    assert speakers(found) == [("Ann", "One"), ("Ann", " two."), ("Bo", "Three."), ("Cy", "Four.")]
    assert ended_once(found) == "end_turn"
    assert (len(first.asked), len(second.asked), len(third.asked)) == (1, 2, 1)
    listed = server.get(f"/v1/groups/{group}/messages?order=asc").json
    assert [each["content"] for each in listed] == ["Count!", "One two.", "Three.", "Four."]


@pytest.mark.stores("sqlite")
def test_wrong_groups_are_refused(server: Server, script: Script) -> None:
    agent = member(server, script, "Ann")
    fields = {"agent_ids": [agent], "description": "d"}
    for manager in ({"manager_type": "swarm"}, {"manager_type": "dynamic"}, {"manager_type": "sleeptime"}):
        refused = server.post("/v1/groups/", {**fields, "manager_config": manager})
        assert (refused.status, bool(refused.json["detail"])) == (422, True)
    assert server.post("/v1/groups/", {**fields, "agent_ids": ["agent-nope"]}).status == 404
    empty = group_of(server, [])
    assert server.post(f"/v1/groups/{empty}/messages", {"messages": user("hi")}).status == 422
    boss = member(server, script, "Boss")
    led = group_of(server, [agent], manager_type="supervisor", manager_agent_id=boss)
    server.request("DELETE", f"/v1/agents/{boss}")
    gone = server.post(f"/v1/groups/{led}/messages", {"messages": user("hi")})
    assert (gone.status, "Give the group another one" in gone.text) == (422, True)
    assert server.get("/v1/groups/count").json >= 1
    assert empty in [each["id"] for each in server.get("/v1/groups/?manager_type=round_robin").json]
    block = server.post("/v1/blocks/", {"label": "plans", "value": "Turin"}).json["id"]
    changed = server.request("PATCH", f"/v1/groups/{empty}", {"agent_ids": [agent], "shared_block_ids": [block]})
    assert (changed.json["agent_ids"], changed.json["shared_block_ids"]) == ([agent], [block])
    assert [each["id"] for each in server.get(f"/v1/agents/{agent}").json["blocks"]] == [block]
