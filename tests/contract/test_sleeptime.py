"""Agents with a companion that looks after their memory in the background: scenario 38, and what may go wrong."""

import json
from collections.abc import Callable
from typing import Any

from tests.contract.told import user
from tests.contract.turns import frames, said_in, tail, turn
from tests.operation.waiting import soon
from tests.rig.answers import Answer, Hold, Piece, call, text
from tests.rig.http import Frame
from tests.rig.model import Script
from tests.rig.sdks import Client
from tests.rig.server import Server

LIMIT = 20.0
KNOWN = [{"label": "human", "value": "Name: Ada."}]
LEARNED = "Name: Ada. Likes tea."
Scripts = Callable[[], Script]


def watched(server: Server, script: Script, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """An agent with a companion, and that."""
    body = {"model": script.handle, "memory_blocks": KNOWN, "enable_sleeptime": True, **fields}
    agent = server.new_agent(name="Ada s agent", **body)
    (companion,) = agent["multi_agent_group"]["agent_ids"]
    return agent, server.get(f"/v1/agents/{companion}").json


def asked_as(script: Script, agent: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What the model was asked in this agent's name."""
    return [asked.messages for asked in script.asked if f"AGENT_ID: {agent['id']}" in asked.messages[0]["content"]]


def playing(script: Script, companion: dict[str, Any], *steps: tuple[Piece, ...]) -> None:
    """The agent says Yes. to everything; its companion takes these steps, and then says that it is done."""
    left = list(steps)

    def answer(asked: Any) -> Answer:
        if f"AGENT_ID: {companion['id']}" in asked.messages[0]["content"]:
            return Answer(left.pop(0) if left else (text("Done."),))
        return Answer((text("Yes."),))

    script.otherwise(answer)


def rethink(value: str = LEARNED) -> Piece:
    return call("memory_rethink", {"label": "human", "new_memory": value})


def runs_of(server: Server, agent: dict[str, Any]) -> list[dict[str, Any]]:
    return server.get(f"/v1/runs/?agent_id={agent['id']}").json


def human(server: Server, agent: dict[str, Any]) -> str:
    return server.get(f"/v1/agents/{agent['id']}/core-memory/blocks/human").json["value"]


def test_the_companion_shares_all_blocks(server: Server, script: Script) -> None:
    agent, companion = watched(server, script)
    group = agent["managed_group"]
    assert (group["manager_type"], group["manager_agent_id"]) == ("sleeptime", agent["id"])
    assert (group["sleeptime_agent_frequency"], group["turns_counter"]) == (5, 0)
    assert (companion["name"], companion["agent_type"]) == ("Ada s agent-sleeptime", "sleeptime_agent")
    assert [block["label"] for block in companion["blocks"]] == ["memory_persona", "human"]
    assert companion["blocks"][1]["id"] == agent["blocks"][0]["id"]
    assert {"memory_rethink", "memory_finish_edits"} <= {tool["name"] for tool in companion["tools"]}
    assert not {"memory_insert", "memory_replace", "send_message"} & {tool["name"] for tool in agent["tools"]}
    block = server.post("/v1/blocks/", {"label": "plans", "value": "Turin"}).json["id"]
    for change, labels in (("attach", ["memory_persona", "human", "plans"]), ("detach", ["memory_persona", "human"])):
        server.request("PATCH", f"/v1/agents/{agent['id']}/core-memory/blocks/{change}/{block}")
        shared = server.get(f"/v1/agents/{companion['id']}/core-memory/blocks?order=asc").json
        assert sorted(each["label"] for each in shared) == sorted(labels)
    # One that was deleted by itself is made anew for whoever asks for it again.
    server.request("DELETE", f"/v1/agents/{companion['id']}")
    assert server.get(f"/v1/agents/{agent['id']}").json["managed_group"] is None
    again = server.request("PATCH", f"/v1/agents/{agent['id']}", {"enable_sleeptime": True}).json["managed_group"]
    assert len(again["agent_ids"]) == 1
    assert server.request("DELETE", f"/v1/agents/{agent['id']}").status == 200
    assert server.get(f"/v1/agents/{again['agent_ids'][0]}").status == 404
    assert server.get(f"/v1/groups/{again['id']}").status == 404


def test_scenario_38_the_fifth_request_lets_the_companion_work(server: Server, py: Client, script: Script) -> None:
    agent, companion = watched(server, script)
    playing(script, companion, (rethink(),), (call("memory_finish_edits"),))
    turns = [turn(py, agent["id"], f"number {number}") for number in range(1, 11)]
    assert [tail(items)[0] for items in turns] == ["end_turn"] * 10
    started = [items[-1]["run_ids"] for items in turns]
    assert [bool(ids) for ids in started] == [False] * 4 + [True] + [False] * 4 + [True]
    soon(lambda: all(run["completed_at"] for run in runs_of(server, companion)), LIMIT)
    found = runs_of(server, companion)
    assert [[run["id"]] for run in found] == [started[9], started[4]]
    assert [(run["status"], run["background"]) for run in found] == [("completed", True)] * 2
    assert found[1]["stop_reason"] == "tool_rule"
    first, second = (
        server.get(f"/v1/runs/{run['id']}/messages").json[0]["content"] for run in (found[1], found[0])
    )  # fmt: skip
    assert [f"number {number}\n" in first for number in range(1, 11)] == [True] * 5 + [False] * 5
    assert [f"number {number}\n" in second for number in range(1, 11)] == [False] * 5 + [True] * 5
    assert human(server, agent) == LEARNED
    turn(py, agent["id"], "and now?")
    assert LEARNED in asked_as(script, agent)[-1][0]["content"]
    group = server.get(f"/v1/agents/{agent['id']}").json["managed_group"]
    assert group["turns_counter"] == 11
    assert server.get(f"/v1/runs/{turns[4][0]['run_id']}").json["status"] == "completed"


def test_a_companion_that_fails_does_not_concern_its_agent(server: Server, script: Script) -> None:
    agent, companion = watched(server, script, agent_type="memgpt_v2_agent", include_base_tool_rules=True)
    playing(script, companion, (call("memory_rethink", {"label": "nothing", "new_memory": "?"}),))
    speak = call("send_message", {"message": "Yes."})
    turns: list[list[Frame]] = []
    for _ in range(5):
        script.answer(speak)
        turns.append(frames(server, agent["id"]))
        assert said_in(turns[-1]) == "Yes."
    (run_id,) = turns[-1][-2].json["run_ids"]
    soon(lambda: server.get(f"/v1/runs/{run_id}").json["completed_at"], LIMIT)
    assert human(server, agent) == "Name: Ada."


def test_blocks_that_the_agent_arranges_itself_are_shared_too(server: Server, script: Script) -> None:
    agent, companion = watched(server, script, tools=["memory"])

    def do(**arguments: str) -> tuple[list[str], str]:
        """The labels that the companion then holds, and its system message."""
        script.answer(call("memory", arguments)).say("Done.")
        assert said_in(frames(server, agent["id"])) == "Done."
        held = server.get(f"/v1/agents/{companion['id']}").json["blocks"]
        system = server.get(f"/v1/agents/{companion['id']}/messages").json[0]["content"]
        return [block["label"] for block in held], system

    labels, system = do(command="create", path="/memories/plans", description="What is planned.", file_text="Turin")
    assert labels == ["memory_persona", "human", "plans"]
    assert "Turin" in system
    labels, system = do(command="rename", old_path="/memories/plans", new_path="/memories/trips")
    assert labels == ["memory_persona", "human", "trips"]
    assert "<trips>" in system
    labels, system = do(command="delete", path="/memories/trips")
    assert labels == ["memory_persona", "human"]
    assert "Turin" not in system


def test_a_message_that_is_cancelled_while_it_waits_is_no_turn(server: Server, script: Script) -> None:
    agent, companion = watched(server, script)
    path, hold = f"/v1/agents/{agent['id']}", Hold()
    script.answer(hold, text("Yes."))
    sent = [server.post(f"{path}/messages/async", {"messages": user(said)}).json["id"] for said in ("one", "two")]
    hold.wait_reached()
    server.post(f"{path}/messages/cancel", {"run_ids": [sent[1]]})
    soon(lambda: server.get(f"/v1/runs/{sent[1]}").json["status"] == "cancelled", LIMIT)
    hold.release()
    soon(lambda: server.get(f"/v1/runs/{sent[0]}").json["status"] == "completed", LIMIT)
    assert server.get(path).json["managed_group"]["turns_counter"] == 1
    assert runs_of(server, companion) == []


def test_a_voice_companion_works_once_enough_messages_have_come(server: Server, script: Script) -> None:
    agent, companion = watched(server, script, agent_type="voice_convo_agent")
    config = {"manager_type": "voice_sleeptime", "max_message_buffer_length": 7}
    group = server.request("PATCH", f"/v1/groups/{agent['multi_agent_group']['id']}", {"manager_config": config})
    assert group.json["max_message_buffer_length"] == 7, group.text
    playing(script, companion)
    started: list[bool] = []
    for _ in range(6):  # each is three messages: what was said, the call that answers, and its return
        script.answer(call("send_message", {"message": "Yes."}))
        started.append(bool(frames(server, agent["id"])[-2].json["run_ids"]))
        soon(lambda: all(run["completed_at"] for run in runs_of(server, companion)), LIMIT)
    assert started == [False, False, True] * 2
    assert len(runs_of(server, companion)) == 2


def test_turning_it_on_and_off_later(server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle, memory_blocks=KNOWN)
    assert agent["managed_group"] is None
    path = f"/v1/agents/{agent['id']}"
    changed = server.request("PATCH", path, {"enable_sleeptime": True}).json
    (companion,) = changed["managed_group"]["agent_ids"]
    assert server.request("PATCH", path, {"enable_sleeptime": False}).json["enable_sleeptime"] is False
    again = server.request("PATCH", path, {"enable_sleeptime": True}).json
    assert again["managed_group"]["agent_ids"] == [companion]
    assert server.request("DELETE", f"/v1/agents/{companion}").status == 200
    assert server.get(path).json["managed_group"] is None
    voice = server.new_agent(
        model=script.handle, memory_blocks=KNOWN, agent_type="voice_convo_agent", enable_sleeptime=True
    )
    assert voice["managed_group"]["manager_type"] == "voice_sleeptime"
    assert voice["managed_group"]["max_message_buffer_length"] == 30


def test_a_crash_between_keeps_the_companions_run(new_server: Callable[..., Server], script: Script) -> None:
    server, hold = new_server().start(), Hold()
    agent, companion = watched(server, script)
    playing(script, companion, (hold, text("never said")), (rethink(),), (call("memory_finish_edits"),))
    turns = [frames(server, agent["id"]) for _ in range(5)]
    (run_id,) = turns[-1][-2].json["run_ids"]
    hold.wait_reached()
    server.kill()
    server.start()
    soon(lambda: server.get(f"/v1/runs/{run_id}").json["completed_at"], LIMIT)
    assert [run["id"] for run in runs_of(server, companion)] == [run_id]
    assert human(server, agent) == LEARNED
    assert len(asked_as(script, companion)) == 3
    assert json.loads(server.get(f"/v1/agents/{agent['id']}").text)["managed_group"]["turns_counter"] == 5
