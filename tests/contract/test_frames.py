"""Frames as such: S68 and S70. Any SDK can read them, their numbers have no gaps, and history says the same."""

import json
import re
from typing import Any

import pytest

from tests.contract.told import fresh_agent, told, types, user
from tests.contract.turns import ENDING, TEA, agent_of, frames, kinds, of_type, turn
from tests.rig.answers import Cut, call, parallel, reasoning, text
from tests.rig.http import Frame
from tests.rig.model import Script
from tests.rig.sdks import PY1, Client
from tests.rig.server import Server


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s68_the_stream_equals_history(py: Client, script: Script, tokens: bool) -> None:
    script.answer(reasoning("Te", "a."), text("Sav", "ing."), call("memory_insert", TEA)).say("Sav", "ed.")
    agent = fresh_agent(py, script)
    items = turn(py, agent, stream_tokens=tokens)
    assert told(items) == told(py.all("list_messages", agent_id=agent))
    assert len(told(items)) == 5


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s68_requests_for_approval_as_well(py: Client, server: Server, script: Script, tokens: bool) -> None:
    script.answer(reasoning("Te", "a."), text("Look", "ing."), call("weather", {"city": "Oslo"}))
    rules = [{"type": "requires_approval", "tool_name": "weather"}]
    agent = agent_of(server, script, tools=["weather"], tool_rules=rules)
    items = turn(py, agent, stream_tokens=tokens)
    history = py.all("list_messages", agent_id=agent)
    assert told(items) == told(history)
    asked, kept = of_type(items, "approval_request_message"), of_type(history, "approval_request_message")
    assert {(item["id"], item["otid"]) for item in asked} == {(kept[0]["id"], kept[0]["otid"])}
    arguments = "".join(item["tool_call"].get("arguments") or "" for item in asked)
    assert arguments == kept[0]["tool_call"]["arguments"]
    assert json.loads(arguments) == {"city": "Oslo"}


def assert_safe(found: list[Frame]) -> None:
    """Nothing in these frames that any of the SDKs stumbles over."""
    assert all(re.fullmatch(rb"(event: error\n)?data: [\x20-\x7e]+\n\n", frame.raw) for frame in found)
    named = [frame.kind for frame in found if frame.event is not None]
    assert named in ([], ["error_message"])
    assert [b"[DONE]" in frame.raw for frame in found] == [False] * (len(found) - 1) + [True]
    assert [frame.json["seq_id"] for frame in found[:-1]] == list(range(1, len(found)))
    assert len({frame.json["run_id"] for frame in found[:-1]}) == 1


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s70_frames_any_sdk_can_read(server: Server, script: Script, tokens: bool) -> None:
    script.answer(reasoning("Ü"), text("née\u2028", "[DONE]", "😀"), call("memory_insert", TEA)).say("ok")
    agent = agent_of(server, script)
    body = {"messages": user("hi"), "stream_tokens": tokens}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        found = stream.read()
        ended_at = stream.ended_at
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert_safe(found)
    # The contract promises 50 ms from [DONE] to the end of the body.
    assert ended_at is not None
    assert ended_at - found[-1].at < 0.5


def test_s70_only_an_error_is_named(server: Server, script: Script) -> None:
    script.answer(text("Half [DONE]"), Cut())
    found = frames(server, agent_of(server, script))
    assert_safe(found)
    assert [frame.event for frame in found[-2:]] == ["error", None]


def test_s70_each_sdk_makes_the_right_thing_of_each_frame(py: Client, server: Server, script: Script) -> None:
    cities = [call("weather", {"city": city}) for city in ("Oslo", "Rome")]
    script.answer(reasoning("Te", "a."), text("[DONE]"), parallel(*cities)).say("Sunny.")
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    agent = agent_of(server, script, tools=["weather"], model_settings=settings)
    items = turn(py, agent, stream_tokens=True)
    said = ["reasoning_message", "assistant_message", "tool_call_message", "tool_return_message", "assistant_message"]
    assert types(items) == [*said, *ENDING]
    named = {item.type: item.cls for item in items}
    assert named == {
        "ping": "LettaPing", "reasoning_message": "ReasoningMessage", "assistant_message": "AssistantMessage",
        "tool_call_message": "ToolCallMessage", "tool_return_message": "ToolReturnMessage",
        "stop_reason": "LettaStopReason", "usage_statistics": "LettaUsageStatistics",
    }  # fmt: skip
    assert py.sdk.name != PY1 or all(item.nested["tool_call"] for item in of_type(items, "tool_call_message"))


def test_numbers_are_contiguous_under_a_filter(server: Server, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Sav", "ed.")
    wanted: dict[str, Any] = {"stream_tokens": True, "include_return_message_types": ["assistant_message"]}
    found = frames(server, agent_of(server, script), **wanted)
    assert kinds(found) == ["ping", "assistant_message", "assistant_message", *ENDING, "[DONE]"]
    assert [frame.json["seq_id"] for frame in found[:-1]] == [1, 2, 3, 4, 5]
