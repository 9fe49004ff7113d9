"""The rig itself: a judge that never objects, or a reader that forgives, would make every other test worthless."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rig import http
from tests.rig.answers import Cut, Hold, call, parallel, reasoning, text
from tests.rig.history import faults_of
from tests.rig.llmock import LlMock
from tests.rig.model import ModelServer, vector

USER = {"role": "user", "content": "hi"}
CALLED = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASSISTANT = {"role": "assistant", "content": None, "tool_calls": [CALLED]}
RETURNED = {"role": "tool", "tool_call_id": "a", "content": "done"}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **more}


def test_valid_history_has_no_faults() -> None:
    assert faults_of(body({"role": "system", "content": "be"}, USER, ASSISTANT, RETURNED)) == []


@pytest.mark.parametrize(
    "bad",
    [
        body(),
        body(USER, ASSISTANT),
        body(USER, ASSISTANT, USER),
        body(USER, RETURNED),
        body(USER, ASSISTANT, RETURNED, RETURNED),
        body(USER, {"role": "assistant", "content": ""}, USER),
        body(USER, {"role": "assistant", "content": "x", "tool_calls": []}, USER),
        body(USER, {"role": "assistant", "content": "prefilled"}),
        body({"role": "robot", "content": "x"}),
        body({"role": "user", "content": "\ud83d"}),
        body(USER, {**ASSISTANT, "tool_calls": [CALLED, CALLED]}, RETURNED),
        body(USER, {**ASSISTANT, "tool_calls": [{**CALLED, "function": {"name": "f", "arguments": "{"}}]}, RETURNED),
        body(USER, {**ASSISTANT, "tool_calls": [{**CALLED, "function": {"name": "f g", "arguments": "{}"}}]}, RETURNED),
        body(USER, tools=[]),
        body(USER, tool_choice="auto"),
        body(USER, temprature=1),
    ],
)
def test_faults_are_seen(bad: dict[str, Any]) -> None:
    assert faults_of(bad) != []


@pytest.mark.parametrize("raw", [b"id: 1\ndata: x\n\n", b"data: x\r\n\n", b"data: x\ndata: y\n\n", b"retry: 1\n\n"])
def test_reader_refuses_what_a_client_could_not_read(raw: bytes) -> None:
    with pytest.raises(AssertionError):
        http.parse(raw)


def test_reader_understands_frames() -> None:
    assert http.parse(b'event: error\ndata: {"message_type": "error_message"}\n\n').kind == "error_message"
    assert http.parse(b"data: [DONE]\n\n").kind == "[DONE]"
    assert http.parse(b": still here\n\n").kind == "comment"


def chunks(models: ModelServer, name: str) -> list[dict[str, Any]]:
    with http.stream("POST", f"{models.url}/v1/chat/completions", body(USER, model=name, stream=True)) as stream:
        return [frame.json for frame in stream.read() if frame.data != "[DONE]"]


def test_script_streams_its_pieces(models: ModelServer) -> None:
    script = models.script().answer(reasoning("hm"), text("a", "b"), call("f", {"x": 1}, fragments=2), usage=(7, 3))
    sent = chunks(models, script.name)
    deltas = [chunk["choices"][0]["delta"] for chunk in sent if chunk["choices"]]
    assert [delta["content"] for delta in deltas if delta.get("content")] == ["a", "b"]
    assert [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta] == ["hm"]
    arguments = [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas if "tool_calls" in delta]
    assert arguments == ["", '{"x"', ": 1}"]
    assert sent[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert sent[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert script.violations == []


def test_parallel_fragments_are_interleaved(models: ModelServer) -> None:
    script = models.script().answer(parallel(call("f", {"x": 1}), call("g", {"y": 2})))
    sent = chunks(models, script.name)
    parts = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in sent if chunk["choices"]]
    assert [part[0]["index"] for part in parts if part] == [0, 1] * 4


def test_hold_keeps_the_rest_back(models: ModelServer) -> None:
    hold = Hold()
    script = models.script().answer(text("early"), hold, text("late"))
    url = f"{models.url}/v1/chat/completions"
    with http.stream("POST", url, body(USER, model=script.name, stream=True)) as stream:
        frames = iter(stream)
        assert next(frames).json["choices"][0]["delta"]["role"] == "assistant"
        assert next(frames).json["choices"][0]["delta"]["content"] == "early"
        hold.wait_reached()
        hold.release()
        assert next(frames).json["choices"][0]["delta"]["content"] == "late"


def test_hanging_up_is_noticed(models: ModelServer) -> None:
    script = models.script().answer(text("early"), Hold())
    with http.stream("POST", f"{models.url}/v1/chat/completions", body(USER, model=script.name, stream=True)) as stream:
        next(iter(stream))
    assert script.asked[0].closed.wait(10)


def test_cut_breaks_the_connection(models: ModelServer) -> None:
    script = models.script().answer(text("early"), Cut())
    with pytest.raises((http.http.client.IncompleteRead, ConnectionError, AssertionError)):
        chunks(models, script.name)


def test_asking_too_often_is_a_violation(models: ModelServer) -> None:
    script = models.script().refuse(503, "busy")
    ask = f"{models.url}/v1/chat/completions"
    assert http.request("POST", ask, body(USER, model=script.name)).status == 503
    assert http.request("POST", ask, body(USER, model=script.name)).status == 400
    assert script.violations == ["request 2: no answer was left"]


def test_completion_without_streaming(models: ModelServer) -> None:
    script = models.script().answer(text("a", "b"), call("f", {"x": 1}))
    reply = http.request("POST", f"{models.url}/v1/chat/completions", body(USER, model=script.name)).json
    message = reply["choices"][0]["message"]
    assert message["content"] == "ab"
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"x": 1}


def test_vectors_of_texts_that_share_words_are_near() -> None:
    tea, more_tea, stone = vector("green tea"), vector("black tea"), vector("a stone")
    near = sum(a * b for a, b in zip(tea, more_tea, strict=True))
    far = sum(a * b for a, b in zip(tea, stone, strict=True))
    assert near > 0.4 > far


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlMock]:
    with LlMock(tmp_path_factory.mktemp("llmock")) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "asks"),
    [
        ("/v1/chat/completions", {"model": "m", "messages": [USER], "stream": True}),
        ("/v1/responses", {"model": "m", "input": "hi", "stream": True}),
        ("/anthropic/v1/messages", {"model": "m", "messages": [USER], "max_tokens": 99, "stream": True}),
        ("/gemini/v1beta/models/m:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "hi"}]}]}),
    ],
)
def test_llmock_speaks_four_protocols_and_breaks_off_when_told(llmock: LlMock, path: str, asks: dict[str, Any]) -> None:
    llmock.reset()
    llmock.behave({"type": "reply", "text": "one two three four five six"})
    whole = http.request("POST", llmock.url + path, asks)
    llmock.behave({"type": "reply", "text": "one two three four five six"})
    llmock.behave({"type": "stream_fault", "kind": "truncate", "after_chunks": 1})
    cut = http.request("POST", llmock.url + path, asks)
    assert whole.status == cut.status == 200
    assert b"six" in whole.body
    assert b"six" not in cut.body
    assert [asked["fault"] for asked in llmock.requests()] == [None, "stream:truncate@1"]
    assert llmock.requests()[0]["body"] == asks
