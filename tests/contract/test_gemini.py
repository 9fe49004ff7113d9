"""perdure in front of Gemini: a scripted one that shows what was sent, and two mocks that no one here wrote."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.told import ADA, assert_classes, said, told, types, user
from tests.providers.gemini import chunk, function_call, text, thought
from tests.providers.scripted import Answer, Asked, events, lists, serving, streams
from tests.rig.aimock import AiMock
from tests.rig.llmock import LlMock
from tests.rig.sdks import PY0, PY1, Client, Sdk
from tests.rig.server import Server

MODEL = "google_ai/gemini-2.5-pro"
LIMIT = 60.0
MEMORY = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
KINDS_OF_FAILURE = ["stop_reason", "usage_statistics", "error_message", "[DONE]"]

FIXTURES: list[dict[str, Any]] = [
    {"match": {"userMessage": "plain"}, "response": {"content": "Hello from Gemini."}},
    {"match": {"userMessage": "think"}, "response": {"reasoning": "Let me think. \U0001f914", "content": "I have."}},
    {"match": {"userMessage": "remember", "hasToolResult": True}, "response": {"content": "I have it."}},
    {
        "match": {"userMessage": "remember", "hasToolResult": False},
        "response": {"toolCalls": [{"name": "memory_insert", "arguments": MEMORY}]},
    },
    {"match": {"userMessage": "cut"}, "response": {"content": "a long answer", "finishReason": "length"}},
    {"match": {"userMessage": "drop"}, "response": {"content": "never"}, "chaos": {"dropRate": 1}},
    {"match": {"userMessage": "garble"}, "response": {"content": "never"}, "chaos": {"malformedRate": 1}},
    {"match": {"userMessage": "hang up"}, "response": {"content": "never"}, "chaos": {"disconnectRate": 1}},
    {
        "match": {"userMessage": "refuse"},
        "response": {"error": {"message": "slow down", "type": "RESOURCE_EXHAUSTED"}, "status": 429},
    },
]


def settings(url: str) -> dict[str, str]:
    """What a server needs in its environment to find a Gemini there."""
    return {"GEMINI_API_KEY": "none", "GEMINI_BASE_URL": url}


@pytest.fixture(scope="module")
def aimock_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("aimock")
    with AiMock(folder, FIXTURES) as aimock, Server(folder / "data", settings(aimock.url)) as server:
        yield server


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlMock]:
    with LlMock(tmp_path_factory.mktemp("llmock")) as running:
        yield running


@pytest.fixture(scope="module")
def llmock_server(llmock: LlMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("llmock") / "data", settings(f"{llmock.url}/gemini/v1beta")) as server:
        yield server


@pytest.fixture(params=[PY0, PY1])
def client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], aimock_server: Server) -> Client:
    return sdks(request.param).at(aimock_server.base_url)


def say(server: Server, agent: str, words: str, **fields: Any) -> list[dict[str, Any]]:
    """What a stream says to these words, pings left out."""
    body = {"messages": user(words), "stream_tokens": True, **fields}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return [
            {"message_type": "[DONE]"} if frame.kind == "[DONE]" else frame.json
            for frame in stream.read()
            if frame.kind not in ("ping", "comment")
        ]


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(frame["message_type"] for frame in frames))


def scripted(*turns: bytes | list[Any]) -> Answer:
    """A Gemini with one model that answers each request with the next of these."""
    left = list(turns)
    listing = lists({
        "/v1beta/models?pageSize=1000": {
            "models": [{"name": "models/gemini-3.8-flash", "supportedGenerationMethods": ["generateContent"]}]
        }
    })  # fmt: skip

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await (listing if asked.method == "GET" else streams(*events(*left.pop(0))))(asked, writer)

    return answer


@pytest.mark.stores("postgresql")
def test_signatures_come_back_unchanged_on_their_pieces_after_a_restart_too(new_server: Callable[..., Server]) -> None:
    call = function_call("memory_insert", "sig-call==", MEMORY, id="fc-1")
    turns = (
        [chunk(thought("She likes tea.", "sig-thought")), chunk(call, finish="STOP")],
        [chunk(text("I saved")), chunk(text(" that.")), chunk(text("", "sig-end"), finish="STOP")],
        [chunk(text("You are welcome."), finish="STOP")],
    )

    def talk(url: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        server = new_server(settings(url)).start()
        agent = server.new_agent(model="google_ai/gemini-3.8-flash", memory_blocks=ADA)["id"]
        first = say(server, agent, "I like tea.")
        server.restart()
        return first, say(server, agent, "Thanks.")

    async def go() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Asked]]:
        async with asyncio.timeout(LIMIT), serving(scripted(*turns)) as google:
            first, second = await asyncio.to_thread(talk, google.url)
            return first, second, [each for each in google.asked if each.method == "POST"]

    first, second, asked = asyncio.run(go())
    assert kinds(first) == [
        "reasoning_message", "tool_call_message", "tool_return_message", "assistant_message", "stop_reason",
        "usage_statistics", "[DONE]",
    ]  # fmt: skip
    assert kinds(second)[0] == "assistant_message"
    assert "sig-" not in json.dumps([*first, *second]), "a seal is nobody's business"
    step, after = asked[1].json["contents"][1:], asked[2].json["contents"][1:]
    signed_call = {"functionCall": {"name": "memory_insert", "args": MEMORY, "id": "fc-1"}}
    assert step[0]["parts"] == [
        {"text": "She likes tea.", "thought": True, "thoughtSignature": "sig-thought"},
        {**signed_call, "thoughtSignature": "sig-call=="},
    ]
    assert step[1]["parts"][0]["functionResponse"]["id"] == "fc-1"
    assert after[:2] == step
    assert after[2]["parts"] == [{"text": "I saved that."}, {"text": "", "thoughtSignature": "sig-end"}]
    assert asked[0].headers["x-goog-api-key"] == "none"


def test_reasoning_and_text(client: Client) -> None:
    agent = client.one("create_agent", model=MODEL, memory_blocks=ADA)["id"]
    items = client.all("stream", agent_id=agent, messages=user("think"), stream_tokens=True)
    assert types(items) == ["reasoning_message", "assistant_message", "stop_reason", "usage_statistics"]
    assert_classes(client, items)
    assert (said(items, "reasoning_message"), said(items)) == ("Let me think. \U0001f914", "I have.")
    assert told(client.all("list_messages", agent_id=agent)) == told(items)


def test_a_tool_call(client: Client) -> None:
    agent = client.one("create_agent", model=MODEL, memory_blocks=ADA)["id"]
    items = client.all("stream", agent_id=agent, messages=user("remember"), stream_tokens=True)
    expected = ["tool_call_message", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics"]
    assert types(items) == expected
    assert_classes(client, items)
    assert told(client.all("list_messages", agent_id=agent)) == told(items)
    block = client.one("retrieve_agent_block", agent_id=agent, label="human")
    assert block["value"] == "Name: Ada.\nLikes tea."


def test_an_answer_that_hit_its_limit(aimock_server: Server) -> None:
    agent = aimock_server.new_agent(model=MODEL)["id"]
    frames = say(aimock_server, agent, "cut")
    assert next(f["stop_reason"] for f in frames if "stop_reason" in f) == "max_tokens_exceeded"


@pytest.mark.parametrize(
    ("words", "error_type"),
    [("refuse", "llm_rate_limit"), ("drop", "llm_error"), ("garble", "llm_error"), ("hang up", "llm_error")],
)
def test_faults_of_aimock(aimock_server: Server, words: str, error_type: str) -> None:
    agent = aimock_server.new_agent(model=MODEL)["id"]
    frames = say(aimock_server, agent, words)
    assert kinds(frames) == KINDS_OF_FAILURE
    assert frames[-2]["error_type"] == error_type
    assert "assistant_message" in kinds(say(aimock_server, agent, "plain")), "the agent did not recover"


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
def test_streams_that_llmock_breaks(llmock: LlMock, llmock_server: Server, kind: str) -> None:
    agent = llmock_server.new_agent(model=MODEL)["id"]
    llmock.behave({"type": "stream_fault", "kind": kind, "after_chunks": 2})
    frames = say(llmock_server, agent, "one two three four five six seven eight nine ten")
    assert kinds(frames) == ["assistant_message", *KINDS_OF_FAILURE]
    shown = "".join(frame["content"] for frame in frames if frame["message_type"] == "assistant_message")
    history = llmock_server.get(f"/v1/agents/{agent}/messages?limit=1").json
    assert history[-1]["content"] == shown
    assert "assistant_message" in kinds(say(llmock_server, agent, "again")), "the agent did not recover"


def test_calls_of_llmock(llmock: LlMock, llmock_server: Server) -> None:
    agent = llmock_server.new_agent(model=MODEL, memory_blocks=ADA)["id"]
    llmock.behave(
        {"type": "reply", "tool_calls": [{"name": "memory_insert", "arguments": MEMORY}]},
        {"type": "reply", "text": "Noted."},
    )
    frames = say(llmock_server, agent, "I like tea.")
    assert kinds(frames)[:3] == ["tool_call_message", "tool_return_message", "assistant_message"]
    assert llmock_server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"].endswith("Likes tea.")


@pytest.mark.parametrize(("status", "error_type"), [(403, "llm_authentication"), (429, "llm_rate_limit")])
def test_refusals_of_llmock(llmock: LlMock, llmock_server: Server, status: int, error_type: str) -> None:
    agent = llmock_server.new_agent(model=MODEL)["id"]
    llmock.behave({"type": "fail", "status": status})
    frames = say(llmock_server, agent, "Hello")
    assert frames[-2]["error_type"] == error_type
