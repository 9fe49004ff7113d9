"""Anthropic's dialect and what can go wrong on the way: refusals, silence, answers that are something else."""

import asyncio
import json
from typing import Any

import pytest

from perdure.providers.base import TextDelta
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.remote import RemoteProvider
from tests.providers.cataloguing import listed, report_of, windows
from tests.providers.chat import ADD, HELLO, KINDS, message
from tests.providers.claude import asked, broken, request, shape, sse, start, text, thought, whole
from tests.providers.scripted import END, SSE, Asked, chunked, plain, run, says, serving, streams

QUICK = Limits(connect=5.0, first_byte=0.4, gap=0.2)


def refusal(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "error_type"),
    [
        (400, "invalid_request_error", "llm_bad_request"),
        (401, "authentication_error", "llm_authentication"),
        (402, "billing_error", "llm_insufficient_credits"),
        (403, "permission_error", "llm_authentication"),
        (404, "not_found_error", "llm_bad_request"),
        (413, "request_too_large", "llm_bad_request"),
        (429, "rate_limit_error", "llm_rate_limit"),
        (500, "api_error", "llm_error"),
        (503, "api_error", "llm_error"),
        (504, "timeout_error", "llm_timeout"),
        (529, "overloaded_error", "llm_error"),
    ],
)
def test_refusals(status: int, kind: str, error_type: str) -> None:
    got, error = broken(says(plain(status, refusal(kind, "No."), Retry_After="3")))
    assert (got, error.error_type, error.detail, error.retry_after) == ([], error_type, "No.", 3.0)


def test_an_account_without_credits_is_told_so() -> None:
    body = refusal("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")
    assert broken(says(plain(400, body)))[1].error_type == "llm_insufficient_credits"


@pytest.mark.parametrize(
    ("answer", "error_type", "words"),
    [
        (plain(200, refusal("overloaded_error", "Overloaded")), "llm_error", "Overloaded"),
        (plain(200, refusal("rate_limit_error", "Slowly")), "llm_rate_limit", "Slowly"),
        (plain(200, b"<html>Sign in</html>", "text/html"), "llm_error", "instead of an event stream"),
        (plain(200, b'{"type": "message", "content": []}'), "llm_error", "instead of an event stream"),
        (plain(200, b"", "text/event-stream"), "llm_error", "no message_stop"),
        (plain(502, b"<html>Bad gateway</html>", "text/html"), "llm_error", "Bad gateway"),
    ],
)
def test_answers_that_are_something_else(answer: bytes, error_type: str, words: str) -> None:
    got, error = broken(says(answer))
    assert (got, error.error_type) == ([], error_type)
    assert words in error.detail


@pytest.mark.parametrize(
    "words",
    [
        "Invalid `signature` in `thinking` block. The block is bound to a different conversation.",
        "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
        "Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
    ],
)
def test_thoughts_that_are_refused_are_left_out_the_second_time(words: str) -> None:
    bodies: list[dict[str, Any]] = []

    async def picky(asked: Asked, writer: asyncio.StreamWriter) -> None:
        bodies.append(asked.json)
        refused = len(bodies) == 1
        answer = (
            says(plain(400, refusal("invalid_request_error", words)))
            if refused
            else streams(*sse(*whole(text(0, "x"))))
        )
        await answer(asked, writer)

    history = (HELLO, message("assistant", thought("hm"), "Yes."), HELLO)
    assert shape(asked(picky, *history)[0]) == [TextDelta("x")]
    assert [[b["type"] for b in body["messages"][1]["content"]] for body in bodies] == [["thinking", "text"], ["text"]]


def test_a_model_that_takes_less_than_is_known_of_it_is_asked_for_less() -> None:
    words = "adaptive thinking is not supported on this model"
    bodies: list[dict[str, Any]] = []

    async def picky(asked: Asked, writer: asyncio.StreamWriter) -> None:
        bodies.append(asked.json)
        refused = says(plain(400, refusal("invalid_request_error", words)))
        await (refused if len(bodies) == 1 else streams(*sse(*whole(text(0, "x")))))(asked, writer)

    history = (HELLO, message("assistant", thought("hm"), "Yes."), HELLO)
    settings = {"reasoning_effort": "high", "temperature": 0.5}
    assert shape(asked(picky, *history, tools=(ADD,), settings=settings)[0]) == [TextDelta("x")]
    assert bodies[0]["output_config"] == {"effort": "high"}
    assert bodies[1].keys() == {"model", "stream", "max_tokens", "messages", "tools", "tool_choice"}
    assert [block["type"] for block in bodies[1]["messages"][1]["content"]] == ["text"]


def test_what_is_refused_twice_is_refused() -> None:
    refused = refusal("invalid_request_error", "Invalid `signature` in `thinking` block.")
    assert broken(says(plain(400, refused)))[1].error_type == "llm_bad_request"


def test_silence_before_the_first_byte_and_between_two() -> None:
    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    assert broken(silent, QUICK)[1].error_type == "llm_timeout"
    got, error = broken(says(SSE, *map(chunked, sse(start(), *text(0, "Hel")))), QUICK)
    assert (shape(got), error.error_type) == ([TextDelta("Hel")], "llm_timeout")


def test_pings_keep_a_stream_alive() -> None:
    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        for _ in range(6):
            writer.write(chunked(b'event: ping\ndata: {"type": "ping"}\n\n'))
            await asyncio.sleep(QUICK.gap / 2)
        writer.write(b"".join(map(chunked, sse(*whole(text(0, "x"))))) + END)

    assert shape(asked(slow, limits=QUICK)[0]) == [TextDelta("x")]


def test_one_connection_serves_answer_after_answer() -> None:
    async def go() -> int:
        async with serving(streams(*sse(*whole(text(0, "x"))))) as server:
            http = HttpClient()
            provider = RemoteProvider(http, Endpoint(name="anthropic", url=server.url), KINDS["anthropic"])
            for _ in range(3):
                assert [delta async for batch in provider.stream(request()) for delta in batch]
            await http.close()
            return server.connections

    assert run(go()) == 1


MODELS = {
    "/v1/models?limit=1000": {
        "data": [
            {"type": "model", "id": "claude-opus-5-5", "max_input_tokens": 900_000, "max_tokens": 128_000},
            {"type": "model", "id": "claude-haiku-4-5-20251001", "lifecycle": "deprecated"},
            {"type": "model", "id": "claude-3-opus-20240229", "lifecycle": "retired"},
        ],
        "has_more": True,
        "first_id": "claude-opus-5-5",
        "last_id": "claude-haiku-4-5-20251001",
    },
    "/v1/models?limit=1000&after_id=claude-haiku-4-5-20251001": {
        "data": [{"type": "model", "id": "claude-sonnet-4-6"}],
        "has_more": False,
    },
}


def test_models_are_listed_page_by_page_with_their_windows() -> None:
    models = listed(MODELS, "ANTHROPIC_BASE_URL", "")
    assert windows(models[:-1]) == {
        "anthropic/claude-opus-5-5": 900_000,
        "anthropic/claude-haiku-4-5-20251001": 200_000,
        "anthropic/claude-sonnet-4-6": 1_000_000,
    }
    assert (models[0].provider_type, models[0].endpoint_type) == ("anthropic", "anthropic")


def test_a_list_without_end_is_left() -> None:
    after = ["", *(f"&after_id={number}" for number in range(30))]
    replies = {
        f"/v1/models?limit=1000{begin}": {"data": [{"id": f"claude-{at}"}], "has_more": True, "last_id": str(at)}
        for at, begin in enumerate(after)
    }
    assert len(report_of(replies, "ANTHROPIC_BASE_URL").models) == 20


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_key_and_the_version_go_in_headers_of_their_own(suffix: str) -> None:
    seen: list[Asked] = []

    def reply(asked: Asked) -> object:
        seen.append(asked)
        return {"data": []}

    listed({"/v1/models?limit=1000": reply}, "ANTHROPIC_BASE_URL", suffix, ANTHROPIC_API_KEY="sk-ant")
    assert seen[0].headers["x-api-key"] == "sk-ant"
    assert seen[0].headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen[0].headers
