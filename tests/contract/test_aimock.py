"""perdure in front of aimock: a model server and its faults that no one here wrote."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.told import ADA, assert_classes, said, told, types, user
from tests.rig.aimock import MODEL, AiMock
from tests.rig.sdks import NAMES, Client, Sdk
from tests.rig.server import Server

MEMORY = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}


def when(user_says: str, response: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A fixture in aimock's format: what to answer to a user whose words hold `user_says`."""
    chaos = {"chaos": more.pop("chaos")} if "chaos" in more else {}
    return {"match": {"userMessage": user_says, **more}, "response": response, **chaos}


FIXTURES = [
    when("plain", {"content": "Hello from a model that is not ours."}),
    when("think", {"reasoning": "Let me think about it.", "content": "I have thought."}),
    when("remember", {"content": "I have it."}, hasToolResult=True),
    when("remember", {"toolCalls": [{"name": "memory_insert", "arguments": MEMORY}]}, hasToolResult=False),
    when("refuse", {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429}),
    when("drop", {"content": "never said"}, chaos={"dropRate": 1}),
    when("garble", {"content": "never said"}, chaos={"malformedRate": 1}),
    when("hang up", {"content": "never said"}, chaos={"disconnectRate": 1}),
]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiMock]:
    with AiMock(tmp_path_factory.mktemp("aimock"), FIXTURES) as running:
        yield running


@pytest.fixture(scope="module", params=["openai_chat", "openai_responses"])
def aimock_server(
    request: pytest.FixtureRequest, aimock: AiMock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    environment = {**aimock.environment, "PERDURE_PROVIDER_OPENAI_DIALECT": request.param}
    with Server(tmp_path_factory.mktemp("aimock") / "data", environment) as server:
        yield server


@pytest.fixture(params=NAMES)
def aimock_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], aimock_server: Server) -> Client:
    return sdks(request.param).at(aimock_server.base_url)


def ask(client: Client, words: str) -> tuple[str, list[Any]]:
    agent = client.one("create_agent", model=f"openai/{MODEL}", memory_blocks=ADA)["id"]
    return agent, client.all("stream", agent_id=agent, messages=user(words), stream_tokens=True)


def test_text(aimock_client: Client) -> None:
    agent, items = ask(aimock_client, "plain")
    assert types(items) == ["assistant_message", "stop_reason", "usage_statistics"]
    assert_classes(aimock_client, items)
    assert said(items) == "Hello from a model that is not ours."
    assert told(aimock_client.all("list_messages", agent_id=agent)) == told(items)


def test_reasoning(aimock_client: Client) -> None:
    agent, items = ask(aimock_client, "think")
    assert types(items) == ["reasoning_message", "assistant_message", "stop_reason", "usage_statistics"]
    assert_classes(aimock_client, items)
    assert said(items, "reasoning_message") == "Let me think about it."
    assert said(items) == "I have thought."
    assert told(aimock_client.all("list_messages", agent_id=agent)) == told(items)


def test_tool_call(aimock_client: Client) -> None:
    agent, items = ask(aimock_client, "remember")
    kinds = ["tool_call_message", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics"]
    assert types(items) == kinds
    assert_classes(aimock_client, items)
    block = aimock_client.one("retrieve_agent_block", agent_id=agent, label="human")
    assert block["value"] == "Name: Ada.\nLikes tea."


@pytest.mark.parametrize(
    ("words", "error_type"),
    [("refuse", "llm_rate_limit"), ("drop", "llm_error"), ("garble", "llm_error"), ("hang up", "llm_error")],
)
def test_fault(aimock_server: Server, words: str, error_type: str) -> None:
    agent = aimock_server.new_agent(model=f"openai/{MODEL}")["id"]
    with aimock_server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user(words)}) as stream:
        frames = stream.read()
    kinds = [frame.kind for frame in frames if frame.kind not in ("ping", "comment")]
    assert kinds == ["stop_reason", "usage_statistics", "error_message", "[DONE]"]
    assert frames[-2].event == "error"
    assert frames[-2].json["error_type"] == error_type
    run = aimock_server.get(f"/v1/runs/{frames[0].json['run_id']}").json
    assert run["status"] == "failed"
    with aimock_server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("plain")}) as stream:
        assert "assistant_message" in [frame.kind for frame in stream.read()], "the agent did not recover"
