"""The front doors for OpenAI's clients as a plain HTTP client finds them: bytes, statuses, and what goes on behind."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.told import ADA, user
from tests.operation.waiting import soon
from tests.rig.answers import Hold, text
from tests.rig.http import Reply
from tests.rig.model import Script
from tests.rig.server import Server

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
DOORS = [(CHAT, "messages", user("hi")), (RESPONSES, "input", "hi")]


def fresh(server: Server, script: Script) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA)["id"]


@pytest.mark.parametrize(("path", "name", "said"), DOORS)
def test_a_stream_begins_at_once_and_ends_right_after_its_end(
    server: Server, script: Script, path: str, name: str, said: Any
) -> None:
    hold = Hold()
    script.answer(hold, text("Hel", "lo"))
    with server.stream(path, {"model": fresh(server, script), name: said, "stream": True}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        first = next(iter(stream)).json
        assert first.get("object", first.get("type")) in ("chat.completion.chunk", "response.created")
        assert script.wait_asked(1)
        hold.release()
        frames = stream.read()
    assert [frame.data == "[DONE]" for frame in frames[-2:]] == ([False, True] if path == CHAT else [False, False])
    assert all(frame.raw.isascii() for frame in frames)
    if path == RESPONSES:
        assert frames[-1].event == "response.completed"


@pytest.mark.parametrize(("path", "name", "said"), DOORS)
def test_silence_is_broken_by_comments(
    new_server: Callable[..., Server], models: Any, script: Script, path: str, name: str, said: Any
) -> None:
    hold = Hold()
    script.answer(hold, text("x"))
    server = new_server({**models.environment, "PERDURE_PING_SECONDS": "0.2"}).start()
    with server.stream(path, {"model": fresh(server, script), name: said, "stream": True}) as stream:
        assert next(frame for frame in stream if frame.comment is not None)
        hold.release()
        stream.read()


@pytest.mark.parametrize(("path", "name", "said"), DOORS)
def test_a_reader_that_leaves_does_not_stop_the_run(
    server: Server, script: Script, path: str, name: str, said: Any
) -> None:
    hold = Hold()
    script.answer(text("So"), hold, text(" far.")).say("Yes.")
    agent = fresh(server, script)
    with server.stream(path, {"model": agent, name: said, "stream": True}) as stream:
        next(frame for frame in stream if b"So" in frame.raw)
    hold.release()
    # The next request waits for its turn behind the run that goes on.
    assert server.post(path, {"model": agent, name: said}).status == 200
    shown = server.get(f"/v1/agents/{agent}/messages").json
    assert "So far." in [each.get("content") for each in shown]


@pytest.mark.parametrize(("path", "name", "said"), DOORS)
def test_a_request_that_an_sdk_repeats_runs_once(
    server: Server, script: Script, path: str, name: str, said: Any
) -> None:
    script.say("Once.")
    body = {"model": fresh(server, script), name: said}
    first, again = (server.post(path, body, headers={"X-Stainless-Retry-Count": count}) for count in ("0", "1"))
    assert first.json["id"] == again.json["id"]
    assert len(script.asked) == 1


def error(reply: Reply) -> dict[str, Any]:
    assert set(reply.json) == {"error"}
    assert set(reply.json["error"]) == {"message", "type", "code", "param"}
    return reply.json["error"]


@pytest.mark.parametrize(("path", "name", "said"), DOORS)
def test_a_password_is_an_api_key(
    new_server: Callable[..., Server], models: Any, script: Script, path: str, name: str, said: Any
) -> None:
    server = new_server({**models.environment, "PERDURE_PASSWORD": "sesame"}).start()
    key = {"Authorization": "Bearer sesame"}
    agent = server.post("/v1/agents/", {"model": script.handle}, headers=key).json["id"]
    script.say("Come in.")
    body = {"model": agent, name: said}
    refused = server.post(path, body, headers={"Authorization": "Bearer wrong"})
    assert (refused.status, error(refused)["code"]) == (401, "invalid_api_key")
    assert server.post(path, body, headers=key).status == 200


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"{broken", 400, "JSON"),
        (b"[]", 400, ""),
        (b'{"model": "x\\u0000"}', 400, "NUL"),
        (b"{}", 400, "model"),
        (b'{"model": 7}', 400, "model"),
    ],
)
def test_nonsense_is_refused_in_openais_words(server: Server, path: str, sent: bytes, status: int, words: str) -> None:
    reply = server.request("POST", path, body=sent, headers={"Content-Type": "application/json"})
    assert reply.status == status
    assert words in error(reply)["message"]
    assert reply.headers["x-should-retry"] == "false"


def test_a_busy_agent_may_be_asked_again(new_server: Callable[..., Server], models: Any, script: Script) -> None:
    hold = Hold()
    script.answer(hold, text("First."))
    server = new_server({**models.environment, "PERDURE_BUSY": "reject"}).start()
    agent = fresh(server, script)
    with server.stream(CHAT, {"model": agent, "messages": user("hi"), "stream": True}) as stream:
        next(iter(stream))
        refused = server.post(CHAT, {"model": agent, "messages": user("me too")})
        assert (refused.status, error(refused)["type"]) == (409, "invalid_request_error")
        assert refused.headers["retry-after"] == "2"
        assert "x-should-retry" not in refused.headers
        hold.release()
        stream.read()


def test_a_run_that_waits_when_the_server_stops_claims_no_end(
    new_server: Callable[..., Server], models: Any, script: Script
) -> None:
    hold = Hold()
    script.answer(text("One"), hold)
    server = new_server({**models.environment, "PERDURE_DRAIN_SECONDS": "30"}).start()
    agent = fresh(server, script)
    asks = [(path, {"model": agent, name: said}) for path, name, said in DOORS]
    with ThreadPoolExecutor() as pool, server.stream(CHAT, {**asks[0][1], "stream": True}) as first:
        next(frame for frame in first if b"One" in frame.raw)
        waiting = [pool.submit(server.post, path, body) for path, body in asks]
        with server.stream(RESPONSES, {**asks[1][1], "stream": True}) as second:
            next(iter(second))
            soon(lambda: len(server.get("/v1/runs/active").json) == 4)
            server.terminate()
            soon(lambda: server.get("/v1/health/ready").status == 503)
            hold.release()
            first.read()
            assert second.read()[-1].event == "response.failed"
        for refused in (each.result(30) for each in waiting):
            assert (refused.status, error(refused)["type"]) == (503, "server_error")
            assert refused.headers["x-should-retry"] == "false"
    assert server.wait() == 0


def test_what_responses_cannot_be_asked_names_the_field(server: Server, script: Script) -> None:
    body = {"model": fresh(server, script), "input": "hi"}
    for more, param in (
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input.0.content"),
    ):
        reply = server.post(RESPONSES, {**body, **more})
        assert reply.status == 400
        assert error(reply)["param"].startswith(param)
    near = [{"type": "input_image", "image_url": "http://127.0.0.1/cat.png"}]
    refused = server.post(RESPONSES, {**body, "input": [{"role": "user", "content": near}]})
    assert (refused.status, "not a public address" in error(refused)["message"]) == (400, True)
    assert json.loads(server.post(RESPONSES, body | {"model": "x"}).body)["error"]["code"] == "model_not_found"
