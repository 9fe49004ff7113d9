"""perdure in front of llmock, which breaks its streams on demand, in both of OpenAI's protocols."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.told import ADA, user
from tests.rig.http import Frame
from tests.rig.llmock import MODEL, LlMock
from tests.rig.server import Server

TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
SAYS = {"type": "reply", "text": "one two three four five six"}


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlMock]:
    with LlMock(tmp_path_factory.mktemp("llmock")) as running:
        yield running


@pytest.fixture(scope="module", params=["openai_chat", "openai_responses"])
def llmock_server(
    request: pytest.FixtureRequest, llmock: LlMock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    environment = {**llmock.environment, "PERDURE_PROVIDER_OPENAI_DIALECT": request.param}
    with Server(tmp_path_factory.mktemp("llmock") / "data", environment) as server:
        yield server


def turn(server: Server, agent: str) -> list[Frame]:
    path = f"/v1/agents/{agent}/messages/stream"
    with server.stream(path, {"messages": user("hi"), "stream_tokens": True, "include_pings": False}) as stream:
        return stream.read()


def said(frames: list[Frame]) -> str:
    return "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message")


def kinds(frames: list[Frame]) -> list[str]:
    return list(dict.fromkeys(frame.kind for frame in frames))


def test_text_and_a_tool_call(llmock: LlMock, llmock_server: Server) -> None:
    agent = llmock_server.new_agent(model=f"openai/{MODEL}", memory_blocks=ADA)["id"]
    llmock.reset()
    llmock.behave({"type": "reply", "tool_calls": [{"name": "memory_insert", "arguments": TEA}]}, SAYS)
    frames = turn(llmock_server, agent)
    assert kinds(frames) == [
        "tool_call_message", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics", "[DONE]"
    ]  # fmt: skip
    assert said(frames) == SAYS["text"]
    block = llmock_server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json
    assert block["value"] == "Name: Ada.\nLikes tea."


@pytest.mark.parametrize(
    "fault",
    [
        *({"type": "stream_fault", "kind": "disconnect", "after_chunks": n} for n in (0, 1, 4, 6)),
        *({"type": "stream_fault", "kind": "truncate", "after_chunks": n} for n in (1, 4, 6)),
        {"type": "stream_fault", "kind": "malformed", "after_chunks": 4},
        {"type": "fail", "status": 429},
        {"type": "fail", "status": 503},
    ],
    ids=lambda fault: f"{fault.get('kind', 'status')}-{fault.get('after_chunks', fault.get('status'))}",
)
def test_a_fault_ends_the_turn_and_nothing_else(llmock: LlMock, llmock_server: Server, fault: dict[str, Any]) -> None:
    agent = llmock_server.new_agent(model=f"openai/{MODEL}")["id"]
    llmock.reset()
    llmock.behave(*([fault] if fault["type"] == "fail" else [SAYS, fault]))
    frames = turn(llmock_server, agent)
    assert kinds(frames)[-4:] == ["stop_reason", "usage_statistics", "error_message", "[DONE]"]
    assert frames[-2].json["error_type"] == ("llm_rate_limit" if fault.get("status") == 429 else "llm_error")
    assert SAYS["text"].startswith(said(frames))
    llmock.reset()
    llmock.behave(SAYS)
    assert said(turn(llmock_server, agent)) == SAYS["text"]
