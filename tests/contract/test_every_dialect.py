"""Whatever a provider does, in each dialect alike: a named error, what was shown kept, and the next message works."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.rig.answers import Cut, Piece, Raw, call, parallel, text
from tests.rig.http import Frame
from tests.rig.llmock import MODEL, LlMock
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

DIALECTS = ("openai_chat", "openai_responses", "anthropic", "gemini")
LLMOCK = {
    "openai_chat": f"openai/{MODEL}",
    "openai_responses": f"responses/{MODEL}",
    "anthropic": "anthropic/claude-sonnet-4-6",
    "gemini": "google_ai/gemini-2.5-pro",
}
STATUSES = {
    400: "llm_bad_request", 401: "llm_authentication", 402: "llm_insufficient_credits", 403: "llm_authentication",
    404: "llm_bad_request", 429: "llm_rate_limit", 500: "llm_error", 503: "llm_error", 529: "llm_error",
}  # fmt: skip
SAYS = {"type": "reply", "text": "one two three four five six"}
MOST_EVENTS = 40
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SEVERAL = {"provider_type": "openai", "parallel_tool_calls": True}
GROWTH = 200 << 20
"""Bytes that the server's memory may grow by under an answer without end; one event may be 16 MiB."""


def responses_at(url: str) -> dict[str, str]:
    return {"PERDURE_PROVIDER_RESPONSES_BASE_URL": url, "PERDURE_PROVIDER_RESPONSES_DIALECT": "openai_responses"}


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlMock]:
    with LlMock(tmp_path_factory.mktemp("llmock")) as running:
        yield running


@pytest.fixture(scope="module")
def llmock_server(llmock: LlMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        **llmock.environment, **responses_at(f"{llmock.url}/v1"),
        "ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": f"{llmock.url}/anthropic",
        "GEMINI_API_KEY": "none", "GEMINI_BASE_URL": f"{llmock.url}/gemini/v1beta",
    }  # fmt: skip
    with Server(tmp_path_factory.mktemp("all") / "data", environment) as server:
        yield server


@pytest.fixture(scope="module")
def scripted_server(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        **models.environment, **models.claude_environment, **models.gemini_environment,
        **responses_at(f"{models.url}/v1"),
    }  # fmt: skip
    with Server(tmp_path_factory.mktemp("scripted") / "data", environment) as server:
        yield server


@pytest.fixture
def scripted(dialect: str, models: ModelServer) -> Script:
    """A scripted model that is asked in this dialect."""
    make = {"anthropic": models.claude, "gemini": models.gemini}
    script = make.get(dialect, models.script)()
    if dialect == "openai_responses":
        script.handle = f"responses/{script.name}"
    return script


def behave(llmock: LlMock, dialect: str, *behaviours: dict[str, Any]) -> None:
    """What comes of the next questions; Anthropic is also asked how long they are."""
    llmock.reset()
    only = {"match": {"stream": True}} if dialect == "anthropic" else {}
    llmock.behave(*({**only, **each} for each in behaviours))


def turn(server: Server, agent: str, content: Any = "hi") -> list[Frame]:
    body = {"messages": [{"role": "user", "content": content}], "stream_tokens": True, "include_pings": False}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return stream.read()


def said(frames: list[Frame]) -> str:
    return "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message")


def error_of(frames: list[Frame]) -> str | None:
    """The type of the error that a stream ended with, whose ending has to be right."""
    if frames[-2].kind != "error_message":
        assert [frame.kind for frame in frames[-3:]] == ["stop_reason", "usage_statistics", "[DONE]"]
        return None
    assert [frame.kind for frame in frames[-4:]] == ["stop_reason", "usage_statistics", "error_message", "[DONE]"]
    return frames[-2].json["error_type"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_refusal_has_its_name(llmock: LlMock, llmock_server: Server, dialect: str) -> None:
    agent = llmock_server.new_agent(model=LLMOCK[dialect])["id"]
    found: dict[int, str | None] = {}
    for status in STATUSES:
        behave(llmock, dialect, {"type": "fail", "status": status})
        found[status] = error_of(turn(llmock_server, agent))
    assert found == STATUSES
    behave(llmock, dialect, SAYS)
    assert said(turn(llmock_server, agent)) == SAYS["text"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_disconnect_after_any_event_keeps_what_was_shown(llmock: LlMock, llmock_server: Server, dialect: str) -> None:
    agent = llmock_server.new_agent(model=LLMOCK[dialect])["id"]
    shown: list[str] = []
    for after in range(MOST_EVENTS):
        behave(llmock, dialect, SAYS, {"type": "stream_fault", "kind": "disconnect", "after_chunks": after})
        frames = turn(llmock_server, agent)
        shown.append(said(frames))
        if error_of(frames) is None:
            break
        assert error_of(frames) == "llm_error"
        history = llmock_server.get(f"/v1/agents/{agent}/messages?limit=1").json
        assert not shown[-1] or history[-1]["content"] == shown[-1]
    assert shown[-1] == SAYS["text"], "it was never let finish"
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))
    assert len(set(shown)) > 3


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_image_comes_to_the_model(llmock: LlMock, llmock_server: Server, dialect: str) -> None:
    agent = llmock_server.new_agent(model=LLMOCK[dialect])["id"]
    behave(llmock, dialect, SAYS)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    frames = turn(llmock_server, agent, [{"type": "text", "text": "What is this?"}, image])
    assert said(frames) == SAYS["text"]
    assert PIXEL in str(llmock.requests()[-1]["body"])


STRANGE: dict[str, Callable[[Script], object]] = {
    "an error under 200": lambda script: script.refuse(200, "Your credit is used up"),
    "HTML": lambda script: script.refuse(200, body="<html>Sign in</html>", content_type="text/html"),
    "half a chunk": lambda script: script.answer(text("Half"), Raw(b'data: {"cho'), Cut()),
    "nothing at all": lambda script: script.answer(finish=None, usage=None, done=False),
    "no JSON": lambda script: script.answer(text("Half"), Raw(b"data: {{{\n\n")),
    "a line without end": lambda script: script.answer(Raw(b"data: "), *[Raw(b"x" * (1 << 20))] * 64),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_strange_answers_are_named_and_leave_a_conversation(
    scripted_server: Server, scripted: Script, dialect: str
) -> None:
    agent = scripted_server.new_agent(model=scripted.handle)["id"]
    process = psutil.Process(scripted_server.pid)
    before = process.memory_info().rss
    for name, happens in STRANGE.items():
        happens(scripted)
        frames = turn(scripted_server, agent)
        assert error_of(frames) == "llm_error", name
        assert frames[-2].json["detail"], name
        scripted.say("Fine.")
        assert said(turn(scripted_server, agent)) == "Fine.", name
    assert process.memory_info().rss - before < GROWTH
    assert scripted.violations == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_strange_calls_are_each_answered_once(scripted_server: Server, scripted: Script, dialect: str) -> None:
    agent = scripted_server.new_agent(
        model=scripted.handle, model_settings=SEVERAL, memory_blocks=[{"label": "human", "value": "-"}]
    )["id"]  # fmt: skip
    memory = {"label": "human", "new_string": "Tea."}
    same = [call("memory_insert", memory, id="same") for _ in range(2)]
    answers: tuple[tuple[Piece, ...], ...] = (
        (same[0], same[1], call("launch", {"to": "the moon"}, id="same")),
        (same[0],),
    )
    for pieces in answers:
        scripted.answer(*pieces)
    scripted.say("Done.")
    frames = turn(scripted_server, agent)
    assert said(frames) == "Done."
    returns = [frame.json for frame in frames if frame.kind == "tool_return_message"]
    assert [each["status"] for message in returns for each in message["tool_returns"]] == [
        "success", "success", "error", "success"
    ]  # fmt: skip
    ids = [each["tool_call_id"] for message in returns for each in message["tool_returns"]]
    assert len(set(ids)) == 4
    block = scripted_server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"]
    assert block.count("Tea.") == 3
    assert scripted.violations == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_ten_thousand_calls(scripted_server: Server, scripted: Script, dialect: str) -> None:
    agent = scripted_server.new_agent(model=scripted.handle, model_settings=SEVERAL)["id"]
    before = psutil.Process(scripted_server.pid).memory_info().rss
    scripted.answer(parallel(*(call("launch", {"to": "the moon"}, fragments=1) for _ in range(10_000)))).say("Well.")
    frames = turn(scripted_server, agent)
    assert error_of(frames) == "llm_error"
    assert "more than 100 tools" in frames[-2].json["detail"]
    assert said(turn(scripted_server, agent)) == "Well."
    history = scripted_server.get(f"/v1/agents/{agent}/messages?limit=1000").json
    calls, returns = (
        [each["tool_call_id"] for item in history if item["message_type"] == kind for each in item[f"{name}s"]]
        for kind, name in (("tool_call_message", "tool_call"), ("tool_return_message", "tool_return"))
    )
    assert calls == returns
    assert len(set(calls)) == 100
    assert psutil.Process(scripted_server.pid).memory_info().rss - before < GROWTH
    assert scripted.violations == []
