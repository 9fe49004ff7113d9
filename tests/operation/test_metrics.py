"""What `/metrics` counts, who may read it, and that it stays small."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.told import user
from tests.operation.scrape import scrape
from tests.rig import http, postgres
from tests.rig.answers import Hold, call, text
from tests.rig.model import ModelServer, Script
from tests.rig.server import ROOT, Server

BEARER = {"Authorization": "Bearer hush"}
TOOLS = ["tests.rig.tools:weather", "tests.rig.tools:fail", "tests.rig.tools:hang"]


def send(server: Server, agent: str, **options: object) -> http.Reply:
    return server.post(f"/v1/agents/{agent}/messages", {"messages": user("Hello."), **options})


def test_runs_steps_tokens_and_tools_are_counted(new_server: Callable[..., Server], script: Script) -> None:
    server = new_server(tools=TOOLS).start()
    agent = server.new_agent(model=script.handle, tools=["weather", "fail", "memory_insert"])["id"]
    memory = call("memory_insert", {"label": "nowhere", "new_string": "x"})
    script.answer(text("Let me see."), call("weather", {"city": "Oslo"})).answer(call("fail", {"reason": "no"}))
    script.answer(memory).answer(call("launch")).say("Done.")
    assert send(server, agent).status == 200
    script.refuse(400)
    assert send(server, agent).status == 400
    seen = scrape(server)
    assert seen("runs_total", status="completed", stop_reason="end_turn") == 1
    assert seen("runs_total", status="failed", stop_reason="llm_api_error") == 1
    assert seen("run_seconds_count", status="completed") == 1
    assert seen("time_to_first_token_seconds_count") == 1
    assert seen("steps_total", status="success") == 5
    assert seen("steps_total", status="failed") == 1
    assert seen("model_calls_total", provider="openai", outcome="success") == 5
    assert seen("model_calls_total", provider="openai", outcome="llm_bad_request") == 1
    assert seen("tokens_total", provider="openai", kind="input") == 500
    assert seen("tokens_total", provider="openai", kind="output") == 50
    assert seen("tool_calls_total", outcome="success") == 1
    assert seen("tool_calls_total", outcome="error") == 2
    assert seen("tool_calls_total", outcome="refused") == 1
    assert seen("tool_call_seconds_count") == 3
    assert seen("log_commit_seconds_count") > 5
    assert seen("database_unit_seconds_count", kind="write") > 5
    assert seen("requests_total", method="POST", status="400") == 1
    assert seen.samples[("process_open_fds", frozenset())] > 5


def test_what_is_open_now_is_shown(new_server: Callable[..., Server], script: Script) -> None:
    server, hold = new_server().start(), Hold()
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(text("One"), hold).say("Two")
    path, body = f"/v1/agents/{agent}/messages/stream", {"messages": user("Hi"), "stream_tokens": True}
    with server.stream(path, body) as one, server.stream(path, body) as two:
        one.until("assistant_message")
        two.until("ping")
        seen = scrape(server)
        assert (seen("runs_live", state="working"), seen("runs_live", state="waiting")) == (1, 1)
        assert seen("readers") == 2
        assert seen("requests_open") == 3
        hold.release()
        sent = sum(len(frame.raw) for stream in (one, two) for frame in stream.read())
    seen = scrape(server)
    assert (seen("runs_live", state="working"), seen("readers"), seen("requests_open")) == (0, 0, 1)
    assert seen("stream_bytes_total") == sent


def test_a_tool_that_takes_too_long_is_counted_as_that(
    new_server: Callable[..., Server], models: ModelServer, script: Script, tmp_path: Path
) -> None:
    server = new_server({**models.environment, "PERDURE_TOOL_SECONDS": "0.1"}, tools=TOOLS).start()
    agent = server.new_agent(model=script.handle, tools=["hang"])["id"]
    script.answer(call("hang", {"mark": str(tmp_path / "began")})).say("It hangs.")
    assert send(server, agent).status == 200
    assert scrape(server)("tool_calls_total", outcome="timeout") == 1


BETWEEN: str = """
CREATE SEQUENCE tries;
CREATE FUNCTION come_between() RETURNS trigger AS $$ BEGIN
  IF NEW.role = 'tool' AND nextval('tries') <= 2 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF;
  RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER between BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION come_between();
"""
"""Another transaction is in the way twice of whatever keeps the returns of tools."""


@pytest.mark.stores("postgresql")
def test_a_call_whose_transaction_is_repeated_is_counted_once(
    new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server().start()
    agent = server.new_agent(model=script.handle, memory_blocks=[{"label": "human", "value": "-"}])["id"]
    postgres.execute(server.environment["PERDURE_DATABASE_URL"], BETWEEN)
    script.answer(call("memory_insert", {"label": "human", "new_string": "tea"})).say("Done.")
    assert send(server, agent).status == 200
    (block,) = server.get(f"/v1/agents/{agent}").json["blocks"]
    assert block["value"] == "-\ntea"
    assert scrape(server)("tool_calls_total", outcome="success") == 1


def test_no_label_holds_an_id_a_tool_or_a_model(new_server: Callable[..., Server], script: Script) -> None:
    server = new_server(tools=TOOLS).start()
    for _ in range(3):
        agent = server.new_agent(model=script.handle, tools=["weather"])["id"]
        script.answer(call("weather", {"city": "Oslo"})).say("Done.")
        assert send(server, agent).status == 200
    before = scrape(server)
    agent = server.new_agent(model=script.handle, tools=["weather"])["id"]
    script.answer(call("weather", {"city": "Oslo"})).say("Done.")
    send(server, agent)
    http.request("SPELL", f"{server.base_url}/v1/agents/")
    seen = scrape(server)
    assert not [label for label in seen.labels if "-" in label or label in (script.name, "weather")]
    assert {name for name, _ in seen.samples} == {name for name, _ in before.samples}


def test_metrics_ask_for_what_the_api_asks_for(new_server: Callable[..., Server]) -> None:
    private = new_server({"PERDURE_PASSWORD": "hush"}).start()
    assert private.get("/metrics").status == 401
    assert private.get("/metrics", headers=BEARER).status == 200
    unprotected = new_server({}).start()
    assert unprotected.get("/metrics").status == 200
    assert unprotected.get("/metrics", headers={"Host": "evil.example"}).status == 421


def test_an_operator_may_open_metrics_or_do_without(new_server: Callable[..., Server]) -> None:
    opened = new_server({"PERDURE_PASSWORD": "hush", "PERDURE_METRICS": "open"}).start()
    assert opened.get("/metrics").status == 200
    assert opened.get("/v1/agents/").status == 401
    assert new_server({"PERDURE_METRICS": "off"}).start().get("/metrics").status == 404


def test_openmetrics_is_spoken_where_it_is_wanted(server: Server) -> None:
    reply = server.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")


def test_a_start_does_not_wait_for_what_counts() -> None:
    code = (
        "import sys, perdure.serving; print({'prometheus_client', 'opentelemetry.sdk', 'structlog'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
