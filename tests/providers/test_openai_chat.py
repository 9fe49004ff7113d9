import asyncio
from typing import Any

import msgspec
import pytest

from perdure.domain.errors import ModelError
from perdure.domain.runs import Usage
from perdure.providers.base import (
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    UsageDelta,
)
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.remote import RemoteProvider
from tests.providers.chat import (
    HELLO,
    KINDS,
    STOP,
    SYSTEM,
    asked,
    chunk,
    deltas,
    failure,
    fragment,
    shape,
)
from tests.providers.scripted import END, SSE, Asked, chunked, events, plain, run, says, serving, streams


def test_text_in_pieces_with_usage_of_its_own() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    got = deltas(
        chunk({"role": "assistant", "content": ""}, usage=None),
        chunk({"content": "Hel"}, usage=None),
        chunk({"content": "lo"}),
        chunk(finish_reason="stop"),
        {"choices": [], "usage": usage},
    )
    reported = Usage(
        prompt_tokens=10,
        completion_tokens=4,
        total_tokens=14,
        step_count=1,
        cached_input_tokens=6,
        reasoning_tokens=2,
        context_tokens=14,
    )
    assert got == [TextDelta("Hel"), TextDelta("lo"), UsageDelta(reported), Finished("stop")]


@pytest.mark.parametrize(
    "closing",
    [
        {**chunk(finish_reason="stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        {**chunk(finish_reason="stop"), "x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
        {"choices": [{"delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}]},
    ],
)
def test_usage_on_the_last_chunk_wherever_it_stands(closing: dict[str, Any]) -> None:
    got = deltas(chunk({"content": "x"}), closing)
    assert [(d.usage.prompt_tokens, d.usage.total_tokens) for d in got if isinstance(d, UsageDelta)] == [(1, 3)]


def test_usage_on_every_chunk_is_reported_once() -> None:
    got = deltas(*(chunk({"content": "x"}, usage={"prompt_tokens": 1, "completion_tokens": n}) for n in (1, 2)), STOP)
    assert [d.usage.completion_tokens for d in got if isinstance(d, UsageDelta)] == [2]


def test_usage_that_makes_no_sense_is_no_error() -> None:
    got = deltas(STOP, {"choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": -1}})
    assert [d.usage.total_tokens for d in got if isinstance(d, UsageDelta)] == [0]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_under_either_name(name: str) -> None:
    got = deltas(chunk({name: "Let me "}), chunk({name: "see."}), chunk({"content": "Yes."}), STOP)
    assert got == [ReasoningDelta("Let me "), ReasoningDelta("see."), TextDelta("Yes."), Finished("stop")]


def test_reasoning_sent_under_both_names_is_one() -> None:
    got = deltas(chunk({"reasoning": "a", "reasoning_content": "a", "content": ""}), STOP)
    assert got == [ReasoningDelta("a"), Finished("stop")]


def test_content_as_a_list_of_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "ok"}, 7]
    assert deltas(chunk({"content": parts}), STOP)[:2] == [ReasoningDelta("hm"), TextDelta("ok")]


def test_a_refusal_is_text() -> None:
    assert deltas(chunk({"content": None, "refusal": "I cannot."}), STOP)[0] == TextDelta("I cannot.")


@pytest.mark.parametrize("model", ["o3", "gpt-5", "gpt-5.1-mini", "o1-2024-12-17"])
def test_openai_reasoning_models_show_that_they_hide_their_reasoning(model: str) -> None:
    got = deltas(chunk({"content": "x"}), STOP, model=model)
    assert got == [HiddenReasoningDelta("omitted"), TextDelta("x"), Finished("stop")]


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-5-chat-latest"), ("openai", "gpt-4o"), ("vllm", "o3")])
def test_others_hide_nothing(provider: str, model: str) -> None:
    assert deltas(chunk({"content": "x"}), STOP, kind=KINDS[provider], model=model)[0] == TextDelta("x")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("something_new", "stop"),
    ],
)
def test_finish_reasons(given: str, reason: str) -> None:
    assert deltas(chunk({"content": "x"}), chunk(finish_reason=given))[-1] == Finished(reason)


def test_an_empty_answer_is_just_finished() -> None:
    assert deltas(chunk({"role": "assistant", "content": ""}), STOP) == [Finished("stop")]


def test_the_end_mark_may_be_missing_once_the_model_has_finished() -> None:
    got, _ = asked(streams(*events(chunk({"content": "x"}), STOP)))
    assert got == [TextDelta("x"), Finished("stop")]


def test_a_connection_lost_after_the_finish_is_no_error() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + b"".join(map(chunked, events(chunk({"content": "x"}), STOP))))
        writer.close()

    assert asked(answer)[0] == [TextDelta("x"), Finished("stop")]


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_a_surrogate_pair_cut_between_chunks_is_joined(field: str) -> None:
    got = deltas(
        f'{{"choices":[{{"delta":{{"{field}":"a\\ud83d"}}}}]}}',
        f'{{"choices":[{{"delta":{{"{field}":"\\ude00b"}}}}]}}',
        STOP,
    )
    assert shape(got) == ["a", "\U0001f600b"]


def test_a_pair_cut_within_the_arguments_of_interleaved_calls() -> None:
    got = deltas(
        chunk({"tool_calls": [fragment(index=0, id="a", name="add"), fragment(index=1, id="b", name="say")]}),
        '{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"\\ud83d"}}]}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"\\ude00"}}]}}]}',
        STOP,
    )
    assert shape(got)[2:] == [(1, None, None, "\U0001f600")]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["\\ud83d", "x"], "\ufffdx"),
        (["\\ude00x"], "\ufffdx"),
        (["x\\ud83d"], "x\ufffd"),
        (["\\ud83d\\ud83d", "\\ude00"], "\ufffd\U0001f600"),
        (["a\\u0000b"], "a\ufffdb"),
        (["\\ud83d", "\\u0000"], "\ufffd\ufffd"),
        (["\\ud83d\\ude00"], "\U0001f600"),
    ],
)
def test_text_that_cannot_be_stored_is_replaced(pieces: list[str], text: str) -> None:
    got = deltas(*(f'{{"choices":[{{"delta":{{"content":"{piece}"}}}}]}}' for piece in pieces), STOP)
    assert "".join(shape(got)) == text
    text.encode()


def test_half_a_pair_does_not_wander_into_another_channel() -> None:
    got = deltas(
        '{"choices":[{"delta":{"reasoning_content":"\\ud83d"}}]}',
        '{"choices":[{"delta":{"content":"\\ude00"}}]}',
        STOP,
    )
    assert got == [ReasoningDelta("\ufffd"), TextDelta("\ufffd"), Finished("stop")]


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    raw = b'data: {"choices":[{"delta":{"content":"a\xff\xc3"}}]}\n\n'
    got, _ = asked(streams(raw, *events(STOP, "[DONE]")))
    assert got == [TextDelta("a\ufffd\ufffd"), Finished("stop")]


def test_line_breaks_and_frames_inside_the_text_stay_text() -> None:
    text = "data: x\n\nevent: error\r\n\r\n[DONE]\n\n"
    assert deltas(chunk({"content": text}), chunk({"content": "[DONE]"}), STOP)[:2] == [
        TextDelta(text),
        TextDelta("[DONE]"),
    ]


@pytest.mark.parametrize("ending", [[], ["[DONE]"]], ids=["end of stream", "end mark"])
def test_an_answer_without_a_finish_reason_was_cut(ending: list[str]) -> None:
    error = failure(chunk({"content": "Hel"}), *ending)
    assert error.error_type == "llm_error"
    assert "ended before" in error.detail


@pytest.mark.parametrize(
    ("reported", "error_type", "detail"),
    [
        ({"error": {"message": "overloaded", "code": 503}}, "llm_error", "overloaded"),
        ({"error": {"message": "slow down", "code": 429}}, "llm_rate_limit", "slow down"),
        ({"error": "broken"}, "llm_error", "broken"),
        ({"object": "error", "message": "too long", "code": 400}, "llm_bad_request", "too long"),
        ({"detail": "no"}, "llm_error", "no"),
        ({**chunk({}, "error"), "error": {"code": "502", "message": "upstream"}}, "llm_error", "upstream"),
    ],
)
def test_errors_inside_a_stream(reported: dict[str, Any], error_type: str, detail: str) -> None:
    error = failure(chunk({"content": "x"}), reported)
    assert (error.error_type, error.detail) == (error_type, detail)


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource"])
def test_a_finish_that_is_a_failure(reason: str) -> None:
    assert reason in failure(chunk({"content": "x"}), chunk(finish_reason=reason), "[DONE]").detail


@pytest.mark.parametrize("nonsense", ["<html>", '{"choices": [', "[" * 100_000, "[]", "null", '{"choices": 7}'])
def test_nonsense_is_named(nonsense: str) -> None:
    error = failure(chunk({"content": "x"}), nonsense)
    assert error.error_type == "llm_error"
    assert "sent a chunk" in error.detail


@pytest.mark.parametrize(
    "harmless", [{}, {"choices": []}, {"choices": [], "prompt_filter_results": []}, {"choices": None}]
)
def test_chunks_that_say_nothing_are_passed_over(harmless: dict[str, Any]) -> None:
    assert deltas(harmless, chunk({"content": "x"}), harmless, STOP) == [TextDelta("x"), Finished("stop")]


def test_what_came_before_an_error_in_the_same_read_is_not_lost() -> None:
    got: list[AnyDelta] = []

    async def go() -> ModelError:
        one_read = b"".join(events(chunk({"content": "kept"}), {"error": {"message": "gone"}}))
        async with serving(says(SSE, chunked(one_read))) as server:
            http = HttpClient()
            provider = RemoteProvider(http, Endpoint(name="openai", url=server.url), KINDS["openai"])
            request = ModelRequest(model=provider.model("gpt-4o"), messages=(SYSTEM, HELLO))
            stream = provider.stream(request)
            got.extend(await anext(stream))
            with pytest.raises(ModelError) as raised:
                await anext(stream)
            await http.close()
            return raised.value

    assert run(go()).detail == "gone"
    assert got == [TextDelta("kept")]


def test_a_refused_request_raises_with_the_providers_words() -> None:
    with pytest.raises(ModelError) as raised:
        asked(says(plain(429, b'{"error": {"message": "later"}}', Retry_After="3")))
    assert (raised.value.error_type, raised.value.detail) == ("llm_rate_limit", "later")
    assert raised.value.retry_after == 3.0


def test_a_long_answer_arrives_whole() -> None:
    words = [f"word{n} " for n in range(5000)]
    encoded = b"".join(events(*(chunk({"content": word}) for word in words), STOP, "[DONE]"))
    answer = says(SSE, *(chunked(encoded[at : at + 7919]) for at in range(0, len(encoded), 7919)), END)
    got, _ = asked(answer)
    assert [msgspec.to_builtins(delta)["text"] for delta in got[:-1]] == words
