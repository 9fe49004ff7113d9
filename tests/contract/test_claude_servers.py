"""What only Anthropic's messages have, from servers no one here wrote: Bedrock, odd arguments, an engine that infers.

The rest of it stands in `test_every_dialect.py`.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.told import ADA, assert_classes, said, told, types, user
from tests.rig import engine, http
from tests.rig.aimock import AiMock
from tests.rig.llmock import LlMock
from tests.rig.sdks import PY0, PY1, Client, Sdk
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
ON_BEDROCK = "us.anthropic.claude-opus-5-v1:0"
ON_LLMOCK = "claude-sonnet-4-6"
ACCOUNT = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
ANSWERS = [
    {"match": {"userMessage": "think"}, "response": {"reasoning": "Let me think.", "content": "I have thought."}},
    {"match": {"userMessage": "remember", "hasToolResult": True}, "response": {"content": "I have it."}},
    {"match": {"userMessage": "remember"}, "response": {"toolCalls": [{"name": "memory_insert", "arguments": TEA}]}},
]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiMock]:
    with AiMock(tmp_path_factory.mktemp("aimock"), ANSWERS) as running:
        yield running


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlMock]:
    with LlMock(tmp_path_factory.mktemp("llmock")) as running:
        yield running


def asking(url: str) -> dict[str, str]:
    """What a server needs in its environment to ask `url` in Anthropic's messages."""
    return {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": url}


@pytest.fixture(scope="module")
def aimock_server(aimock: AiMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {**ACCOUNT, "ANTHROPIC_BEDROCK_BASE_URL": aimock.url}
    with Server(tmp_path_factory.mktemp("server") / "data", environment) as server:
        yield server


@pytest.fixture(scope="module")
def llmock_server(llmock: LlMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data", asking(f"{llmock.url}/anthropic")) as server:
        yield server


@pytest.fixture(scope="module")
def engine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("engine")
    with engine.Engine(folder) as running, Server(folder / "data", asking(running.url)) as server:
        yield server


@pytest.fixture(params=[PY0, PY1])
def sdk(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk]) -> Sdk:
    """Each Python SDK in turn."""
    return sdks(request.param)


def script(llmock: LlMock, *behaviours: dict[str, Any]) -> None:
    """Has llmock behave so when it is asked for answers; lists of models stay as they are."""
    llmock.reset()
    llmock.behave(*({"match": {"stream": True}, **behaviour} for behaviour in behaviours))


def ask(client: Client, handle: str, words: str) -> tuple[str, list[Any]]:
    agent = client.one("create_agent", model=handle, memory_blocks=ADA)["id"]
    return agent, client.all("stream", agent_id=agent, messages=user(words), stream_tokens=True)


def test_bedrock_of_aimock_thinks_and_speaks(sdk: Sdk, aimock_server: Server) -> None:
    client = sdk.at(aimock_server.base_url)
    agent, items = ask(client, f"bedrock/{ON_BEDROCK}", "think")
    assert types(items) == ["reasoning_message", "assistant_message", *ENDING]
    assert_classes(client, items)
    assert (said(items, "reasoning_message"), said(items)) == ("Let me think.", "I have thought.")
    assert told(client.all("list_messages", agent_id=agent)) == told(items)


def test_bedrock_of_aimock_calls_a_tool(sdk: Sdk, aimock_server: Server) -> None:
    client = sdk.at(aimock_server.base_url)
    agent, items = ask(client, f"bedrock/{ON_BEDROCK}", "remember")
    assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
    assert_classes(client, items)
    block = client.one("retrieve_agent_block", agent_id=agent, label="human")
    assert block["value"] == "Name: Ada.\nLikes tea."


def test_llmock_cuts_the_arguments_of_a_call(llmock: LlMock, llmock_server: Server) -> None:
    script(
        llmock,
        {"type": "reply", "tool_calls": [{"name": "memory_insert", "arguments": TEA}]},
        {"type": "tool_fault", "kind": "malformed_arguments"},
        {"type": "reply", "text": "Never mind."},
    )
    agent = llmock_server.new_agent(model=f"anthropic/{ON_LLMOCK}", memory_blocks=ADA)["id"]
    with llmock_server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        kinds = [frame.kind for frame in stream.read() if frame.kind not in ("ping", "comment")]
    assert kinds == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING, "[DONE]"]
    [_, second] = [each["body"] for each in llmock.requests() if each["stream"]]
    [use] = second["messages"][1]["content"]
    assert use["type"] == "tool_use"
    assert isinstance(use["input"], dict)


def test_llmock_sees_what_a_client_of_anthropic_sends(llmock: LlMock, llmock_server: Server) -> None:
    agent = llmock_server.new_agent(model=f"anthropic/{ON_LLMOCK}")["id"]
    llmock.reset()
    assert llmock_server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")}).status == 200
    [asked] = [each for each in llmock.requests() if each["stream"]]
    assert asked["path"] == "/anthropic/v1/messages"
    assert asked["body"]["thinking"] == {"type": "adaptive"}
    assert asked["body"]["max_tokens"] == 32_000
    verdict = http.request("GET", f"{llmock.url}/_llmock/verdict").json
    assert verdict["findings"] == []


def test_the_engine_streams_token_by_token(sdk: Sdk, engine_server: Server) -> None:
    client = sdk.at(engine_server.base_url)
    agent, items = ask(client, f"anthropic/{engine.MODEL}", "Say something.")
    assert types(items) == ["assistant_message", *ENDING]
    assert len([item for item in items if item.type == "assistant_message"]) > 1
    assert items[-1]["prompt_tokens"] > 100
    assert items[-1]["completion_tokens"] > 1
    assert told(client.all("list_messages", agent_id=agent)) == told(items)


def test_the_engine_calls_tools_and_the_conversation_goes_on(sdk: Sdk, engine_server: Server) -> None:
    client = sdk.at(engine_server.base_url)
    agent, items = ask(client, f"anthropic/{engine.MODEL}", engine.SAYS_TOOL)
    assert types(items)[:2] == ["tool_call_message", "tool_return_message"]
    calls = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    assert isinstance(json.loads("".join(each.get("arguments") or "" for each in calls)), dict)
    assert len(calls) > 5, "the arguments did not stream"
    assert told(client.all("list_messages", agent_id=agent)) == told(items)
    again = client.all("stream", agent_id=agent, messages=user("And now?"))
    assert again[-2]["stop_reason"] == "end_turn"
