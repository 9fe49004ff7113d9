"""Streams that go on when nobody reads, and are read again; pings tell of silence: S51 to S54, S57, S69."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.told import fresh_agent, said, told, types, user
from tests.contract.turns import ENDING, TEA, agent_of, frames, kinds, of_type, said_in, turn
from tests.rig.answers import Hold, call, reasoning, text
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import PY0, Client, Sdk, SdkError
from tests.rig.server import Server

LIMIT = 20.0


def stored(client: Client, server: Server, run_id: str, **query: Any) -> list[Any]:
    """A run's events, read again through the SDK."""
    assert server.base_url == client.url
    return client.all("stream_run", run_id=run_id, **query)


def pinging_server(models: ModelServer, new_server: Callable[..., Server]) -> Server:
    environment = {**models.environment, "PERDURE_PING_SECONDS": "0.1"}
    return new_server(environment, tools=["tests.rig.tools:wait"]).start()


def test_s51_pings_while_a_tool_is_silent(
    models: ModelServer, new_server: Callable[..., Server], script: Script, tmp_path: Path
) -> None:
    server = pinging_server(models, new_server)
    mark = tmp_path / "done"
    script.answer(call("wait", {"mark": str(mark)})).say("Waited.")
    agent = agent_of(server, script, tools=["wait"])
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        run_id = stream.until("ping").json["run_id"]
        last = stream.until("tool_call_message").json["seq_id"]
        pings = [next(iter(stream)) for _ in range(3)]
        mark.touch()
        rest = stream.read()[len(stream.frames) :]
    assert rest == []
    assert kinds(pings) == ["ping"] * 3
    assert {(ping.json["run_id"], ping.json["seq_id"]) for ping in pings} == {(run_id, last)}
    assert len({ping.json["id"] for ping in pings}) == 3
    assert [kind for kind in kinds(stream.frames) if kind != "ping"] == [
        "tool_call_message", "tool_return_message", "assistant_message", *ENDING, "[DONE]",
    ]  # fmt: skip


def test_idle_pings_repeat_the_last_number(
    models: ModelServer, new_server: Callable[..., Server], script: Script
) -> None:
    server = pinging_server(models, new_server)
    hold = Hold()
    script.answer(text("Wait"), hold, text("ed."))
    body = {"messages": user("hi"), "stream_tokens": True, "include_pings": False}
    with server.stream(f"/v1/agents/{agent_of(server, script)}/messages/stream", body) as silent:
        first = silent.until("assistant_message").json
        with server.stream(f"/v1/runs/{first['run_id']}/stream", {"starting_after": first["seq_id"]}) as stream:
            assert [stream.until("ping").json["seq_id"] for _ in range(3)] == [first["seq_id"]] * 3
            hold.release()
            assert stream.until("assistant_message").json["seq_id"] == first["seq_id"] + 1
        assert "ping" not in kinds(silent.read()), "pings belong to the reader who wants them"


def test_s52_background_streams_are_numbered(py: Client, server: Server, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Sav", "ed.")
    items = turn(py, fresh_agent(py, script), stream_tokens=True, background=True)
    numbers = [item.get("seq_id") for item in items]
    assert (items[0].type, numbers) == ("ping", list(range(1, len(items) + 1)))
    run_id = items[0]["run_id"]
    assert server.get(f"/v1/runs/{run_id}").json["background"] is True
    for after in (0, 1, 4, len(items) - 1, len(items)):
        again = stored(py, server, run_id, starting_after=after)
        assert [item.fields for item in again] == [item.fields for item in items[after:]]


def test_s53_a_background_client_that_leaves(py: Client, server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Half"), hold, text(" of it."))
    agent = fresh_agent(py, script)
    body = {"messages": user("hi"), "stream_tokens": True, "background": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        last = stream.until("assistant_message").json
    run_id = last["run_id"]
    hold.release()
    items = stored(py, server, run_id)
    assert types(items) == ["assistant_message", *ENDING]
    assert [item["seq_id"] for item in items] == list(range(1, 6))
    assert said(items) == "Half of it."
    rest = stored(py, server, run_id, starting_after=last["seq_id"])
    assert [item.json["seq_id"] for item in stream.frames] + [item["seq_id"] for item in rest] == list(range(1, 6))
    assert (said_in(stream.frames), said(rest)) == ("Half", " of it.")
    with server.stream(f"/v1/runs/{run_id}/stream", {}) as again:
        assert kinds(again.read())[-1] == "[DONE]"
    assert server.get(f"/v1/runs/{run_id}").json["status"] == "completed"
    assert told(items) == told(of_type(py.all("list_messages", agent_id=agent), "assistant_message"))


def test_s54_a_foreground_run_is_followed_like_any_other(py: Client, server: Server, script: Script) -> None:
    script.say("Hel", "lo")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    assert [item.fields for item in stored(py, server, items[0]["run_id"])] == [item.fields for item in items]


def test_s54_an_unknown_run(py: Client) -> None:
    with pytest.raises(SdkError) as raised:
        py.all("stream_run", run_id="run-00000000-0000-4000-8000-000000000000")
    assert raised.value.status == 404


def test_s54_a_run_whose_events_are_kept_no_more(
    models: ModelServer, new_server: Callable[..., Server], sdks: Callable[[str], Sdk], script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_RETENTION_HOURS": "0"}).start()
    script.say("Hello")
    agent = agent_of(server, script)
    run_id = frames(server, agent)[0].json["run_id"]
    server.restart()
    deadline = time.monotonic() + LIMIT
    while (reply := server.post(f"/v1/runs/{run_id}/stream")).status != 410:
        assert (reply.status, time.monotonic() < deadline) == (200, True)
        time.sleep(0.05)
    assert reply.json["detail"].startswith("EXPIRED: ")
    with pytest.raises(SdkError) as raised:
        sdks(PY0).at(server.base_url).all("stream_run", run_id=run_id)
    assert raised.value.status == 410
    assert server.get(f"/v1/runs/{run_id}/messages").json[-1]["content"] == "Hello"


def test_s57_a_client_that_leaves(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("The whole"), hold, text(" answer."))
    agent = agent_of(server, script)
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        run_id = stream.until("ping").json["run_id"]
        stream.until("assistant_message")
    hold.release()
    with server.stream(f"/v1/runs/{run_id}/stream", {}) as again:
        assert said_in(again.read()) == "The whole answer."
    assert server.get(f"/v1/runs/{run_id}").json["status"] == "completed"
    assert server.get(f"/v1/agents/{agent}/messages").json[-1]["content"] == "The whole answer."


def test_s69_the_run_has_ended_when_done_arrives(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    for _ in range(20):
        script.say("Hello")
        with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
            run_id = stream.until("ping").json["run_id"]
            stream.until("[DONE]")
            run = server.get(f"/v1/runs/{run_id}").json
        assert (run["status"], run["stop_reason"]) == ("completed", "end_turn")


def test_a_run_reads_the_same_again(new_server: Callable[..., Server], script: Script) -> None:
    script.answer(reasoning("Tea."), text("Sav", "ing."), call("memory_insert", TEA)).say("Sav", "ed.")
    server = new_server().start()
    found = frames(server, agent_of(server, script), stream_tokens=True)
    run_id = found[0].json["run_id"]
    server.restart()
    for after in (0, 3, len(found) - 1):
        with server.stream(f"/v1/runs/{run_id}/stream", {"starting_after": after}) as again:
            assert [frame.raw for frame in again.read()] == [frame.raw for frame in found[after:]]
    path = f"/v1/runs/{run_id}/stream?starting_after=3&include_pings=false"
    with server.stream(path, method="GET") as again:
        assert [frame.raw for frame in again.read()] == [frame.raw for frame in found[3:]]
