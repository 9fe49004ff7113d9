import asyncio
from typing import Any

import pytest

from perdure.domain.errors import ModelError
from perdure.domain.models import ModelSettings
from perdure.providers.base import AnyDelta, Finished, ModelRequest, TextDelta, UsageDelta
from perdure.providers.gemini_body import UNSEALED
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.remote import RemoteProvider
from tests.providers.chat import HELLO, KINDS, SYSTEM, call, message, returned
from tests.providers.client import QUICK
from tests.providers.gemini import STOP, chunk, exchange, failure, function_call, read, signed, text, thought
from tests.providers.scripted import END, SSE, Answer, Asked, chunked, events, plain, run, says, serving, streams

MALFORMED = chunk(finish="MALFORMED_FUNCTION_CALL")
DONE = chunk(text("done"), finish="STOP")
CORRUPT = b'{"error": {"code": 400, "message": "Corrupted thought signature.", "status": "INVALID_ARGUMENT"}}'
MISSING = b'{"error": {"code": 400, "message": "Function call is missing a thought_signature in functionCall parts."}}'
CALLED = (SYSTEM, HELLO, message("assistant", signed(call("c1"), "s1")), returned("c1"))
TALK = (
    chunk(thought("hm", "s0")),
    chunk(text("Hello"), usageMetadata={"promptTokenCount": 3}),
    chunk(function_call("add", "s1", {"a": 1}, id="c1"), function_call("say", id="c2")),
    chunk(text(""), finish="STOP", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 9}),
)


def said(events_told: int) -> list[AnyDelta]:
    """What the first events of that answer come to."""
    return [d for d in read(*TALK[:events_told], STOP) if not isinstance(d, Finished | UsageDelta)]


def in_turn(*answers: Answer) -> Answer:
    """Each request gets the next of the answers."""
    left = list(answers)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await left.pop(0)(asked, writer)

    return answer


def seals(asked: Asked) -> list[str | None]:
    """The signatures on the calls in what was asked."""
    parts = [part for content in asked.json["contents"] for part in content["parts"]]
    return [part.get("thoughtSignature") for part in parts if "functionCall" in part]


def test_where_and_how_it_is_asked() -> None:
    _, [asked], _ = exchange(streams(*events(STOP)), model="tuned@1/x?y")
    assert asked.method == "POST"
    assert asked.path == "/v1beta/models/tuned@1%2Fx%3Fy:streamGenerateContent?alt=sse"


def test_an_answer_written_byte_by_byte_is_the_same() -> None:
    whole = b"".join(events(*TALK))
    got, _, error = exchange(says(SSE, *(chunked(whole[at : at + 1]) for at in range(len(whole))), END))
    assert error is None
    assert got == read(*TALK)


@pytest.mark.parametrize("at", range(len(TALK)))
def test_a_provider_that_hangs_up_after_any_event_leaves_what_it_said(at: int) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + b"".join(map(chunked, events(*TALK[:at]))))
        await writer.drain()
        writer.close()

    got, asked, error = exchange(answer)
    assert len(asked) == 1
    assert error is not None
    assert (error.error_type, "lost the connection" in error.detail) == ("llm_error", True)
    assert got == said(at)


def test_a_connection_lost_after_the_finish_is_no_error() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + b"".join(map(chunked, events(*TALK))))
        await writer.drain()
        writer.close()

    got, _, error = exchange(answer)
    assert error is None
    assert got == read(*TALK)


@pytest.mark.parametrize("at", range(1, len(TALK)))
def test_whoever_stops_listening_hangs_up_on_the_provider(at: int) -> None:
    """After any event: the provider must not go on writing for nobody."""

    async def go() -> None:
        async with serving(says(SSE, *map(chunked, events(*TALK[:at])))) as server:
            http = HttpClient()
            provider = RemoteProvider(http, Endpoint(name="g", url=f"{server.url}/v1beta"), KINDS["google_ai"])
            stream = provider.stream(ModelRequest(model=provider.model("gemini-3.8-flash"), messages=(SYSTEM, HELLO)))
            taken: list[AnyDelta] = []
            while len(taken) < len(said(at)):
                taken += await anext(stream)
            await stream.aclose()
            await server.hung_up.wait()
            await http.close()

    run(go())


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "llm_bad_request"),
        (401, "llm_authentication"),
        (402, "llm_insufficient_credits"),
        (403, "llm_authentication"),
        (404, "llm_bad_request"),
        (429, "llm_rate_limit"),
        (500, "llm_error"),
        (503, "llm_error"),
        (529, "llm_error"),
    ],
)
def test_refusals_keep_googles_words(status: int, error_type: str) -> None:
    refusal = b'{"error": {"code": %d, "message": "Because.", "status": "WHY"}}' % status
    got, asked, error = exchange(says(plain(status, refusal)))
    assert (got, len(asked)) == ([], 1)
    assert error is not None
    assert (error.error_type, error.detail) == (error_type, "Because.")


def test_a_key_that_is_none_and_a_limit_that_passes_are_told_by_their_details() -> None:
    reason = b'{"error": {"code": 400, "message": "m", "details": [{"reason": "API_KEY_INVALID"}, 7]}}'
    assert refused_with(400, reason).error_type == "llm_authentication"
    delay = b'{"error": {"code": 429, "message": "m", "details": [{"retryDelay": "34.5s"}]}}'
    assert refused_with(429, delay).retry_after == 34.5
    assert refused_with(429, delay.replace(b"34.5s", b"soon")).retry_after is None
    assert refused_with(429, delay, Retry_After="3").retry_after == 3.0


def refused_with(status: int, refusal: bytes, **headers: str) -> ModelError:
    _, _, error = exchange(says(plain(status, refusal, **headers)))
    assert error is not None
    return error


@pytest.mark.parametrize("said", [(), (TALK[1],)], ids=["before the first byte", "in between"])
def test_silence_is_a_timeout(said: tuple[Any, ...]) -> None:
    answer = says(SSE, *map(chunked, events(*said))) if said else says()
    got, _, error = exchange(answer, limits=QUICK)
    assert error is not None
    assert error.error_type == "llm_timeout"
    assert got == [TextDelta("Hello")] * len(said)


@pytest.mark.parametrize("refusal", [CORRUPT, MISSING])
def test_signatures_google_does_not_know_again_are_left_out(refusal: bytes) -> None:
    """An account or a key was changed: the agent must not be lost over it."""
    answer = in_turn(says(plain(400, refusal)), streams(*events(DONE)))
    got, asked, error = exchange(answer, *CALLED, model="gemini-2.5-flash")
    assert error is None
    assert got[0] == TextDelta("done")
    assert [seals(each) for each in asked] == [["s1"], [UNSEALED]]


def test_a_signature_missed_inside_the_stream_is_made_good_too() -> None:
    answer = in_turn(streams(*events(chunk(finish="MISSING_THOUGHT_SIGNATURE"))), streams(*events(DONE)))
    got, asked, error = exchange(answer, *CALLED)
    assert (len(got), len(asked), error) == (2, 2, None)


def test_signatures_are_left_out_only_once() -> None:
    got, asked, error = exchange(says(plain(400, CORRUPT)), *CALLED)
    assert (got, len(asked)) == ([], 2)
    assert error is not None
    assert error.error_type == "llm_bad_request"


def test_a_model_that_cannot_be_told_how_to_think_is_told_nothing() -> None:
    refusal = b'{"error": {"code": 400, "message": "Thinking level MEDIUM is not supported for this model."}}'
    settings = ModelSettings(reasoning_effort="medium", temperature=0.5)
    got, asked, error = exchange(in_turn(says(plain(400, refusal)), streams(*events(DONE))), settings=settings)
    assert (got[0], error) == (TextDelta("done"), None)
    assert ["thinkingConfig" in each.json["generationConfig"] for each in asked] == [True, False]
    assert asked[1].json["generationConfig"] == {"temperature": 0.5}
    assert len(exchange(says(plain(400, refusal)))[1]) == 2


def test_a_model_that_wrote_an_unreadable_call_is_asked_again() -> None:
    answer = in_turn(*(streams(*events(each)) for each in (MALFORMED, MALFORMED, DONE)))
    got, asked, error = exchange(answer)
    assert (got, len(asked), error) == ([TextDelta("done"), Finished("stop")], 3, None)


def test_it_is_not_asked_for_ever_nor_once_something_was_shown() -> None:
    assert "MALFORMED_FUNCTION_CALL" in failure(MALFORMED).detail
    _, asked, _ = exchange(streams(*events(MALFORMED)))
    assert len(asked) == 3
    got, asked, error = exchange(streams(*events(chunk(text("I will")), MALFORMED)))
    assert (got, len(asked)) == ([TextDelta("I will")], 1)
    assert error is not None


def test_an_answer_longer_than_one_request_goes_on_with_the_next() -> None:
    first = chunk(text("one "), finish="CONTINUATION", usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 2})
    first["candidates"][0]["continuationToken"] = "next-1"
    last = chunk(text("two"), finish="STOP", usageMetadata={"promptTokenCount": 6, "candidatesTokenCount": 1})
    got, asked, error = exchange(in_turn(streams(*events(first)), streams(*events(last))))
    assert error is None
    assert [d.text for d in got if isinstance(d, TextDelta)] == ["one ", "two"]
    assert [d.usage.completion_tokens for d in got if isinstance(d, UsageDelta)] == [3]
    assert got[-1] == Finished("stop")
    assert [each.json.get("continuationToken") for each in asked] == [None, "next-1"]


def test_an_answer_that_does_not_get_on_ends_there() -> None:
    stuck = chunk(text("x"), finish="CONTINUATION")
    stuck["candidates"][0]["continuationToken"] = "same"
    got, asked, error = exchange(streams(*events(stuck)))
    assert (len(asked), error, got[-1]) == (2, None, Finished("length"))


def test_one_connection_serves_one_answer_after_another() -> None:
    async def go() -> int:
        async with serving(streams(*events(*TALK))) as server:
            http = HttpClient()
            provider = RemoteProvider(http, Endpoint(name="g", url=f"{server.url}/v1beta"), KINDS["google_ai"])
            request = ModelRequest(model=provider.model("gemini-3.8-flash"), messages=(SYSTEM, HELLO))
            for _ in range(3):
                assert [batch async for batch in provider.stream(request)]
            await http.close()
            return server.connections

    assert run(go()) == 1
