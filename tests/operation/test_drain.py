"""SIGTERM: no new runs, those under way end in order, readers get proper endings, and the next server goes on."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.contract.told import user
from tests.operation.waiting import soon
from tests.rig.answers import Hold, call, text
from tests.rig.http import EventStream, Frame, Reply
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics", "error_message", "[DONE]"]


def started(new_server: Callable[..., Server], models: ModelServer, drain: float, **options: Any) -> Server:
    environment = {**models.environment, "PERDURE_DRAIN_SECONDS": str(drain), "PERDURE_LOG": "json"}
    return new_server(environment, **options).start()


def stream(server: Server, agent: str, said: str = "Hi") -> EventStream:
    return server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user(said), "stream_tokens": True})


def ready(server: Server) -> Reply:
    return server.get("/v1/health/ready")


def ending(frames: list[Frame]) -> list[str]:
    return [frame.kind for frame in frames[-4:]]


def assert_whole(frames: list[Frame]) -> None:
    """Numbered without a gap, and ended once."""
    numbered = [frame.json["seq_id"] for frame in frames if frame.kind not in ("ping", "[DONE]")]
    assert numbered == sorted(numbered)
    assert [frame.kind for frame in frames].count("stop_reason") == 1
    assert frames[-1].kind == "[DONE]"


def test_while_it_drains_it_answers_takes_no_runs_and_lets_those_under_way_finish(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server, hold = started(new_server, models, 30), Hold()
    agent, other = (server.new_agent(model=script.handle)["id"] for _ in range(2))
    assert ready(server).json["status"] == "ready"
    script.answer(text("One"), hold, text(" two"))
    with stream(server, agent) as reader:
        reader.until("assistant_message")
        server.terminate()
        waiting = soon(lambda: reply if (reply := ready(server)).status == 503 else None)
        assert waiting.json["status"] == "draining"
        assert waiting.headers["retry-after"]
        assert server.get("/v1/health/").json["status"] == "ok"
        assert server.get(f"/v1/agents/{agent}").status == 200
        refused = server.post(f"/v1/agents/{other}/messages", {"messages": user("New")})
        assert refused.status == 503
        assert refused.headers["retry-after"] == "5"
        assert refused.headers["x-should-retry"] == "false"
        assert "stopping" in refused.json["detail"]
        with server.stream(f"/v1/runs/{reader.frames[0].json['run_id']}/stream", {}) as late:
            hold.release()
            for frames in (reader.read(), late.read()):
                assert_whole(frames)
                said = "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message")
                assert said == "One two"
                stopped = next(frame.json for frame in frames if frame.kind == "stop_reason")
                assert stopped["stop_reason"] == "end_turn"
    assert server.wait() == 0
    assert server.start().get(f"/v1/agents/{other}/messages").json[-1]["message_type"] == "system_message"


def test_what_does_not_finish_in_time_ends_as_interrupted_and_keeps_what_it_said(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = started(new_server, models, 0.2)
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(text("Half of"), Hold())
    with stream(server, agent) as reader:
        reader.until("assistant_message")
        server.terminate()
        frames = reader.read()
    assert server.wait() == 0
    assert_whole(frames)
    assert ending(frames) == ENDING
    assert frames[-2].json["error_type"] == "run_interrupted"
    server.start()
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert history[-1]["content"] == "Half of"
    with server.stream(f"/v1/runs/{frames[0].json['run_id']}/stream", {}) as again:
        assert [frame.raw for frame in again.read()] == [frame.raw for frame in frames]


def test_a_run_whose_model_has_said_nothing_yet_is_handed_over(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = started(new_server, models, 0.2)
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(Hold(), text("Never heard"))
    with stream(server, agent) as reader:
        soon(lambda: script.asked)
        server.terminate()
        frames = reader.read()
    assert server.wait() == 0
    assert ending(frames) == ENDING
    assert frames[-2].json["error_type"] == "run_handed_over"
    script.say("Here I am")
    server.start()
    with server.stream(f"/v1/runs/{frames[0].json['run_id']}/stream", {}) as again:
        assert_whole(rest := again.read())
    assert "".join(frame.json["content"] for frame in rest if frame.kind == "assistant_message") == "Here I am"
    said = [item["content"] for item in server.get(f"/v1/agents/{agent}/messages").json if "content" in item]
    assert said[1:] == ["Hi", "Here I am"]


def test_a_second_signal_waits_no_longer(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = started(new_server, models, 60)
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(text("Half"), Hold())
    with stream(server, agent) as reader:
        reader.until("assistant_message")
        server.terminate()
        soon(lambda: ready(server).status == 503)
        began = time.monotonic()
        os.kill(server.pid, signal.SIGINT)
        assert ending(reader.read()) == ENDING
    assert server.wait() == 0
    assert time.monotonic() - began < 10


def test_a_run_that_waits_its_turn_is_handed_over(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server, hold = started(new_server, models, 30), Hold()
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(text("One"), hold)
    with ThreadPoolExecutor() as pool, stream(server, agent, "1") as first:
        first.until("assistant_message")
        with stream(server, agent, "2") as second:
            run = second.until("ping").json["run_id"]
            waiter = pool.submit(server.post, f"/v1/agents/{agent}/messages", {"messages": user("3")})
            soon(lambda: len(server.get("/v1/runs/active").json) == 3)
            server.terminate()
            soon(lambda: ready(server).status == 503)
            hold.release()
            assert first.read()[-1].kind == "[DONE]"
            frames = second.read()
        told = waiter.result(30)
    assert server.wait() == 0
    assert ending(frames) == ENDING
    assert frames[-2].json["error_type"] == "run_handed_over"
    assert {frame.json["seq_id"] for frame in frames[:-1]} == {1}
    assert told.status == 503
    assert told.headers["x-should-retry"] == "false"
    assert "run-" in told.json["detail"]
    script.say("Two").say("Three")
    server.start()
    with server.stream(f"/v1/runs/{run}/stream", {"starting_after": 1}) as again:
        rest = again.read()
    assert rest[-3].json["stop_reason"] == "end_turn"
    assert rest[0].json["seq_id"] == 2
    soon(lambda: not server.get("/v1/runs/active").json)
    said = [item["content"] for item in server.get(f"/v1/agents/{agent}/messages").json if "content" in item]
    assert said[1:] == ["1", "One", "2", "Two", "3", "Three"]


def test_a_tool_that_hangs_does_not_keep_it(
    new_server: Callable[..., Server], models: ModelServer, script: Script, tmp_path: Path
) -> None:
    server = started(new_server, models, 0.2, tools=["tests.rig.tools:hang"])
    agent, mark = server.new_agent(model=script.handle, tools=["hang"])["id"], tmp_path / "began"
    script.answer(call("hang", {"mark": str(mark)}))
    with stream(server, agent) as reader:
        soon(mark.exists)
        server.terminate()
        frames = reader.read()
    assert server.wait() == 0
    assert "tool_return_message" in [frame.kind for frame in frames]
    assert ending(frames) == ENDING
    script.say("Back.")
    assert server.start().post(f"/v1/agents/{agent}/messages", {"messages": user("Again")}).status == 200


def test_with_nothing_under_way_it_ends_at_once(new_server: Callable[..., Server], models: ModelServer) -> None:
    server = started(new_server, models, 60)
    assert server.get("/v1/agents/").status == 200
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 5
