"""Agents that go through files and come out as they were: there and back, in company, out of files of other ages."""

import json
from typing import Any

from tests.contract.test_agent_files import OLD_MESSAGES, arrived, custom, exported, imported, one_agent, sent
from tests.contract.test_groups import frames, group_of, member, speakers
from tests.contract.test_memory import system_of
from tests.contract.told import ADA, user
from tests.operation.waiting import soon
from tests.rig.answers import Answer, call, reasoning, text
from tests.rig.model import EMBEDDING, Script
from tests.rig.server import Server

HERE_ALONE = {"created_at", "updated_at", "last_accessed_at"}
"""What a file says of when things came to be on the server that wrote it, messages and passages apart."""


def without_times(file: Any, inside: str = "") -> Any:
    """A file without the moments and ids that every server has its own of, and without compiled system messages."""
    if isinstance(file, list):
        return [without_times(each, inside) for each in file if not (inside == "messages" and each["role"] == "system")]
    if not isinstance(file, dict):
        return file
    kept = {"messages", "earlier_messages", "passages"}
    return {
        key: without_times(value, key)
        for key, value in file.items()
        if (inside in kept or key not in HERE_ALONE) and not (inside == "isolated_blocks" and key == "id")
    }


def renamed(file: Any, old: str, new: str) -> Any:
    return json.loads(json.dumps(file).replace(old, new))


def rich_agent(server: Server, script: Script) -> str:
    """An agent with everything that a file can hold."""
    name = f"Papers of {script.name}"
    fields = {"name": name, "instructions": "Read.", "metadata": {"a": 1}, "embedding": f"openai/{EMBEDDING}"}
    folder = server.post("/v1/folders/", fields).json["id"]
    for title in ("a.md", "b.txt", "c.txt"):
        sent(server, f"/v1/folders/{folder}/upload", title, f"The text of {title}\n".encode() * 20)
    blocks = [
        {"label": "rules", "value": "Be kind.", "limit": 300, "metadata": {"q": 1}, "tags": ["z"], "read_only": True},
        *ADA,
    ]
    agent = server.new_agent(
        model=script.handle, name="Ada", memory_blocks=blocks, folder_ids=[folder], tools=["weather"], tags=["b", "a"],
        tool_rules=[{"type": "constrain_child_tools", "tool_name": "weather", "children": ["memory_insert"]}],
        metadata={"k": [1, {"z": None}]}, timezone="Europe/Berlin", secrets={"A": "1"}, enable_sleeptime=True,
        compaction_settings={"mode": "all", "model": script.handle, "prompt": "Sum up."},
        model_settings={"provider_type": "openai", "temperature": 0.3, "max_output_tokens": 900},
        context_window_limit=30_000, max_files_open=2, response_format={"type": "json_object"},
        embedding=f"openai/{EMBEDDING}",
    )["id"]  # fmt: skip
    passage = {"text": "Ada moved", "tags": ["p"], "metadata": {"m": 1}, "created_at": "2026-01-02T03:04:05+00:00"}
    server.post(f"/v1/agents/{agent}/archival-memory", passage)
    soon(lambda: server.get(f"/v1/jobs/active?source_id={folder}").json == [])
    files = {each["file_name"]: each["file_id"] for each in server.get(f"/v1/agents/{agent}/files").json["files"]}
    server.request("PATCH", f"/v1/agents/{agent}/files/close-all")
    server.request("PATCH", f"/v1/agents/{agent}/files/{files[f'{name}/a.md']}/open")
    script.otherwise(lambda asked: Answer((text("Fine."),)))
    script.answer(reasoning("Hm."), text("So."), call("weather", {"city": "Oslo"}))
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")})
    thread = {"isolated_block_labels": ["human"], "summary": "tea", "description": "d", "context_window_limit": 9000}
    other = server.post(f"/v1/conversations/?agent_id={agent}", thread).json["id"]
    server.post(f"/v1/conversations/{other}/messages", {"messages": user("in a thread"), "streaming": False})
    server.request("PATCH", f"/v1/agents/{agent}/reset-messages", {})
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("again")})
    return agent


def test_an_export_of_an_import_is_equal(server: Server, script: Script) -> None:
    agent = rich_agent(server, script)
    first = exported(server, agent)
    name = first["sources"][0]["name"]
    assert [(each["file_name"], each["is_open"]) for each in first["agents"][0]["files_agents"]] == [
        (f"{name}/a.md", True), (f"{name}/b.txt", False), (f"{name}/c.txt", False),
    ]  # fmt: skip
    reply = imported(server, first, append_copy_suffix="false").json
    assert reply["warnings"] == []
    moved = reply["agent_ids"][0]
    soon(lambda: "The text of a.md" in system_of(server, moved))
    (folder,) = server.get(f"/v1/agents/{moved}/folders").json
    soon(lambda: server.get(f"/v1/jobs/active?source_id={folder['id']}").json == [])
    second = renamed(exported(server, moved), folder["name"], name)
    assert without_times(second) == without_times(first)
    # A companion calls tools, and is not held to the form in which its agent answers.
    companion = first["agents"][1]["llm_config"]
    assert (companion["response_format"], companion["temperature"]) == (None, 0.3)


def test_an_agent_moves_with_the_others_of_its_groups_where_that_is_asked_for(server: Server, script: Script) -> None:
    boss, ann, bo = (member(server, script, name) for name in ("Boss", "Ann", "Bo"))
    group_of(server, [ann, bo], max_turns=2)
    config = {"manager_type": "dynamic", "manager_agent_id": boss, "max_turns": 3, "termination_token": "Enough."}
    group_of(server, [ann, bo], **config)
    assert [each["name"] for each in exported(server, ann)["agents"]] == ["Ann"]
    file = exported(server, ann, "?include_groups=true")
    assert [each["name"] for each in file["agents"]] == ["Ann", "Bo", "Boss"]
    assert [each["group_ids"] for each in file["agents"]] == [
        ["group-0", "group-1"],
        ["group-0", "group-1"],
        ["group-1"],
    ]
    reply = imported(server, file, name="Anna", append_copy_suffix="false").json
    assert reply["warnings"] == []
    names = [server.get(f"/v1/agents/{each}").json["name"] for each in reply["agent_ids"]]
    assert names == ["Anna", "Bo", "Boss"]
    anna, other, leader = reply["agent_ids"]
    mine = [each for each in server.get("/v1/groups/?limit=1000").json if each["agent_ids"] == [anna, other]]
    told = {(each["manager_type"], each["manager_agent_id"], each["max_turns"]): each for each in mine}
    assert told.keys() == {("round_robin", None, 2), ("dynamic", leader, 3)}
    assert told["dynamic", leader, 3]["termination_token"] == "Enough."
    again = renamed(exported(server, anna, "?include_groups=true"), "Anna", "Ann")
    assert without_times(again) == without_times(file)
    script.otherwise(lambda asked: Answer((text("Me."),)))
    assert speakers(frames(server, told["round_robin", None, 2]["id"])) == [("Anna", "Me."), ("Bo", "Me.")]


def test_a_file_of_the_format_before(server: Server, script: Script) -> None:
    """One agent with its tools and blocks inside, messages without ids, metadata under its older name."""
    blocks = [{"label": "human", "value": "Ada", "limit": 5000, "metadata_": {"k": 1}, "template_name": None}]
    tool = {**custom("def greet_once(): ..."), "name": "greet_before", "metadata_": {}, "tags": []}
    config = {"model": script.name, "handle": script.handle, "model_endpoint_type": "openai", "context_window": 8192,
              "enable_reasoner": False, "max_reasoning_tokens": 0, "max_tokens": 4096}  # fmt: skip
    messages = [{key: value for key, value in each.items() if key != "id"} for each in OLD_MESSAGES[:4]]
    agent = arrived(server, {
        "agent_type": "memgpt_agent", "core_memory": blocks, "llm_config": config, "messages": messages,
        "in_context_message_indices": [0, 1, 2, 3], "tools": [{key: tool[key] for key in tool if key != "id"}],
        "tool_exec_environment_variables": [], "tool_rules": [{"tool_name": "send_message", "type": "exit_loop"}],
        "embedding_config": {"handle": "openai/no-more", "embedding_model": "no-more", "embedding_dim": 1536},
        "metadata_": {"made": "before"}, "multi_agent_group": None, "name": "Old Ada", "system": "You are Ada.",
        "tags": [], "version": "0.6.47", "message_buffer_autoclear": False, "description": None,
    })  # fmt: skip
    assert (agent["name"], agent["metadata"], agent["llm_config"]["context_window"]) == (
        "Old Ada_copy", {"made": "before"}, 8192,
    )  # fmt: skip
    assert [(each["value"], each["metadata"]) for each in agent["blocks"]] == [("Ada", {"k": 1})]
    assert [each["name"] for each in agent["tools"]] == ["greet_before"]
    history = server.get(f"/v1/agents/{agent['id']}/messages?order=asc").json
    assert [each["content"] for each in history if each["message_type"] in ("user_message", "assistant_message")] == [
        "hi", "Hi",
    ]  # fmt: skip


def test_what_cannot_be_made_is_left_out_and_the_agents_are_made(server: Server, script: Script) -> None:
    config = {"model": script.name, "handle": script.handle, "model_endpoint_type": "openai", "context_window": 32_000,
              "enable_reasoner": True, "max_tokens": 2048}  # fmt: skip
    reply = imported(server, {
        **one_agent(script, model=None, llm_config=config, enable_reasoner=False, max_tokens=None, block_ids=["b"],
                    messages=[{"id": "m", "role": "user", "content": [{"type": "text", "text": None}]}]),
        "blocks": [{"id": "b", "label": "human", "value": None, "limit": None}],
        "groups": [{"id": "g", "agent_ids": ["agent-0"], "manager_config": {"manager_type": "swarm"}},
                   {"id": "h", "agent_ids": ["agent-0"], "description": None, "manager_config": None}],
        "mcp_servers": [{"id": "s", "server_type": "carrier_pigeon", "server_name": "coo"}],
    })  # fmt: skip
    assert reply.status == 200, reply.text
    assert [warning[:24] for warning in reply.json["warnings"]] == [
        "Left out: the group 'g' ",
        "Left out: the MCP server",
    ]
    agent = server.get(f"/v1/agents/{reply.json['agent_ids'][0]}").json
    assert [each["value"] for each in agent["blocks"]] == [""]
    thread = {"model": "nobody/nothing", "model_settings": {"provider_type": "openai"}, "summary": "s"}
    file = one_agent(script, perdure={"version": 1, "conversations": [thread]})
    reply = imported(server, file).json
    assert "Left out: the model of a conversation" in reply["warnings"][0]
    (other,) = server.get(f"/v1/conversations/?agent_id={reply['agent_ids'][0]}").json
    assert (other["summary"], other["model"], other["model_settings"]) == ("s", None, None)
    assert imported(server, file, model=script.handle).json["warnings"] == []
    # Beside the config a file has settings as they are by default, which say nothing.
    assert (agent["llm_config"]["enable_reasoner"], agent["llm_config"]["max_tokens"]) == (True, 2048)
    assert agent["id"] in str(server.get("/v1/groups/?limit=1000").json)
