"""perdure asks, in Anthropic's messages, servers no one here wrote: aimock, llmock, and an engine that infers."""

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
ON_AIMOCK = "claude-3-5-sonnet-20241022"
ON_BEDROCK = "us.anthropic.claude-opus-5-v1:0"
ON_LLMOCK = "claude-sonnet-4-6"
ACCOUNT = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
ANSWERS = [
    {"match": {"userMessage": "think"}, "response": {"reasoning": "Let me think.", "content": "I have thought."}},
    {"match": {"userMessage": "remember", "hasToolResult": True}, "response": {"content": "I have it."}},
    {"match": {"userMessage": "remember"}, "response": {"toolCalls": [{"name": "memory_insert", "arguments": TEA}]}},
    {
        "match": {"userMessage": "refuse"},
        "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429},
    },
    {"match": {"userMessage": "hang up"}, "response": {"content": "never said"}, "chaos": {"disconnectRate": 1}},
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
    environment = {**asking(aimock.url), **ACCOUNT, "ANTHROPIC_BEDROCK_BASE_URL": aimock.url}
    with Server(tmp_path_factory.mktemp("server") / "data", environment) as server:
        yield server


@pytest.fixture(scope="module")
def llmock_server(llmock: LlMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {**asking(f"{llmock.url}/anthropic"), "LETTA_LLM_STREAM_TIMEOUT_SECONDS": "1"}
    with Server(tmp_path_factory.mktemp("server") / "data", environment) as server:
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


@pytest.mark.parametrize("handle", [f"anthropic/{ON_AIMOCK}", f"bedrock/{ON_BEDROCK}"])
def test_aimock_thinks_and_speaks(sdk: Sdk, aimock_server: Server, handle: str) -> None:
    client = sdk.at(aimock_server.base_url)
    agent, items = ask(client, handle, "think")
    assert types(items) == ["reasoning_message", "assistant_message", *ENDING]
    assert_classes(client, items)
    assert (said(items, "reasoning_message"), said(items)) == ("Let me think.", "I have thought.")
    assert told(client.all("list_messages", agent_id=agent)) == told(items)


@pytest.mark.parametrize("handle", [f"anthropic/{ON_AIMOCK}", f"bedrock/{ON_BEDROCK}"])
def test_aimock_calls_a_tool(sdk: Sdk, aimock_server: Server, handle: str) -> None:
    client = sdk.at(aimock_server.base_url)
    agent, items = ask(client, handle, "remember")
    assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
    assert_classes(client, items)
    block = client.one("retrieve_agent_block", agent_id=agent, label="human")
    assert block["value"] == "Name: Ada.\nLikes tea."


def failure(server: Server, handle: str, words: str) -> dict[str, Any]:
    """How a turn that fails ends, after which the run is failed."""
    agent = server.new_agent(model=handle)["id"]
    with server.stream(
        f"/v1/agents/{agent}/messages/stream", {"messages": user(words), "stream_tokens": True}
    ) as stream:
        frames = stream.read()
    kinds = [frame.kind for frame in frames if frame.kind not in ("ping", "comment", "assistant_message")]
    assert kinds == ["stop_reason", "usage_statistics", "error_message", "[DONE]"]
    assert server.get(f"/v1/runs/{frames[0].json['run_id']}").json["status"] == "failed"
    shown = "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message")
    return {**frames[-2].json, "shown": shown}


@pytest.mark.parametrize(("words", "error_type"), [("refuse", "llm_rate_limit"), ("hang up", "llm_error")])
def test_aimock_fails(aimock_server: Server, words: str, error_type: str) -> None:
    assert failure(aimock_server, f"anthropic/{ON_AIMOCK}", words)["error_type"] == error_type


def test_llmock_speaks(sdk: Sdk, llmock: LlMock, llmock_server: Server) -> None:
    script(llmock, {"type": "reply", "text": "One two three."})
    client = sdk.at(llmock_server.base_url)
    agent, items = ask(client, f"anthropic/{ON_LLMOCK}", "hi")
    assert types(items) == ["assistant_message", *ENDING]
    assert said(items) == "One two three."
    assert len([item for item in items if item.type == "assistant_message"]) > 1
    assert told(client.all("list_messages", agent_id=agent)) == told(items)


def test_llmock_calls_a_tool(sdk: Sdk, llmock: LlMock, llmock_server: Server) -> None:
    calling = {"type": "reply", "tool_calls": [{"name": "memory_insert", "arguments": TEA}]}
    script(llmock, calling, {"type": "reply", "text": "I have it."})
    client = sdk.at(llmock_server.base_url)
    _, items = ask(client, f"anthropic/{ON_LLMOCK}", "remember")
    assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
    calls = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    assert json.loads("".join(each.get("arguments") or "" for each in calls)) == TEA


@pytest.mark.parametrize(
    ("fault", "error_type", "shown"),
    [
        ({"kind": "disconnect", "after_chunks": 4}, "llm_error", True),
        ({"kind": "truncate", "after_chunks": 5}, "llm_error", True),
        ({"kind": "malformed", "after_chunks": 4}, "llm_error", True),
        ({"kind": "stall", "after_chunks": 5, "stall_seconds": 5}, "llm_timeout", True),
        ({"kind": "truncate", "after_chunks": 0}, "llm_error", False),
    ],
)
def test_llmock_breaks_its_stream(
    llmock: LlMock, llmock_server: Server, fault: dict[str, Any], error_type: str, shown: bool
) -> None:
    script(llmock, {"type": "reply", "text": "one two three four five six"}, {"type": "stream_fault", **fault})
    ended = failure(llmock_server, f"anthropic/{ON_LLMOCK}", "hi")
    assert ended["error_type"] == error_type
    assert bool(ended["shown"]) is shown
    assert "six" not in ended["shown"]


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


@pytest.mark.parametrize(("status", "error_type"), [(529, "llm_error"), (401, "llm_authentication")])
def test_llmock_refuses(llmock: LlMock, llmock_server: Server, status: int, error_type: str) -> None:
    script(llmock, {"type": "fail", "status": status})
    assert failure(llmock_server, f"anthropic/{ON_LLMOCK}", "hi")["error_type"] == error_type


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
