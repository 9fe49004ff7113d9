"""Agents that talk to agents: every message is a run, no circle of waits comes about, and chains end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.told import types, user
from tests.contract.turns import frames, of_type, said_in, turn
from tests.operation.waiting import soon
from tests.rig.answers import Answer, Hold, Piece, call, text
from tests.rig.http import Frame
from tests.rig.model import Asked, ModelServer, Script
from tests.rig.sdks import Client
from tests.rig.server import Server
from tests.rig.stores import Place

LIMIT = 20.0
ASK, TAGGED, ASYNC = (
    "send_message_to_agent_and_wait_for_reply",
    "send_message_to_agents_matching_tags",
    "send_message_to_agent_async",
)
Scripts = Callable[[], Script]


def talker(server: Server, script: Script, **fields: Any) -> str:
    """An agent with the tools to talk to others."""
    made = server.new_agent(model=script.handle, memory_blocks=[], include_multi_agent_tools=True, **fields)
    assert {ASK, TAGGED, ASYNC} <= {tool["name"] for tool in made["tools"]}
    return made["id"]


def ask(other: str, what: str = "What is new?", tool: str = ASK) -> Piece:
    return call(tool, {"message": what, "other_agent_id": other})


def returned(found: list[Frame]) -> list[tuple[str, Any]]:
    """Status and text of each tool return."""
    shown = [frame.json for frame in found if frame.kind == "tool_return_message"]
    return [(each["status"], each["tool_return"]) for each in shown]


def runs_of(server: Server, agent: str) -> list[dict[str, Any]]:
    return server.get(f"/v1/runs/?agent_id={agent}").json


def test_a_reply_is_waited_for(server: Server, client: Client, new_script: Scripts) -> None:
    mine, theirs = new_script(), new_script()
    other = talker(server, theirs, name="Other")
    agent = talker(server, mine, name="Asker")
    mine.answer(ask(other)).say("Rain, they say.")
    theirs.say("Rain", " all day.")
    items = turn(client, agent)
    assert types(items) == [
        "tool_call_message", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics",
    ]  # fmt: skip
    (answer,) = of_type(items, "tool_return_message")
    assert answer["status"] == "success"
    assert json.loads(answer["tool_return"]) == {"agent_id": other, "response": ["Rain all day."]}
    (asked,) = (message["content"] for message in theirs.asked[0].messages[1:])
    assert asked.startswith(f"[Incoming message from agent with ID '{agent}' - ")
    assert asked.endswith("] What is new?")
    heard = server.get(f"/v1/agents/{other}/messages").json[1]
    assert (heard["message_type"], heard["name"], heard["sender_id"]) == ("system_message", "Asker", agent)
    (run,) = runs_of(server, other)
    assert (run["status"], run["metadata"]["run_type"]) == ("completed", "message_from_agent")


def test_agents_that_speak_by_tool_are_understood(server: Server, new_script: Scripts) -> None:
    mine, theirs = new_script(), new_script()
    other = server.new_agent(model=theirs.handle, memory_blocks=[], agent_type="memgpt_v2_agent")["id"]
    agent = talker(server, mine)
    theirs.answer(text("Hm."), call("send_message", {"message": "Rain."}))
    mine.answer(ask(other)).say("Thanks.")
    ((status, answer),) = returned(frames(server, agent))
    assert (status, json.loads(answer)["response"]) == ("success", ["Rain."])


def test_a_message_that_is_left_is_not_waited_for(server: Server, new_script: Scripts) -> None:
    mine, theirs, hold = new_script(), new_script(), Hold()
    other, agent = talker(server, theirs), talker(server, mine)
    theirs.answer(hold, text("Late."))
    mine.answer(ask(other, tool=ASYNC)).say("Left.")
    shown = frames(server, agent)
    assert returned(shown) == [("success", "Successfully sent message.")]
    assert said_in(shown) == "Left."
    assert runs_of(server, other)[0]["status"] == "running"
    hold.release()
    soon(lambda: runs_of(server, other)[0]["status"] == "completed", LIMIT)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_circle_of_waits_is_refused_at_once(server: Server, new_script: Scripts, size: int) -> None:
    """An agent that writes to itself, two that ask each other, and three in a ring."""
    scripts = [new_script() for _ in range(size)]
    agents = [talker(server, script) for script in scripts]
    for at, script in enumerate(scripts):
        script.answer(ask(agents[(at + 1) % size])).say(f"I am {at}.")
    shown = frames(server, agents[0])
    assert said_in(shown) == "I am 0."
    refusals = [returned_by_model(script) for script in scripts]
    assert refusals[-1].startswith("The message was not sent: ")
    for heard, script in zip(refusals, scripts[1:], strict=False):
        assert json.loads(heard)["response"] == [script_said(scripts, script)]
    assert [run["status"] for agent in agents for run in runs_of(server, agent)] == ["completed"] * size


def returned_by_model(script: Script) -> str:
    """What its call returned, as the model read it."""
    return script.asked[1].messages[-1]["content"]


def script_said(scripts: list[Script], script: Script) -> str:
    return f"I am {scripts.index(script)}."


def test_a_circle_through_tags_is_refused_and_others_are_asked(server: Server, new_script: Scripts) -> None:
    tag = new_script().name
    first, second, third = new_script(), new_script(), new_script()
    a, b, c = (talker(server, script, tags=[tag]) for script in (first, second, third))
    first.answer(ask(b)).say("Done.")
    second.answer(call(TAGGED, {"message": "All?", "match_all": [tag], "match_some": []})).say("Here.")
    third.say("Me.")
    assert said_in(frames(server, a)) == "Done."
    entries = {entry["agent_id"]: entry for entry in json.loads(returned_by_model(second))}
    assert entries.keys() == {a, c}
    assert (entries[c]["response"], "error" in entries[c]) == (["Me."], False)
    assert "not sent" in entries[a]["error"]


ASKING = '''
def ask_through_the_client(other: str):
    """Asks.

    Args:
        other: Whom.
    """
    answered = client.agents.messages.create(other, messages=[{"role": "user", "content": "What is new?"}])
    return [each.content for each in answered.messages if each.message_type == "assistant_message"]
'''


@pytest.mark.stores("sqlite")
def test_a_tool_that_asks_its_own_agent_through_its_client_is_refused_at_once(
    server: Server, new_script: Scripts
) -> None:
    asker, asked = new_script(), new_script()
    tool = server.request("PUT", "/v1/tools/", {"source_code": ASKING}).json["name"]
    agent, other = talker(server, asker, tools=[tool]), talker(server, asked)
    asker.answer(call(tool, {"other": agent})).answer(call(tool, {"other": other})).say("Done.")
    asked.say("Nothing.")
    (itself, others) = returned(frames(server, agent))
    assert (itself[0], "cannot wait for yourself" in itself[1]) == ("error", True)
    assert others == ("success", '["Nothing."]')


@pytest.mark.stores("sqlite")
def test_messages_are_sent_by_whoever_runs_the_tools_by_hand(server: Server, new_script: Scripts) -> None:
    asked = new_script()
    agent, other = talker(server, new_script()), talker(server, asked)
    asked.say("Nothing.")
    arguments = {"args": {"message": "What is new?", "other_agent_id": other}}
    answer = server.post(f"/v1/agents/{agent}/tools/{ASK}/run", arguments, limit=LIMIT).json
    assert (answer["status"], "Nothing." in answer["func_return"]) == ("success", True)


@pytest.mark.stores("sqlite")
def test_fifty_agents_are_asked_at_once_and_not_one_more(server: Server, new_script: Scripts) -> None:
    boss, crew = new_script(), new_script()
    tag = crew.name
    body = {"model": crew.handle, "memory_blocks": [], "include_base_tools": False, "tags": [tag, "crew"]}
    members = {server.new_agent(**body)["id"] for _ in range(50)}
    agent = talker(server, boss, tags=[tag])
    crew.otherwise(lambda asked: Answer((text("Aye."),)))
    everyone = call(TAGGED, {"message": "Ready?", "match_all": [], "match_some": [tag, "nobody"]})
    boss.answer(everyone).say("All ready.")
    ((status, answer),) = returned(frames(server, agent))
    entries = json.loads(answer)
    assert (status, {entry["agent_id"] for entry in entries}) == ("success", members)
    assert {tuple(entry["response"]) for entry in entries} == {("Aye.",)}
    server.new_agent(**body)
    boss.answer(everyone).say("Too many.")
    ((status, answer),) = returned(frames(server, agent))
    assert (status, "More than 50" in answer) == ("error", True)
    assert len(crew.asked) == 50


def test_self_messaging_agents_end(server: Server, script: Script) -> None:
    """Attack 20: each run leaves the same agent another message; the chain ends, and so does every run."""
    agent = talker(server, script)

    def leave_another(asked: Asked) -> Answer:
        if asked.messages[-1]["role"] == "tool":
            return Answer((text("Left."),))
        return Answer((ask(agent, "again", ASYNC),))

    script.otherwise(leave_another)
    frames(server, agent)
    soon(lambda: len(runs_of(server, agent)) == 9 and all(run["completed_at"] for run in runs_of(server, agent)), LIMIT)
    last = server.get(f"/v1/agents/{agent}/messages").json[-2]
    assert (last["status"], "8 are allowed" in last["tool_return"]) == ("error", True)


def test_cancelling_the_asker_cancels_who_is_asked(server: Server, new_script: Scripts) -> None:
    mine, theirs, hold = new_script(), new_script(), Hold()
    other, agent = talker(server, theirs), talker(server, mine)
    theirs.answer(text("Well"), hold)
    mine.answer(ask(other))
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        stream.until("tool_call_message")
        hold.wait_reached()
        server.post(f"/v1/agents/{agent}/messages/cancel")
        shown = stream.read()
    stopped = next(frame.json for frame in shown if frame.kind == "stop_reason")
    assert stopped["stop_reason"] == "cancelled"
    soon(lambda: runs_of(server, other)[0]["status"] == "cancelled", LIMIT)
    assert theirs.asked[0].closed.wait(LIMIT)
    for script, each in ((mine, agent), (theirs, other)):
        script.say("Still here.")
        assert said_in(frames(server, each)) == "Still here."


def test_who_fails_is_said_to_have_failed(server: Server, new_script: Scripts) -> None:
    mine, theirs = new_script(), new_script()
    other, agent = talker(server, theirs), talker(server, mine)
    theirs.refuse(400)
    mine.answer(ask(other)).answer(ask("agent-00000000-0000-4000-8000-000000000000")).say("Nobody.")
    (failed, lacking) = returned(frames(server, agent))
    assert failed[0] == lacking[0] == "error"
    assert json.loads(failed[1])["error"] == "The LLM provider refused the request."
    assert "not found" in lacking[1]


def test_a_killed_process_asks_nobody_twice(new_server: Callable[..., Server], new_script: Scripts) -> None:
    mine, theirs, hold = new_script(), new_script(), Hold()
    server = new_server().start()
    other, agent = talker(server, theirs), talker(server, mine)
    mine.answer(ask(other)).say("Rain, they say.")
    theirs.answer(hold).say("Rain.")
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        run_id = stream.until("tool_call_message").json["run_id"]
        hold.wait_reached()
        server.kill()
    server.start()
    with server.stream(f"/v1/runs/{run_id}/stream", {}) as again:
        shown = again.read()
    assert said_in(shown) == "Rain, they say."
    ((status, answer),) = returned(shown)
    assert (status, json.loads(answer)["response"]) == ("success", ["Rain."])
    assert [frame.json["seq_id"] for frame in shown[:-1]] == list(range(1, len(shown)))
    assert len(runs_of(server, other)) == 1
    assert (len(mine.asked), len(theirs.asked)) == (2, 2)
    assert [message["role"] for message in theirs.asked[1].messages] == ["system", "system"]


@pytest.mark.stores("postgresql")
def test_a_circle_over_two_processes_is_refused(
    place: Place, models: ModelServer, tmp_path: Path, new_script: Scripts
) -> None:
    first, second, hold = new_script(), new_script(), Hold()
    known = {**models.environment, **place.environment, "PERDURE_ENCRYPTION_KEY": "one for all"}
    with Server(tmp_path / "one", known) as one, Server(tmp_path / "two", known) as two:
        a, b = talker(one, first), talker(one, second)
        # b is at work in the other process already when a's message comes to wait for its turn here.
        second.answer(hold, ask(a)).say("Alone, then.").say("I am b.")
        first.answer(ask(b)).say("Heard b.")
        with two.stream(f"/v1/agents/{b}/messages/stream", {"messages": user("hi")}) as there:
            hold.wait_reached()
            with one.stream(f"/v1/agents/{a}/messages/stream", {"messages": user("hi")}) as here:
                here.until("tool_call_message")
                soon(lambda: len(runs_of(two, b)) == 2, LIMIT)
                hold.release()
                assert said_in(here.read()) == "Heard b."
            ((status, refusal),) = returned(there.read())
        assert (status, refusal.startswith("The message was not sent")) == ("error", True)
