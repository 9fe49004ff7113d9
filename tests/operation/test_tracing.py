"""Spans as a collector gets them: what hangs under what, by which names, and nothing of what was said."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.told import user
from tests.rig.answers import call
from tests.rig.collector import Collector, Span, extra
from tests.rig.model import ModelServer, Script
from tests.rig.server import ROOT, Server

TOOLS = ["tests.rig.tools:weather", "tests.rig.tools:fail"]
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAID, TOLD, NOTED = "I like tea.", "Sunny, I think.", "Likes tea."


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def traced(new_server: Callable[..., Server], models: ModelServer) -> Callable[..., Server]:
    """Makes servers that have the extra and send their spans to a collector."""

    def new(collector: Collector, **environment: str) -> Server:
        environment = {
            **models.environment, "PYTHONPATH": f"{ROOT}:{extra('otel')}", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50", **environment,
        }  # fmt: skip
        return new_server(environment, tools=TOOLS).start()

    return new


def one(spans: list[Span]) -> Span:
    (span,) = spans
    return span


def a_turn(server: Server, script: Script) -> tuple[str, str]:
    """A turn with tools of both kinds in it; the ids of its agent and run."""
    block = {"label": "human", "value": "Ada"}
    agent = server.new_agent(name="Bea", model=script.handle, memory_blocks=[block], tools=["weather", "memory_insert"])
    memory = call("memory_insert", {"label": "human", "new_string": NOTED})
    script.answer(call("weather", {"city": "Oslo"}, id="call-a")).answer(memory).say(TOLD)
    body = {"messages": user(SAID), "stream_tokens": True}
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    with server.stream(f"/v1/agents/{agent['id']}/messages/stream", body, headers=headers) as stream:
        run = stream.read()[0].json["run_id"]
    server.stop()
    return agent["id"], run


def test_a_request_a_run_its_steps_and_what_they_call(
    traced: Callable[..., Server], collector: Collector, script: Script
) -> None:
    agent, run = a_turn(traced(collector), script)
    mine = [span for span in collector.spans if span.trace_id == TRACE]
    request = one([span for span in mine if span.parent_id == CALLER])
    assert request.name == "POST /v1/agents/{agent_id}/messages/stream"
    assert request.attributes["http.route"] == "/v1/agents/{agent_id}/messages/stream"
    assert request.attributes["http.response.status_code"] == 200
    invoked = one([span for span in mine if span.parent_id == request.span_id])
    assert invoked.name == "invoke_agent Bea"
    assert invoked.attributes["gen_ai.agent.id"] == agent
    assert invoked.attributes["perdure.run.id"] == run
    assert invoked.attributes["perdure.stop_reason"] == "end_turn"
    assert invoked.attributes["gen_ai.usage.input_tokens"] == 300
    steps = [span for span in mine if span.parent_id == invoked.span_id]
    assert [span.name for span in steps] == ["step"] * 3
    under = {span.span_id: [below.name for below in mine if below.parent_id == span.span_id] for span in steps}
    chat = f"chat {script.name}"
    assert list(under.values()) == [[chat, "execute_tool weather"], [chat, "execute_tool memory_insert"], [chat]]
    assert len(mine) == 1 + 1 + 3 + 3 + 2
    assert not [span for span in mine if span.failed]
    assert collector.resource["service.name"] == "perdure"


def test_names_and_attributes_are_those_of_the_conventions(
    traced: Callable[..., Server], collector: Collector, script: Script
) -> None:
    a_turn(traced(collector), script)
    first, _, last = collector.named("chat ")
    assert first.kind == 3
    assert (
        first.attributes.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": script.name,
            "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 10,
            "server.address": "127.0.0.1",
        }.items()
    )
    assert first.attributes["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert last.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert 0 < first.attributes["gen_ai.response.time_to_first_chunk"] < 30
    tool = one(collector.named("execute_tool weather"))
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.call.id": "call-a",
        "gen_ai.tool.type": "function",
    }


def test_what_was_said_is_not_in_spans(traced: Callable[..., Server], collector: Collector, script: Script) -> None:
    a_turn(traced(collector), script)
    assert len(collector.spans) > 8
    for secret in (SAID, TOLD, NOTED, "Oslo", "sunny"):
        assert not [span.name for span in collector.spans if secret.encode() in span.raw]


def test_what_was_said_is_there_where_it_is_asked_for(
    traced: Callable[..., Server], collector: Collector, script: Script
) -> None:
    a_turn(traced(collector, PERDURE_OTEL_CONTENT="1"), script)
    first, _, last = collector.named("chat ")
    assert [message["role"] for message in asked(last)] == ["user", "assistant", "tool", "assistant", "tool"]
    assert asked(first)[0]["parts"] == [{"type": "text", "content": SAID}]
    assert asked(last)[2]["parts"][0] == {
        "type": "tool_call_response", "id": "call-a", "response": "It is sunny in Oslo.",
    }  # fmt: skip
    (answer,) = json.loads(last.attributes["gen_ai.output.messages"])
    assert answer == {"role": "assistant", "parts": [{"type": "text", "content": TOLD}]}
    assert "Ada" in last.attributes["gen_ai.system_instructions"]
    tool = one(collector.named("execute_tool weather")).attributes
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"city": "Oslo"}
    assert tool["gen_ai.tool.call.result"] == "It is sunny in Oslo."


def asked(span: Span) -> Any:
    return json.loads(span.attributes["gen_ai.input.messages"])


def test_failures_are_errors_with_their_type(
    traced: Callable[..., Server], collector: Collector, script: Script
) -> None:
    server = traced(collector)
    agent = server.new_agent(model=script.handle, tools=["fail"])["id"]
    script.answer(call("fail", {"reason": "no"})).refuse(400)
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("Hi.")})
    server.stop()
    failed = {span.name.split()[0]: span.attributes["error.type"] for span in collector.spans if span.failed}
    assert failed == {
        "execute_tool": "error", "chat": "llm_bad_request", "step": "failed", "invoke_agent": "llm_bad_request"
    }  # fmt: skip


def test_a_run_that_waited_belongs_to_its_own_request(
    traced: Callable[..., Server], collector: Collector, script: Script
) -> None:
    server = traced(collector)
    agent = server.new_agent(model=script.handle)["id"]
    script.say("One.").say("Two.")
    path = f"/v1/agents/{agent}/messages/async"
    first = server.post(path, {"messages": user("1")}).json["id"]
    second = server.post(path, {"messages": user("2")}, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"}).json["id"]
    with server.stream(f"/v1/runs/{second}/stream", {}) as stream:
        stream.read()
    server.stop()
    traces = {span.attributes["perdure.run.id"]: span.trace_id for span in collector.named("invoke_agent")}
    assert traces.keys() == {first, second}
    assert traces[second] == TRACE != traces[first]
    assert len([span for span in collector.named("chat ") if span.trace_id == TRACE]) == 1


def test_without_the_extra_the_server_says_so_and_serves(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server({**models.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}).start()
    assert "install perdure[otel]" in server.log
    agent = server.new_agent(model=script.handle)["id"]
    script.say("Hi.")
    assert server.post(f"/v1/agents/{agent}/messages", {"messages": user("Hi.")}).status == 200


def test_a_collector_that_hangs_keeps_nobody(traced: Callable[..., Server], script: Script, tmp_path: Path) -> None:
    with Collector(hang=True) as hanging:
        server = traced(hanging)
        agent = server.new_agent(model=script.handle)["id"]
        for _ in range(3):
            script.say("Hi.")
            assert server.post(f"/v1/agents/{agent}/messages", {"messages": user("Hi.")}).status == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
