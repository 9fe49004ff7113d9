"""Providers that fail, behind a live server: what is repeated does not show, what is handed on is said."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.told import said, user
from tests.rig.answers import Cut, text
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import Client, Sdk
from tests.rig.server import Server

LIMIT = 10.0
PASSWORD = "a password"


@pytest.fixture(scope="module")
def patient(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks again, as servers do by default."""
    data = tmp_path_factory.mktemp("patient") / "data"
    with Server(data, {**models.environment, "PERDURE_RETRY_SECONDS": "30"}) as running:
        yield running


@pytest.fixture
def patient_client(sdk: Sdk, patient: Server) -> Client:
    """Each of the four official SDKs in turn."""
    return sdk.at(patient.base_url)


def kinds(items: list[Any]) -> list[str]:
    return [item.type for item in items if item.type != "ping"]


def test_what_is_repeated_does_not_show(patient_client: Client, script: Script) -> None:
    agent = patient_client.one("create_agent", model=script.handle, memory_blocks=[])["id"]
    script.refuse(503).refuse(429).say("Hello", " there.")
    got = patient_client.all("stream", agent_id=agent, messages=user("hi"), stream_tokens=True)
    assert said(got) == "Hello there."
    assert kinds(got)[-2:] == ["stop_reason", "usage_statistics"]
    assert got[-2]["stop_reason"] == "end_turn"
    assert len(script.asked) == 3
    assert script.asked[0].body == script.asked[2].body


def test_what_breaks_after_a_token_is_kept_and_not_repeated(patient: Server, script: Script) -> None:
    agent = patient.new_agent(model=script.handle)["id"]
    script.answer(text("Half a"), Cut())
    sent = {"messages": user("hi"), "stream_tokens": True, "include_pings": False}
    with patient.stream(f"/v1/agents/{agent}/messages/stream", sent) as stream:
        frames = stream.read()
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


def test_who_answered_stands_in_the_step(
    new_server: Callable[..., Server], models: ModelServer, new_script: Any
) -> None:
    broken, spare = new_script(), new_script()
    server = new_server({**models.environment, "PERDURE_FALLBACK_MODELS": spare.handle}).start()
    agent = server.new_agent(model=broken.handle)["id"]
    broken.refuse(500, "it is on fire").say("Back again.")
    spare.say("I step in.")
    reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")}).json
    assert [each["content"] for each in reply["messages"]] == ["I step in."]
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")})
    steps = server.get(f"/v1/steps/?agent_id={agent}&order=asc").json
    assert [(step["model_handle"], step["model"]) for step in steps] == [
        (spare.handle, spare.name),
        (broken.handle, broken.name),
    ]
    assert "model_fell_back" in server.log
    assert "it is on fire" in server.log
    assert server.get(f"/v1/agents/{agent}").json["llm_config"]["handle"] == broken.handle


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
