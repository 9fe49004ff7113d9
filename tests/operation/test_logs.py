"""What the log says of a run: whose every line is, how it ended, and nothing of what was said."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.commands import clean_environment
from tests.contract.told import user
from tests.operation.scrape import Scrape
from tests.operation.waiting import soon
from tests.rig import http
from tests.rig.answers import call, text
from tests.rig.model import ModelServer, Script
from tests.rig.process import Process
from tests.rig.server import Server

CANARY = "canary-7f3a"
"""What must stand in no log, wherever it was said."""
TOOLS = ["tests.rig.tools:weather", "tests.rig.tools:fail"]


def lines(server: Server, event: str | None = None) -> list[dict[str, Any]]:
    """What a server has logged as JSON; of one event if given."""
    found = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [line for line in found if event in (None, line["event"])]


def test_a_run_says_how_it_ended_and_every_line_of_it_says_whose_it_is(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    log = {"PERDURE_LOG": "json", "PERDURE_LOG_LEVEL": "debug"}
    server = new_server({**models.environment, **log}, tools=TOOLS).start()
    agent = server.new_agent(model=script.handle, tools=["fail"])["id"]
    script.answer(call("fail", {"reason": "no"})).say("It failed.")
    reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user("Hello.")})
    run = reply.json["messages"][0]["run_id"]
    (ended,) = lines(server, "run ended")
    assert ended["level"] == "info"
    assert (ended["stop_reason"], ended["steps"]) == ("end_turn", 2)
    assert (ended["prompt_tokens"], ended["completion_tokens"]) == (200, 20)
    assert 0 < ended["first_token_seconds"] <= ended["seconds"] < 30
    for event in ("run began", "tool_failed", "run ended"):
        (line,) = lines(server, event)
        assert (line["run_id"], line["agent_id"]) == (run, agent)
        assert line["tenant"].startswith("org-")


def test_a_run_that_fails_is_a_warning_with_the_type_of_its_error(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_LOG": "json"}).start()
    agent = server.new_agent(model=script.handle)["id"]
    script.refuse(400)
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("Hello.")})
    (ended,) = lines(server, "run ended")
    assert (ended["level"], ended["stop_reason"]) == ("warning", "llm_api_error")
    assert ended["error_type"] == "llm_bad_request"
    assert lines(server, "run began") == []


def test_lines_of_a_run_that_waited_are_its_own(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_LOG": "json", "PERDURE_LOG_LEVEL": "debug"}).start()
    agent = server.new_agent(model=script.handle)["id"]
    script.say("One.").say("Two.").say("Three.")
    path = f"/v1/agents/{agent}/messages/async"
    runs = [server.post(path, {"messages": user(f"{number}")}).json["id"] for number in range(3)]
    soon(lambda: len(lines(server, "run ended")) == 3)
    assert [line["run_id"] for line in lines(server, "run began")] == runs
    assert [line["run_id"] for line in lines(server, "run ended")] == runs


def test_nothing_that_was_said_and_no_key_is_logged(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    secret = {"PERDURE_PASSWORD": f"{CANARY}-password", "OPENAI_API_KEY": f"{CANARY}-key"}
    log = {"PERDURE_LOG": "json", "PERDURE_LOG_LEVEL": "debug", "PERDURE_ACCESS_LOG": "1"}
    server = new_server({**models.environment, **secret, **log}, tools=TOOLS).start()
    headers = {"Authorization": f"Bearer {CANARY}-password"}
    block = {"label": "human", "value": CANARY}
    made = server.post(
        "/v1/agents/",
        {
            "name": "a",
            "model": script.handle,
            "memory_blocks": [block],
            "tools": ["weather", "fail"],
            "secrets": {"K": CANARY},
        },
        headers=headers,
    )
    agent = made.json["id"]
    script.answer(text(CANARY), call("weather", {"city": CANARY})).answer(text(CANARY), call("weather", CANARY))
    script.answer(call("fail", {"reason": CANARY})).answer(call(CANARY, {"reason": CANARY}))
    script.refuse(500, CANARY)
    body = {"messages": user(CANARY)}
    assert server.post(f"/v1/agents/{agent}/messages", body, headers=headers).status >= 400
    server.post(f"/v1/agents/{agent}/messages", {"messages": CANARY}, headers=headers)
    server.get(f"/v1/agents/{agent}/messages?before={CANARY}", headers=headers)
    server.get("/v1/agents/", headers={"Authorization": f"Bearer {CANARY}"})
    server.stop()
    assert len(lines(server)) > 8
    assert lines(server, "tool_failed")[0]["error"] == "ValueError"
    assert CANARY not in server.log


def test_the_access_log_has_a_line_for_every_request(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_LOG": "json", "PERDURE_ACCESS_LOG": "1"}).start()
    agent = server.new_agent(model=script.handle)["id"]
    script.say("Hi.")
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("Hello.")}) as stream:
        stream.read()
    server.get("/nowhere?query=private")
    seen = soon(lambda: found if len(found := lines(server, "request")) == 3 else [])
    assert [(line["method"], line["path"], line["status"]) for line in seen] == [
        ("POST", "/v1/agents/", 200),
        ("POST", f"/v1/agents/{agent}/messages/stream", 200),
        ("GET", "/nowhere", 404),
    ]
    assert all(line["client"] == "127.0.0.1" and line["seconds"] > 0 for line in seen)
    assert "private" not in server.log


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    command = f"{sys.executable} -m perdure serve --port 0 --data {tmp_path}/data 2>/dev/full"
    environment = clean_environment(PERDURE_ACCESS_LOG="1")
    server = Process(["bash", "-c", f"exec {command}"], tmp_path / "log", environment)
    try:
        url = server.line_with("Perdure listens on ").split()[-1]
        for _ in range(3):
            assert http.request("GET", f"{url}/v1/agents/").status == 200
        lost = Scrape(http.request("GET", f"{url}/metrics").text)("log_lines_lost_total")
        assert lost >= 3
        assert server.stop() == 0
    finally:
        server.end()


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "perdure", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    environment = clean_environment(PERDURE_ACCESS_LOG="1")
    server = subprocess.Popen([*command, "--ready-file", str(ready)], env=environment, stderr=writer)
    try:
        os.close(writer)
        url = json.loads(soon(lambda: ready.exists() and ready.read_text()))["url"]
        for _ in range(1000):
            assert http.request("GET", f"{url}/v1/health/").status == 200
        assert Scrape(http.request("GET", f"{url}/metrics").text)("log_lines_lost_total") > 10
        # Whoever reads again gets whole lines again.
        assert len(os.read(reader, 1 << 20)) > 10_000
        http.request("GET", f"{url}/v1/health/marker")
        assert b"/v1/health/marker" in os.read(reader, 1 << 20).splitlines()[-1]
    finally:
        server.kill()
        server.wait()
        os.close(reader)
