"""What agents remember, through the SDKs: edits, shared blocks, every version of a block, system messages anew."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.contract.told import fresh_agent, user
from tests.contract.turns import agent_of, of_type, tail, turn
from tests.rig.answers import call
from tests.rig.model import Script
from tests.rig.sdks import PY1, Client, Decoded
from tests.rig.server import Server

MARKED = "{{7*7}} {CORE_MEMORY} {0} %s ${x} {% for a in b %}"


def returns(items: list[Decoded]) -> list[tuple[str, str]]:
    return [(item["status"], item["tool_return"]) for item in of_type(items, "tool_return_message")]


def system_of(server: Server, agent: str) -> str:
    """The stored system message of an agent's default conversation."""
    return server.get(f"/v1/agents/{agent}/messages?order=asc&limit=1").json[0]["content"]


def value_of(server: Server, agent: str, label: str = "human") -> str:
    return server.get(f"/v1/agents/{agent}/core-memory/blocks/{label}").json["value"]


def test_scenario_05_the_next_request_shows_an_edit(py: Client, script: Script) -> None:
    script.answer(call("memory_insert", {"label": "human", "new_string": "Likes tea."})).say("Saved.").say("Yes.")
    agent = fresh_agent(py, script)
    assert returns(turn(py, agent)) == [("success", "Name: Ada.\nLikes tea.")]
    turn(py, agent, "Do you remember?")
    assert "<value>\nName: Ada.\nLikes tea.\n</value>" in script.asked[2].system


def test_scenarios_06_and_07_refused_edits_go_on(py: Client, script: Script) -> None:
    blocks = [{"label": "rules", "value": "Be kind.", "read_only": True}, {"label": "human", "value": "tea\ntea"}]
    edits = [("rules", "Be kind."), ("human", "milk"), ("human", "tea")]
    for label, old in edits:
        script.answer(call("memory_replace", {"label": label, "old_string": old, "new_string": "x"}))
    script.say("I could not.")
    agent = py.one("create_agent", model=script.handle, memory_blocks=blocks)["id"]
    items = turn(py, agent)
    (read_only, none, two) = returns(items)
    assert {read_only[0], none[0], two[0]} == {"error"}
    assert ("read-only" in read_only[1], "0 times" in none[1], "on lines 1, 2" in two[1]) == (True, True, True)
    assert tail(items) == ("end_turn", 4)


def test_what_one_agent_writes_all_that_share_the_block_see(server: Server, script: Script) -> None:
    shared = server.post("/v1/blocks/", {"label": "team", "value": "Ada"}).json["id"]
    writer, reader = (server.new_agent(model=script.handle, block_ids=[shared])["id"] for _ in range(2))
    thread = server.post(f"/v1/conversations/?agent_id={reader}").json["id"]
    untouched = agent_of(server, script)
    before = system_of(server, untouched)
    script.answer(call("memory_insert", {"label": "team", "new_string": "Bob"})).say("Done.").say("Ada and Bob.")
    server.post(f"/v1/agents/{writer}/messages", {"messages": user("Bob joins")})
    assert "<value>\nAda\nBob\n</value>" in system_of(server, reader)
    assert system_of(server, untouched) == before
    server.post(f"/v1/conversations/{thread}/messages", {"messages": user("Who?"), "streaming": False})
    assert "<value>\nAda\nBob\n</value>" in script.asked[2].system


def test_an_agent_arranges_its_blocks(py: Client, server: Server, script: Script) -> None:
    for arguments in (
        {"command": "create", "path": "/memories/plans", "description": "What is next.", "file_text": "Tea"},
        {"command": "rename", "old_path": "/memories/human", "new_path": "/memories/person"},
    ):
        script.answer(call("memory", {**arguments, "request_heartbeat": True}))
    script.answer(call("core_memory_append", {"label": "plans", "content": "Milk", "request_heartbeat": True}))
    script.answer(call("send_message", {"message": "Done."}))
    agent = fresh_agent(py, script, agent_type="memgpt_agent", initial_message_sequence=[])
    assert [status for status, _ in returns(turn(py, agent))] == ["success"] * 3
    assert value_of(server, agent, "plans") == "Tea\nMilk"
    assert value_of(server, agent, "person") == "Name: Ada."
    assert "<plans>\n<description>\nWhat is next." in system_of(server, agent)


def test_a_sleeptime_agent_ends_by_saying_that_it_is_done(server: Server, script: Script) -> None:
    script.answer(call("memory_rethink", {"label": "human", "new_memory": "Ada."}))
    script.answer(call("memory_finish_edits", {}))
    agent = agent_of(server, script, agent_type="sleeptime_agent")
    reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user("Tidy up.")}).json
    assert (reply["stop_reason"]["stop_reason"], value_of(server, agent)) == ("tool_rule", "Ada.")


def test_every_version_of_a_block_is_kept_and_can_come_back(py1: Client, server: Server, script: Script) -> None:
    script.answer(call("memory_insert", {"label": "human", "new_string": "Likes tea."})).say("Saved.")
    agent = fresh_agent(py1, script)
    items = turn(py1, agent)
    block = py1.one("retrieve_agent_block", agent_id=agent, label="human")["id"]
    py1.one("update_block", block_id=block, value="Name: Bob.", description="Who.")
    versions = server.get(f"/v1/blocks/{block}/history").json
    assert [(each["version"], each["value"], each["actor"], each["run_id"]) for each in versions] == [
        (3, "Name: Bob.", "api", None),
        (2, "Name: Ada.\nLikes tea.", agent, items[0]["run_id"]),
        (1, "Name: Ada.", "api", None),
    ]
    assert server.get(f"/v1/blocks/{block}/history?before=3&limit=1").json == versions[1:2]
    restored = server.post(f"/v1/blocks/{block}/restore", {"version": 2})
    assert (restored.json["value"], restored.json["version"]) == ("Name: Ada.\nLikes tea.", 4)
    assert "<value>\nName: Ada.\nLikes tea.\n</value>" in system_of(server, agent)
    assert server.get(f"/v1/blocks/{block}/history?limit=1").json[0]["version"] == 4
    missing = server.post(f"/v1/blocks/{block}/restore", {"version": 9})
    assert (missing.status, "has no version 9" in missing.json["detail"]) == (404, True)
    assert server.post(f"/v1/blocks/{block}/restore", {}).status == 422


def test_an_edit_made_for_an_older_version_is_refused(server: Server) -> None:
    block = server.post("/v1/blocks/", {"label": "human", "value": "one"}).json
    path = f"/v1/blocks/{block['id']}"
    assert server.request("PATCH", path, {"value": "two", "version": block["version"]}).json["version"] == 2
    late = server.request("PATCH", path, {"value": "three", "version": block["version"]})
    assert (late.status, "has version 2 by now, not 1" in late.json["detail"]) == (409, True)
    assert server.get(path).json["value"] == "two"


def test_edits_at_once_that_name_no_version_follow_one_after_the_other(server: Server) -> None:
    block = server.post("/v1/blocks/", {"label": "human", "value": "begin"}).json["id"]

    def edit(number: int) -> int:
        return server.request("PATCH", f"/v1/blocks/{block}", {"value": f"value {number}"}).status

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(edit, range(30))) == {200}
    versions = server.get(f"/v1/blocks/{block}/history").json
    assert {each["value"] for each in versions} == {"begin", *(f"value {number}" for number in range(30))}


def test_templates_in_memory_and_prompts_are_text(server: Server, script: Script) -> None:
    """Attack 24 of users.md: whatever looks like a template stands there as it was written."""
    script.say("Yes.")
    fields: dict[str, Any] = {"system": f"You help. {MARKED.replace('{CORE_MEMORY}', '')}"}
    blocks = [{"label": "human", "value": MARKED, "description": MARKED}]
    agent = server.new_agent(model=script.handle, memory_blocks=blocks, **fields)["id"]
    server.post(f"/v1/agents/{agent}/messages", {"messages": user(MARKED)})
    said = script.asked[0].system
    assert said.startswith(fields["system"])
    assert said.count(MARKED) == 2
    assert script.asked[0].said == MARKED


def test_labels_that_would_break_the_system_message(server: Server) -> None:
    for label in ("", " ", "x" * 256, "<system>", 'a"b', "a\nb"):
        refused = server.post("/v1/blocks/", {"label": label, "value": "x"})
        assert refused.status == 422
        assert "label" in refused.json["detail"][0]["loc"]


def test_an_agents_system_message_compiled_anew(py1: Client, server: Server, script: Script) -> None:
    agent = fresh_agent(py1, script)
    before = system_of(server, agent)

    def recompiled(**query: bool) -> str:
        return json.loads(py1.one("recompile_agent", agent_id=agent, **query).fields)

    assert recompiled() == before
    assert "System prompt last recompiled" in recompiled(dry_run=True)
    assert system_of(server, agent) == before
    server.request("PATCH", f"/v1/agents/{agent}", {"system": "Be brief."})
    assert system_of(server, agent).startswith("Be brief.")
    assert recompiled(update_timestamp=True) == system_of(server, agent)


def test_a_tool_that_waits_for_approval_or_no_longer(py: Client, script: Script) -> None:
    agent = fresh_agent(py, script)

    def rules(required: bool) -> list[Any]:
        changed = py.one("set_tool_approval", agent_id=agent, tool_name="memory_insert", required=required)
        return [rule["tool_name"] for rule in changed["tool_rules"] if rule["type"] == "requires_approval"]

    assert (rules(True), rules(True), rules(False)) == (["memory_insert"], ["memory_insert"], [])
    if py.sdk.name != PY1:
        assert py.one("list_memory_variables", agent_id=agent)["variables"] == {}


def test_approval_of_a_tool_the_agent_lacks(server: Server, script: Script) -> None:
    path = f"/v1/agents/{agent_of(server, script)}/tools/approval"
    lacking = server.request("PATCH", f"{path}/fail", {"requires_approval": True})
    assert (lacking.status, "memory_insert" in lacking.json["detail"]) == (404, True)
    assert server.request("PATCH", f"{path}/memory_insert").status == 422
