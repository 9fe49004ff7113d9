import asyncio
import json
import time
from email.utils import formatdate

import pytest
from multidict import CIMultiDict as CaseInsensitiveHeaders

from perdure.domain.errors import ContextOverflow, ModelError, TogetherTooLong
from perdure.providers.http import Endpoint
from perdure.providers.refusals import refusal, reported
from tests.providers.client import KEY, asking, read, refused
from tests.providers.scripted import (
    Asked,
    chunked,
    plain,
    run,
    says,
    serving,
)


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "llm_bad_request"),
        (401, "llm_authentication"),
        (402, "llm_insufficient_credits"),
        (403, "llm_authentication"),
        (404, "llm_bad_request"),
        (408, "llm_timeout"),
        (413, "llm_bad_request"),
        (422, "llm_bad_request"),
        (429, "llm_rate_limit"),
        (500, "llm_error"),
        (503, "llm_error"),
        (504, "llm_timeout"),
    ],
)
def test_each_status_has_its_error_type(status: int, error_type: str) -> None:
    error = refused(says(plain(status, b'{"error": {"message": "its own words"}}')))
    assert (error.error_type, error.detail) == (error_type, "its own words")


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.",
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "prompt is too long: 213462 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease one of them",
        "The input token count (1048600) exceeds the maximum number of tokens allowed (1048576).",
        "Input is too long for requested model.",
        "the request exceeds the available context size, try increasing it",
        "request (9731 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "Trying to keep the first 6115 tokens when context the overflows. However, the model is loaded with context "
        "length of only 4096 tokens",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "Please reduce the length of the messages or completion.",
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens "
        "exceed the limit",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        "Invalid request: Your request exceeded model token limit: 262144",
        "context_length_exceeded",
    ],
)
def test_a_request_that_was_too_long_is_told_from_other_refusals(message: str) -> None:
    body = json.dumps({"error": {"message": message}}).encode()
    assert isinstance(refused(says(plain(400, body))), ContextOverflow)
    assert not isinstance(refused(says(plain(429, body))), ContextOverflow)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.", 8192),
        ("prompt is too long: 213462 tokens > 200000 maximum", 200_000),
        ("request (9731 tokens) exceeds the available context size (4,096 tokens), try increasing it", 4096),
        ("However, the model is loaded with context length of only 4096 tokens", 4096),
        ("Your input exceeds the context window of this model.", None),
        ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", None),
    ],
)
def test_how_much_a_model_holds_is_read_where_a_refusal_says_it(message: str, limit: int | None) -> None:
    error = refused(says(plain(400, json.dumps({"error": {"message": message}}).encode())))
    assert isinstance(error, ContextOverflow)
    assert error.limit == limit


def test_prompts_that_are_too_long_together_only_may_pass_later() -> None:
    body = b'{"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}'
    error = refused(says(plain(500, body)))
    assert isinstance(error, TogetherTooLong)
    assert error.transient


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens must be at least 1",
        "Invalid value for 'temperature': must be at most 2",
        "Rate limit reached: tokens per minute limit exceeded",
        "An assistant message with 'tool_calls' must be followed by tool messages",
        "The image is too large: at most 5 MB",
    ],
)
def test_other_refusals_are_not_taken_for_one_of_length(message: str) -> None:
    assert not isinstance(refused(says(plain(400, json.dumps({"error": message}).encode()))), ContextOverflow)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"error": {"message": "a", "type": "b"}}, "a"),
        ({"error": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ({"detail": [{"loc": ["body"], "msg": "a"}, {"msg": "b"}]}, "a; b"),
        ({"message": "a"}, "a"),
        ([{"error": {"message": "a"}}], "a"),
        ({"error": {"code": 7}}, "error {'code': 7}"),
        ({"unknown": "shape"}, '{"unknown": "shape"}'),
        ({"error": {"message": "lone \ud83d, nul \0"}}, "lone \ufffd, nul \ufffd"),
    ],
)
def test_the_providers_own_message_is_found(body: object, detail: str) -> None:
    assert refused(says(plain(500, json.dumps(body).encode()))).detail == detail


def test_text_without_json_is_cut_and_an_empty_body_is_named() -> None:
    assert refused(says(plain(502, b"x" * 900, "text/html"))).detail == "x" * 500
    assert refused(says(plain(502, b""))).detail == "HTTP 502 without a message"


def test_the_key_is_never_repeated() -> None:
    error = refused(says(plain(401, json.dumps({"error": {"message": f"bad key {KEY}!"}}).encode())))
    assert error.detail == "bad key [key]!"
    assert KEY not in repr(Endpoint(name="box", url="http://x", headers={"Authorization": KEY}, key=KEY))


@pytest.mark.parametrize(
    ("headers", "message", "expected"),
    [
        ({"Retry-After": "7"}, "", 7.0),
        ({"Retry-After": "0.5"}, "", 0.5),
        ({"Retry-After": "-3"}, "", 0.0),
        ({"Retry-After": "inf"}, "", None),
        ({"Retry-After": "soon"}, "", None),
        ({"Retry-After": ""}, "", None),
        ({"Retry-After": "999999999"}, "", 999999999.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0.0),
        ({"Retry-After": "Wed, 99 Foo 99999 07:28:00 GMT"}, "", None),
        ({"Retry-After": "2", "retry-after-ms": "1500"}, "", 1.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, "", 360.0),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, "", None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "350ms"}, "", 0.35),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, "", 12.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1000000000001"}, "", 0.0),
        (
            {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2020-01-01T00:00:00Z"},
            "", 0.0,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "never"}, "", None),
        ({}, "Rate limit reached for gpt-5 on tokens per min. Please try again in 20s. Visit https://x", 20.0),
        ({}, "Please try again in 1h6m0.5s.", 3960.5),
        ({}, "Please try again in 350ms.", 0.35),
        ({}, "You exceeded your current quota. Please retry in 34.07s.", 34.07),
        ({}, "Too many requests. Retry after 3 seconds", 3.0),
        ({"Retry-After": "1"}, "Please try again in 20s.", 1.0),
        ({}, "Please try again in a while.", None),
    ],
)  # fmt: skip
def test_when_to_come_back_is_read_in_each_form(headers: dict[str, str], message: str, expected: float | None) -> None:
    error = refusal(429, CaseInsensitiveHeaders(headers), json.dumps({"error": {"message": message}}).encode(), "")
    assert error.retry_after == expected


def test_retry_after_as_a_date_and_over_the_network() -> None:
    after = refused(says(plain(503, b"{}", Retry_After=formatdate(time.time() + 60, usegmt=True)))).retry_after
    assert after is not None
    assert 50 < after <= 61


def test_when_to_come_back_stands_in_errors_inside_a_stream_too() -> None:
    error = reported({"error": {"code": "rate_limit_exceeded", "message": "Please try again in 20s."}}, "")
    assert error is not None
    assert (error.retry_after, error.transient) == (20.0, True)


def test_an_error_body_without_end_is_not_read_to_its_end() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(chunked(b"x" * 4096))
            await writer.drain()

    assert refused(answer).detail == "x" * 500


@pytest.mark.parametrize("location", ["http://[::1/", "http://models.example:port/", "//", "\u00e9", "x" * 5000])
def test_a_redirect_to_nowhere_is_named(location: str) -> None:
    assert "redirects to" in refused(says(plain(302, b"", Location=location))).detail


def test_a_server_that_speaks_no_http_is_named() -> None:
    assert "other than HTTP" in refused(says(b"PRI * HTTP/2.0\r\n\r\n")).detail


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_named_and_never_followed(status: int) -> None:
    async def go() -> tuple[ModelError, int]:
        async with serving(says(plain(200, b"{}"))) as other:
            location = f"{other.url}/v1?token=t"
            async with asking(says(plain(status, b"", Location=location))) as (client, endpoint, _):
                with pytest.raises(ModelError) as raised:
                    await read(client, endpoint)
                return raised.value, len(other.asked)

    error, asked_elsewhere = run(go())
    assert asked_elsewhere == 0
    assert "redirects to" in error.detail
    assert "token" not in error.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (plain(200, b"<!doctype html><p>Welcome", "text/html"), "text/html instead of an event stream"),
        (plain(200, b"  <html>", "text/event-stream"), "an event stream that is none"),
        (plain(200, b'{"choices": []}'), "application/json instead of an event stream"),
        (plain(200, b'{"error": {"message": "no such model"}}'), "no such model"),
        (plain(200, b'{"error": {"message": "no such model"}}', "text/event-stream"), "no such model"),
    ],
)
def test_an_answer_that_is_no_stream_is_named(answer: bytes, words: str) -> None:
    error = refused(says(answer))
    assert error.error_type == "llm_error"
    assert words in error.detail


def test_an_error_object_with_a_status_in_it_keeps_its_meaning() -> None:
    error = refused(says(plain(200, b'{"error": {"code": 429, "message": "slow down"}}')))
    assert (error.error_type, error.detail) == ("llm_rate_limit", "slow down")
