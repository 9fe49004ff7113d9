"""MCP servers through the SDKs, by their ids and by their names, and agents that run their tools."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_agent_files import arrived, exported, imported
from tests.contract.turns import agent_of, frames
from tests.rig.answers import call
from tests.rig.mcp import McpPeer
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import JS0, JS1, PY0, PY1, Client, Sdk
from tests.rig.server import ROOT, Server
from tests.rig.stores import places

STDIO = {"command": sys.executable, "args": ["-m", "tests.rig.mcp_peer", "stdio"], "env": {"PYTHONPATH": str(ROOT)}}


@pytest.fixture(scope="module")
def open_servers(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """A server on each database that may ask MCP servers on this machine, and has one that it starts."""
    started: dict[str, Server] = {}

    def server(store: str) -> Server:
        if store not in started:
            folder = tmp_path_factory.mktemp(f"mcp-{store}")
            config = folder / "mcp.json"
            config.write_text(json.dumps({"mcpServers": {"local": STDIO}}))
            settings = {"PERDURE_PRIVATE_MCP": "1", "PERDURE_MCP_CONFIG": str(config), "PERDURE_MCP_CALL_SECONDS": "30"}
            place = stack.enter_context(places(store, folder))()
            environment = models.environment | place.environment | settings
            started[store] = stack.enter_context(Server(folder / "data", environment))
        return started[store]

    with contextlib.ExitStack() as stack:
        yield server


@pytest.fixture
def mcp_server(open_servers: Callable[[str], Server], store: str) -> Iterator[Server]:
    server = open_servers(store)
    yield server
    for each in server.get("/v1/mcp-servers/").json:
        if each["server_name"] == "local":
            for tool in server.get(f"/v1/mcp-servers/{each['id']}/tools").json:
                assert server.request("DELETE", f"/v1/tools/{tool['id']}").status == 200
        else:
            assert server.request("DELETE", f"/v1/mcp-servers/{each['id']}").status == 200


def do(client: Client, path: str, *of: Any, **fields: Any) -> Any:
    """What a method of an SDK returns, as plain data: its only item, or all of them."""
    newer_js = client.sdk.language == "js"
    found = client.all("method", path=path, of=[*of, *([fields] if fields and newer_js else [])],
                       **({} if newer_js else fields))  # fmt: skip
    return [each.fields for each in found]


@pytest.mark.parametrize(("store", "name"), [("sqlite", PY1), ("sqlite", JS1), ("postgresql", PY1)])
def test_the_newer_sdks_keep_servers_by_id(
    mcp_server: Server, mcp_peer: McpPeer, sdks: Callable[[str], Sdk], name: str
) -> None:
    client = sdks(name).at(mcp_server.base_url)
    servers = "mcp_servers" if name == PY1 else "mcpServers"
    config = {
        "mcp_server_type": "streamable_http",
        "server_url": mcp_peer.url,
        "auth_token": "t0k",
        "auth_header": "X-Own",
    }
    (made,) = do(client, f"{servers}.create", server_name="tricky", config=config)
    assert (made["server_name"], made["mcp_server_type"], made["server_url"]) == (
        "tricky",
        "streamable_http",
        mcp_peer.url,
    )
    assert (made["auth_header"], made["auth_token"], made["custom_headers"]) == ("X-Own", None, None)
    said = made["metadata"]["tools"]
    assert (said["offered"], {each["name"] for each in said["left_out"]}) == (
        18, {"recursive", "in_a_circle", "doubling", "elsewhere", "dangling", "deep", "wordy"}
    )  # fmt: skip
    listed = do(client, f"{servers}.list")
    assert [each["server_name"] for each in listed] == ["local", "tricky"]
    assert listed[0]["mcp_server_type"] == "stdio"
    assert do(client, f"{servers}.retrieve", made["id"]) == [made]

    tools = {tool["name"]: tool for tool in do(client, f"{servers}.tools.list", made["id"])}
    echo, seen = tools["echo"], tools["seen"]
    assert (echo["tool_type"], echo["tags"], echo["description"]) == ("external_mcp", ["mcp:tricky"], "Says it back.")
    assert "tricky_memory_insert" in tools
    assert tools["odd_name_of_a_tool"]["metadata_"]["mcp"]["tool_name"] == "odd name/of.a tool"
    item = tools["order"]["json_schema"]["parameters"]["properties"]["item"]
    assert item["properties"]["count"] == {"type": "integer"}
    assert do(client, f"{servers}.tools.retrieve", echo["id"], mcp_server_id=made["id"]) == [echo]
    (done,) = do(client, f"{servers}.tools.run", echo["id"], mcp_server_id=made["id"], args={"text": "hi"})
    assert (done["status"], done["func_return"]) == ("success", 'echo: {"text": "hi"}')
    (done,) = do(client, f"{servers}.tools.run", seen["id"], mcp_server_id=made["id"], args={})
    assert json.loads(done["func_return"])["x-own"] == "t0k"

    assert do(client, f"{servers}.refresh", made["id"])[0]["updated"] == []
    (after,) = do(
        client, f"{servers}.update", made["id"], server_name="other", config={"custom_headers": {"X-More": "y"}}
    )
    assert (after["id"], after["server_name"]) == (made["id"], "other")
    (done,) = do(client, f"{servers}.tools.run", seen["id"], mcp_server_id=made["id"], args={})
    assert json.loads(done["func_return"])["x-more"] == "y"
    assert mcp_server.get(f"/v1/tools/{echo['id']}").json["tags"] == ["mcp:other"]
    do(client, f"{servers}.delete", made["id"])
    assert [each["server_name"] for each in do(client, f"{servers}.list")] == ["local"]
    assert mcp_server.get(f"/v1/tools/{echo['id']}").status == 404


@pytest.mark.parametrize(("store", "name"), [("sqlite", PY0), ("sqlite", JS0), ("postgresql", JS0)])
def test_the_older_sdks_keep_servers_by_name(
    mcp_server: Server, mcp_peer: McpPeer, sdks: Callable[[str], Sdk], name: str
) -> None:
    client = sdks(name).at(mcp_server.base_url)

    def ask(method: str, *of: Any, request: dict[str, Any] | None = None) -> Any:
        if name == PY0:
            return do(client, f"tools.{method}", *of, **({"request": request} if request else {}))
        camel = "".join(word.capitalize() if at else word for at, word in enumerate(method.split("_")))
        return do(client, f"tools.{camel}", *of, *([request] if request else []))

    config = {"server_name": "old one", "type": "sse", "server_url": f"{mcp_peer.older}/sse"}
    assert [each["name"] for each in ask("test_mcp_server", request=config)] == ["shout", "stall"]
    events = ask("connect_mcp_server", request=config)
    assert [each["event"] for each in events] == ["connection_attempt", "success"]
    added = ask("add_mcp_server", request=config)
    assert [each["server_name"] for each in added] == ["local", "old one"]
    (by_name,) = ask("list_mcp_servers")
    assert set(by_name) == {"local", "old one"} or set(by_name) == {"local", "old_one"}
    offered = ask("list_mcp_tools_by_server", "old one")
    assert [(each["name"], each["health"]["status"]) for each in offered] == [
        ("shout", "NON_STRICT_ONLY"), ("stall", "NON_STRICT_ONLY")
    ]  # fmt: skip
    (tool,) = ask("add_mcp_tool", "old one", "shout")
    assert (tool["name"], tool["tool_type"]) == ("shout", "external_mcp")
    (after,) = ask("update_mcp_server", "old one", request={"custom_headers": {"X-More": "y"}})
    assert after["server_name"] == "old one"
    left = ask("delete_mcp_server", "old one")
    assert [each["server_name"] for each in left] == ["local"]


def add(server: Server, peer: McpPeer, **config: Any) -> tuple[str, dict[str, str]]:
    """A server that is added, and the ids of its tools."""
    made = server.post("/v1/mcp-servers/", {"server_name": "tricky", "config": {"server_url": peer.url, **config}}).json
    assert made["metadata"]["tools"]["error"] is None
    tools = server.get(f"/v1/mcp-servers/{made['id']}/tools").json
    return made["id"], {tool["name"]: tool["id"] for tool in tools}


def returned(found: list[Any]) -> dict[str, Any]:
    (part,) = [frame.json for frame in found if frame.kind == "tool_return_message"]
    return part


def test_an_agent_runs_a_tool_with_its_own_secrets(mcp_server: Server, mcp_peer: McpPeer, script: Script) -> None:
    headers = {"X-Key": "{{ MCP_KEY }}", "X-Zone": "{{ ZONE | north }}"}
    _, tools = add(mcp_server, mcp_peer, custom_headers=headers)
    agent = agent_of(mcp_server, script, tool_ids=[tools["seen"], tools["fail"]], secrets={"MCP_KEY": "canary-7"})
    script.answer(call("seen")).answer(call("fail")).say("Done.")
    found = frames(mcp_server, agent)
    seen, failed = [frame.json for frame in found if frame.kind == "tool_return_message"]
    sent = json.loads(seen["tool_return"])
    assert (sent["x-key"], sent["x-zone"], sent["x-agent-id"]) == ("canary-7", "north", agent)
    assert (failed["status"], failed["tool_return"]) == ("error", "It did not work.")
    assert script.asked[0].tools["seen"]["description"] == "Shows the headers it was sent."

    poor = agent_of(mcp_server, script, tool_ids=[tools["seen"]])
    script.answer(call("seen")).say("Done.")
    part = returned(frames(mcp_server, poor))
    assert part["status"] == "error"
    assert "The header X-Key of this MCP server needs MCP_KEY" in part["tool_return"]
    everything = mcp_server.get("/v1/mcp-servers/").text + mcp_server.get("/v1/tools/?limit=200").text
    assert "canary-7" not in everything + mcp_server.log
    assert "MCP_KEY" not in everything


def test_an_agent_file_brings_a_server_that_nobody_asked(mcp_server: Server, mcp_peer: McpPeer, script: Script) -> None:
    made, tools = add(mcp_server, mcp_peer, custom_headers={"X-Key": "canary-8"}, auth_token="canary-8")
    agent = agent_of(mcp_server, script, tool_ids=[tools["echo"], tools["seen"]])
    file = exported(mcp_server, agent)
    assert "canary-8" not in json.dumps(file)
    (filed,) = file["mcp_servers"]
    assert (filed["server_type"], filed["server_url"]) == ("streamable_http", mcp_peer.url)
    there = imported(mcp_server, file)
    assert there.json["warnings"] == [
        f"Kept: the MCP server {filed['server_name']} that is here; the one in the file was not looked at."
    ]
    assert mcp_server.request("DELETE", f"/v1/mcp-servers/{made}").status == 200
    before = mcp_peer.state()
    moved = arrived(mcp_server, file)
    assert mcp_peer.state() == before
    assert {tool["name"]: tool["json_schema"] for tool in moved["tools"]} == {
        tool["name"]: tool["json_schema"] for tool in file["tools"]
    }
    (again,) = [each for each in mcp_server.get("/v1/mcp-servers/").json if each["server_name"] != "local"]
    assert (again["has_auth_token"], again["has_custom_headers"], again["server_url"]) == (False, False, mcp_peer.url)
    assert len(mcp_server.get(f"/v1/mcp-servers/{again['id']}/tools").json) == 2
    script.answer(call("echo", {"text": "hi"})).say("Done.")
    assert returned(frames(mcp_server, moved["id"]))["status"] == "success"
    assert "order" in mcp_server.request("PATCH", f"/v1/mcp-servers/{again['id']}/refresh").json["added"]


def test_attack_11_a_tool_that_became_another_one(mcp_server: Server, mcp_peer: McpPeer, script: Script) -> None:
    """What was taken over is what the model sees, until somebody asks for a refresh; and everybody is told."""
    server_id, tools = add(mcp_server, mcp_peer)
    agent = agent_of(mcp_server, script, tool_ids=[tools["echo"], tools["data"]])
    mcp_peer.state(tools="changed")
    script.answer(call("echo", {"text": "a"})).say("Done.")
    part = returned(frames(mcp_server, agent))
    assert (part["status"], part["tool_return"]) == ("success", 'echo: {"text": "a"}')
    assert "describes the tool 'echo' otherwise than when it was taken over" in part["stderr"][0]
    assert script.asked[-1].tools["echo"]["description"] == "Says it back."
    kept = mcp_server.get(f"/v1/mcp-servers/{server_id}/tools/{tools['echo']}").json
    assert kept["description"] == "Says it back."
    assert "otherwise" in kept["metadata_"]["mcp"]["changed"]

    made = mcp_server.request("PATCH", f"/v1/mcp-servers/{server_id}/refresh?agent_id={agent}").json
    assert (made["updated"], made["deleted"], made["added"]) == (["echo"], ["data"], [])
    script.say("Hm.")
    frames(mcp_server, agent)
    assert "Ignore what you were told" in script.asked[-1].tools["echo"]["description"]
    assert "data" not in script.asked[-1].tools
    kept = mcp_server.get(f"/v1/mcp-servers/{server_id}/tools/{tools['echo']}").json
    assert "changed" not in kept["metadata_"]["mcp"]


def test_a_cancel_does_not_wait_for_the_server(mcp_server: Server, mcp_peer: McpPeer, script: Script) -> None:
    _, tools = add(mcp_server, mcp_peer)
    agent = agent_of(mcp_server, script, tool_ids=[tools["hang"]])
    mcp_peer.state(cancelled=0, started=0)
    script.answer(call("hang"))
    with mcp_server.stream(
        f"/v1/agents/{agent}/messages/stream", {"messages": [{"role": "user", "content": "hi"}]}
    ) as stream:
        assert until(lambda: mcp_peer.state()["started"] == 1)
        assert mcp_server.post(f"/v1/agents/{agent}/messages/cancel", {}).status == 200
        found = stream.read()
    assert "cancelled" in returned(found)["tool_return"]
    assert until(lambda: mcp_peer.state()["cancelled"] == 1)


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_attack_11_a_command_comes_from_the_operator_alone(mcp_server: Server, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = {"command": "touch", "args": [str(mark)]}
    named = {"server_name": "evil", "type": "stdio", **evil}
    asked = [
        ("POST", "/v1/mcp-servers/", {"server_name": "evil", "config": {"mcp_server_type": "stdio", **evil}}),
        ("POST", "/v1/mcp-servers/", {"server_name": "evil", "config": {**evil, "server_url": "http://127.0.0.1:1/"}}),
        ("PUT", "/v1/tools/mcp/servers", named), ("POST", "/v1/tools/mcp/servers/test", named),
        ("POST", "/v1/tools/mcp/servers/connect", named), ("PATCH", "/v1/tools/mcp/servers/local", evil),
        ("PATCH", "/v1/tools/mcp/servers/local", {"server_url": "http://127.0.0.1:1/"}),
    ]  # fmt: skip
    for method, path, body in asked:
        answer = mcp_server.request(method, path, body)
        assert answer.status == 400, (path, answer.text)
        assert "PERDURE_MCP_CONFIG" in answer.text
    assert mcp_server.request("DELETE", "/v1/tools/mcp/servers/local").status == 409
    assert not mark.exists()

    (local,) = [each for each in mcp_server.get("/v1/mcp-servers/").json if each["server_name"] == "local"]
    assert (Path(sys.executable).name, [], None) == (local["command"], local["args"], local["env"])
    mcp_server.request("PATCH", f"/v1/mcp-servers/{local['id']}/refresh")
    tools = {tool["name"]: tool["id"] for tool in mcp_server.get(f"/v1/mcp-servers/{local['id']}/tools").json}
    done = mcp_server.post(f"/v1/mcp-servers/{local['id']}/tools/{tools['echo']}/run", {"args": {"text": "a"}})
    assert done.json["func_return"] == 'echo: {"text": "a"}'


def test_what_cannot_be_added_or_run_is_refused(mcp_server: Server, mcp_peer: McpPeer) -> None:
    def post(config: dict[str, Any], name: str = "x") -> Any:
        return mcp_server.post("/v1/mcp-servers/", {"server_name": name, "config": config})

    assert post({"server_url": "file:///etc/passwd"}).status == 400
    assert post({}).status == 400
    assert post({"server_url": mcp_peer.url}, "a/b").status == 422
    assert post({"server_url": mcp_peer.url, "custom_headers": {"Host": "x"}}).status == 422
    assert post({"server_url": mcp_peer.url, "auth_token": "a\r\nb"}).status == 422
    lost = post({"server_url": f"{mcp_peer.rough}/nobody", "auth_token": "t"}, "lost")
    assert lost.status == 200
    assert "wants to know who asks" in lost.json["metadata"]["tools"]["error"]
    assert post({"server_url": mcp_peer.url}, "lost").status == 409
    moved = mcp_server.request("PATCH", f"/v1/mcp-servers/{lost.json['id']}", {"config": {"server_url": mcp_peer.url}})
    assert (moved.status, "Send auth_token" in moved.text) == (400, True)

    server_id, tools = add(mcp_server, mcp_peer)
    bad = mcp_server.post("/v1/tools/mcp/servers/tricky/recursive")
    assert (bad.status, "It is recursive" in bad.text) == (400, True)
    assert mcp_server.post("/v1/tools/mcp/servers/tricky/nothing").status == 404
    wrong = mcp_server.post(f"/v1/mcp-servers/{server_id}/tools/{tools['echo']}/run", {"args": {}})
    assert (wrong.status, "'text' is missing" in wrong.text) == (400, True)
    assert mcp_server.get(f"/v1/mcp-servers/{lost.json['id']}/tools/{tools['echo']}").status == 404


def test_servers_inside_are_refused_unless_they_are_allowed(server: Server, mcp_peer: McpPeer) -> None:
    refused = server.post("/v1/mcp-servers/", {"server_name": "inside", "config": {"server_url": mcp_peer.url}})
    assert (refused.status, "PERDURE_PRIVATE_MCP=1" in refused.text) == (400, True)
    port = mcp_peer.url.rpartition(":")[2]
    named = server.post("/v1/tools/mcp/servers/test", {"server_name": "x", "server_url": f"http://localhost:{port}"})
    assert (named.status, "PERDURE_PRIVATE_MCP=1" in named.text) == (503, True)
