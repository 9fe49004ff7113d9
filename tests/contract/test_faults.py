"""Providers that fail, behind a live server: what is repeated does not show, what is handed on is said."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.contract.told import user
from tests.contract.turns import said_in
from tests.operation.scrape import scrape
from tests.rig.answers import Cut, call, reasoning, text
from tests.rig.http import Frame
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

LIMIT = 10.0
PASSWORD = "a password"


@pytest.fixture(scope="module")
def patient(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks again, as servers do by default."""
    data = tmp_path_factory.mktemp("patient") / "data"
    with Server(data, {**models.environment, "PERDURE_RETRY_SECONDS": "30"}) as running:
        yield running


def turn(server: Server, agent: str, what: str = "hi") -> list[Frame]:
    """A turn, streamed token by token."""
    body = {"messages": user(what), "stream_tokens": True, "include_pings": False}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return stream.read()


def test_what_is_repeated_does_not_show_and_is_counted(patient: Server, script: Script) -> None:
    def repeated(error: str) -> float:
        return scrape(patient)("model_retries_total", provider="openai", error=error)

    agent, before = patient.new_agent(model=script.handle)["id"], repeated("llm_error")
    script.refuse(503).refuse(429).say("Hello", " there.")
    frames = turn(patient, agent)
    assert [frame.kind for frame in frames] == ["assistant_message"] * 2 + ["stop_reason", "usage_statistics", "[DONE]"]
    assert said_in(frames) == "Hello there."
    assert (frames[-3].json["stop_reason"], frames[-2].json["step_count"]) == ("end_turn", 1)
    assert len(script.asked) == 3
    assert script.asked[0].body == script.asked[2].body
    assert repeated("llm_error") == before + 1
    assert repeated("llm_rate_limit") >= 1


def test_what_breaks_after_a_token_is_kept_and_not_repeated(patient: Server, script: Script) -> None:
    agent = patient.new_agent(model=script.handle)["id"]
    script.answer(text("Half a"), Cut())
    frames = turn(patient, agent)
    told = [frame.json for frame in frames if frame.data != "[DONE]"]
    assert [each["content"] for each in told if each["message_type"] == "assistant_message"] == ["Half a"]
    assert (told[-1]["message_type"], told[-1]["error_type"]) == ("error_message", "llm_error")
    assert len(script.asked) == 1


def test_a_cancel_ends_the_wait_for_a_provider(patient: Server, script: Script) -> None:
    agent = patient.new_agent(model=script.handle)["id"]
    script.refuse(429, headers=(("Retry-After", "20"),))
    with patient.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        script.wait_asked(1)
        asked = time.monotonic()
        patient.post(f"/v1/agents/{agent}/messages/cancel")
        frames = list(stream)
    assert time.monotonic() - asked < LIMIT
    assert "cancelled" in str(frames)


def test_a_shutdown_ends_the_wait_for_a_provider_and_the_next_server_asks_again(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_RETRY_SECONDS": "60", "PERDURE_DRAIN_SECONDS": "0.2"}).start()
    agent = server.new_agent(model=script.handle)["id"]
    script.refuse(429, headers=(("Retry-After", "50"),)).say("At last.")
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        script.wait_asked(1)
        server.terminate()
        run = stream.read()[0].json["run_id"]
    assert server.wait() == 0
    with server.start().stream(f"/v1/runs/{run}/stream", {}) as stream:
        assert [frame.json["content"] for frame in stream.read() if frame.kind == "assistant_message"] == ["At last."]


def test_who_answered_stands_in_the_step(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    """A fall-back of another vendor takes over a conversation with thoughts and calls in it, and hands it back."""
    broken = models.claude()
    environment = {**models.environment, **models.claude_environment, "PERDURE_FALLBACK_MODELS": script.handle}
    server = new_server(environment).start()
    agent = server.new_agent(model=broken.handle, memory_blocks=[{"label": "human", "value": "-"}])["id"]
    memory = call("memory_insert", {"label": "human", "new_string": "Likes tea."})
    broken.answer(reasoning("She likes tea."), memory).say("Noted.").refuse(500, "it is on fire").say("Back again.")
    script.say("I step", " in.")
    for expected in (["Noted."], ["I step", " in."], ["Back again."]):
        told = [frame.json["content"] for frame in turn(server, agent) if frame.kind == "assistant_message"]
        assert told == expected
    steps = server.get(f"/v1/steps/?agent_id={agent}&order=asc").json
    assert [step["model_handle"] for step in steps] == [broken.handle, broken.handle, script.handle, broken.handle]
    assert "model_fell_back" in server.log
    assert server.get(f"/v1/agents/{agent}").json["llm_config"]["handle"] == broken.handle
    broken.refuse(500, "it is on fire")
    script.refuse(503, "it is, too")
    failed = server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")})
    assert "it is on fire The fall-backs failed, too: it is, too" in failed.text
    assert broken.violations == []


def test_a_provider_left_alone_is_told_to_those_who_may_know(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    environment = {**models.environment, "PERDURE_BREAKER_FAILURES": "2", "PERDURE_PASSWORD": PASSWORD}
    server = new_server(environment).start()
    known = {"headers": {"Authorization": f"Bearer {PASSWORD}"}}
    agent = server.post("/v1/agents/", {"model": script.handle}, **known).json["id"]
    healthy = server.get("/v1/health/", **known).json
    assert set(healthy) == {"version", "status"}
    replies = []
    for _ in range(3):
        script.refuse(500, "it is on fire")
        replies.append(server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")}, **known))
    assert len(script.asked) == 2
    assert f"openai/{script.name} failed 2 times in a row" in replies[-1].text
    (paused,) = server.get("/v1/health/", **known).json["paused_providers"]
    assert (paused["provider"], paused["model"], paused["reason"]) == ("openai", script.name, "it is on fire")
    assert paused["failures"] == 2
    assert 0 <= paused["seconds"] <= 5
    assert set(server.get("/v1/health/").json) == {"version", "status"}
