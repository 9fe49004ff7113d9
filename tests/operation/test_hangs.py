"""Providers and tools that hang: the run ends with a word for it, and the next one works."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.told import user
from tests.operation.scrape import scrape
from tests.rig.answers import Hold, Piece, Raw, call, text
from tests.rig.http import Frame
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

QUICK = {"LETTA_LLM_REQUEST_TIMEOUT_SECONDS": "0.5", "LETTA_LLM_STREAM_TIMEOUT_SECONDS": "0.5"}
HANGS: dict[str, tuple[Piece, ...]] = {
    "before headers": (Hold(),),
    "after headers": (Raw(b": wait\n\n"), Hold()),
    "in the middle": (text("Half"), Hold()),
}


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of somebody who accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def turn(server: Server, agent: str) -> list[Frame]:
    body = {"messages": user("Hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return stream.read()


def error_of(frames: list[Frame]) -> dict[str, Any]:
    assert [frame.kind for frame in frames[-4:]] == ["stop_reason", "usage_statistics", "error_message", "[DONE]"]
    return frames[-2].json


@pytest.mark.parametrize("place", HANGS)
def test_a_provider_that_falls_silent(
    new_server: Callable[..., Server], models: ModelServer, script: Script, place: str
) -> None:
    server = new_server({**models.environment, **QUICK}).start()
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(*HANGS[place])
    frames = turn(server, agent)
    assert error_of(frames)["error_type"] == "llm_timeout"
    script.say("Back.")
    assert turn(server, agent)[-3].json["stop_reason"] == "end_turn"
    assert scrape(server)("model_calls_total", provider="openai", outcome="llm_timeout") == 1


def test_a_provider_that_accepts_and_says_nothing(
    new_server: Callable[..., Server], models: ModelServer, script: Script, mute: str
) -> None:
    environment = {**QUICK, "PERDURE_PROVIDER_MUTE_BASE_URL": mute, "PERDURE_PROVIDER_MUTE_API_KEY": "x"}
    server = new_server({**models.environment, **environment}).start()
    hung, well = server.new_agent(model="mute/any")["id"], server.new_agent(model=script.handle)["id"]
    assert error_of(turn(server, hung))["error_type"] == "llm_timeout"
    script.say("Well.")
    assert turn(server, well)[-3].json["stop_reason"] == "end_turn"


def test_an_answer_without_end_ends(new_server: Callable[..., Server], models: ModelServer, script: Script) -> None:
    server = new_server(models.environment).start()
    agent = server.new_agent(model=script.handle)["id"]
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
        {"index": 0, "delta": {"content": "x" * 100_000}, "finish_reason": None}
    ]}  # fmt: skip
    script.answer(*[Raw(f"data: {json.dumps(chunk)}\n\n".encode())] * 200, Hold())
    reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user("Go on")})
    assert reply.json["stop_reason"]["stop_reason"] == "max_tokens_exceeded"
    assert 16_000_000 <= len(reply.json["messages"][0]["content"]) < 19_000_000
    assert script.asked[0].closed.wait(10)
    script.say("Back.")
    assert server.post(f"/v1/agents/{agent}/messages", {"messages": user("Hi")}).status == 200


def test_a_tool_that_hangs_is_answered_and_the_next_call_runs(
    new_server: Callable[..., Server], models: ModelServer, script: Script, tmp_path: Path
) -> None:
    tools = ["tests.rig.tools:hang", "tests.rig.tools:weather"]
    server = new_server({**models.environment, "PERDURE_TOOL_SECONDS": "0.3"}, tools=tools).start()
    agent = server.new_agent(model=script.handle, tools=["hang", "weather"])["id"]
    script.answer(call("hang", {"mark": str(tmp_path / "a")})).answer(call("weather", {"city": "Oslo"})).say("So.")
    returned = [frame.json["tool_return"] for frame in turn(server, agent) if frame.kind == "tool_return_message"]
    assert "no result within 0.3 seconds" in returned[0]
    assert returned[1] == "It is sunny in Oslo."
