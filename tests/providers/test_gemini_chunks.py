from typing import Any

import pytest

from perdure.domain.messages import ReasoningPart, TextPart, ToolCallPart
from perdure.domain.runs import Usage
from perdure.providers.base import Finished, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from perdure.providers.gemini_chunks import ChunkReader
from tests.providers.chat import call, message
from tests.providers.gemini import (
    ENDPOINT,
    STOP,
    chunk,
    deltas,
    function_call,
    kept,
    raised,
    read,
    text,
    thought,
)
from tests.providers.scripted import events

KEPT = "google_ai"


def test_text_in_pieces_with_what_it_cost() -> None:
    cost = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 1,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 6,
        "cachedContentTokenCount": 3,
        "totalTokenCount": 21,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
    }
    got = deltas(
        chunk(text("Hel"), usageMetadata={"promptTokenCount": 10, "totalTokenCount": 10}),
        chunk(text("lo"), finish="STOP", usageMetadata=cost, modelVersion="gemini-3.8-flash", responseId="r"),
    )
    usage = Usage(
        prompt_tokens=11,
        completion_tokens=10,
        total_tokens=21,
        step_count=1,
        cached_input_tokens=3,
        reasoning_tokens=6,
        context_tokens=21,
    )
    assert got == [TextDelta("Hel"), TextDelta("lo"), UsageDelta(usage), Finished("stop")]


@pytest.mark.parametrize("counts", [{"promptTokenCount": "many"}, {"promptTokenCount": -1}, "none", {}])
def test_usage_that_makes_no_sense_is_no_error(counts: Any) -> None:
    got = read(chunk(text("x"), finish="STOP", usageMetadata=counts))
    assert got == [TextDelta("x"), Finished("stop")]


def test_counts_as_text_or_fractions_are_read() -> None:
    got = read(chunk(text("x"), finish="STOP", usageMetadata={"promptTokenCount": "7", "candidatesTokenCount": 2.0}))
    assert [(d.usage.prompt_tokens, d.usage.total_tokens) for d in got if isinstance(d, UsageDelta)] == [(7, 9)]


def test_thoughts_are_reasoning() -> None:
    got = read(chunk(thought("Let me ")), chunk(thought("see.")), chunk(text("Yes."), finish="STOP"))
    assert got == [ReasoningDelta("Let me "), ReasoningDelta("see."), TextDelta("Yes."), Finished("stop")]


def test_calls_come_whole_with_ids_of_the_providers_or_our_own() -> None:
    got = read(
        chunk(function_call("add", args={"a": 1, "b": ["é"]}, id="fc-1"), function_call("say")), chunk(finish="STOP")
    )
    first, second = [d for d in got if isinstance(d, ToolCallDelta)]
    assert (first.index, first.call_id, first.name, first.arguments) == (0, "fc-1", "add", '{"a":1,"b":["é"]}')
    assert (second.index, second.name, second.arguments) == (1, "say", "{}")
    assert second.call_id is not None
    assert second.call_id.startswith("call_")
    assert got[-1] == Finished("tool_calls")


def test_ids_given_twice_or_used_before_are_replaced_and_not_sent_back() -> None:
    reader = ChunkReader(ENDPOINT, KEPT, (message("assistant", call("used")),))
    payloads = events(chunk(*(function_call(id=given) for given in ("same", "same", "used", "x" * 300, "bad\0"))))
    got = [d for d in reader.read([payloads[0][6:]]) if isinstance(d, ToolCallDelta)]
    assert [d.extra for d in got] == [{KEPT: {"id": "same"}}, None, None, None, None]
    assert len({d.call_id for d in got}) == 5
    assert "used" not in {d.call_id for d in got}


def test_ten_thousand_calls_are_read_one_by_one() -> None:
    calls = [chunk(function_call(args={"n": n})) for n in range(10_000)]
    got = read(*calls, STOP)
    assert len({d.call_id for d in got if isinstance(d, ToolCallDelta)}) == 10_000


def test_seals_are_kept_with_the_very_piece_they_came_with() -> None:
    parts = kept(
        chunk(thought("Hm", "s1")),
        chunk(thought("...")),
        chunk(text("a")),
        chunk(text("bc", "s2")),
        chunk(text("d")),
        chunk(function_call("add", "s3", id="fc")),
        chunk(text("", "s4")),
        chunk(text("e")),
        chunk(text("", "s5"), finish="STOP"),
    )
    assert parts == (
        ReasoningPart(text="Hm...", extra={KEPT: {"seals": [[0, 2, "s1"]]}}),
        TextPart(text="abcd", extra={KEPT: {"seals": [[1, 3, "s2"]]}}),
        ToolCallPart(
            call_id="fc", name="add", arguments="{}", extra={KEPT: {"signature": "s3", "id": "fc"}}
        ),
        TextPart(text="e", extra={KEPT: {"seals": [[0, 0, "s4"], [1, 1, "s5"]]}}),
    )  # fmt: skip


def test_seals_on_text_that_an_older_agent_thinks_with() -> None:
    parts = kept(chunk(text("I think", "s1")), chunk(text("."), finish="STOP"), thoughts=True)
    assert parts == (ReasoningPart(text="I think.", native=False, extra={KEPT: {"seals": [[0, 7, "s1"]]}}),)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_finish_reasons(given: str, reason: str) -> None:
    assert read(chunk(text("x")), chunk(finish=given))[-1] == Finished(reason)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER", "MALFORMED_RESPONSE"]
)
def test_ways_to_end_that_are_no_answer(reason: str) -> None:
    ended = chunk(text("x"), finish=reason)
    ended["candidates"][0]["finishMessage"] = "Malformed: print(add)"
    error = raised(ended)
    assert error.error_type == "llm_error"
    assert f"gave up on its answer: {reason} Malformed: print(add)" in error.detail


@pytest.mark.parametrize("said", [[], [chunk(thought("I must not say."))]])
def test_an_answer_withheld_whole_is_an_error_that_says_why(said: list[Any]) -> None:
    error = raised(*said, chunk(finish="SAFETY"))
    assert error.error_type == "llm_bad_request"
    assert "withheld its answer: SAFETY" in error.detail


def test_a_prompt_that_is_blocked_says_why() -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "Try other words."}
    error = raised({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}})
    assert error.error_type == "llm_bad_request"
    assert "blocked the prompt: PROHIBITED_CONTENT Try other words." in error.detail


def test_an_empty_answer_is_just_finished() -> None:
    assert read(STOP) == [Finished("stop")]
    assert read({"candidates": [{"finishReason": "STOP"}]}) == [Finished("stop")]


@pytest.mark.parametrize("after", [[], [chunk(text("x"))], [chunk(text("x"), finish="FINISH_REASON_UNSPECIFIED")]])
def test_a_stream_without_a_finish_reason_was_cut(after: list[Any]) -> None:
    error = raised(*after)
    assert error.error_type == "llm_error"
    assert "no finishReason" in error.detail


@pytest.mark.parametrize(
    ("sent", "error_type", "detail"),
    [
        ({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}, "llm_error", "overloaded"),
        ({"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}, "llm_rate_limit", "slow"),
        ([{"error": {"code": 400, "message": "too long"}}], "llm_bad_request", "too long"),
    ],
)
def test_errors_inside_a_stream(sent: Any, error_type: str, detail: str) -> None:
    error = raised(chunk(text("x")), sent)
    assert (error.error_type, error.detail) == (error_type, detail)


@pytest.mark.parametrize(
    "nonsense",
    [
        "<html>", '{"candidates": [', "[" * 100_000, "[]", "null", '{"candidates": 7}', '{"candidates": "\\ud83d"}',
    ],
)  # fmt: skip
def test_nonsense_is_named(nonsense: str) -> None:
    error = raised(chunk(text("x")), nonsense)
    assert error.error_type == "llm_error"
    assert "sent a chunk" in error.detail


@pytest.mark.parametrize(
    "harmless", [{}, {"candidates": []}, {"usageMetadata": {}}, {"promptFeedback": {"safetyRatings": []}}, chunk()]
)
def test_chunks_that_say_nothing_are_passed_over(harmless: dict[str, Any]) -> None:
    assert read(harmless, chunk(text("x")), harmless, STOP) == [TextDelta("x"), Finished("stop")]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["a\\ud83d", "\\ude00b"], "a\U0001f600b"),
        (["\\ud83d", "x"], "\ufffdx"),
        (["x\\ud83d"], "x\ufffd"),
        (["a\\u0000b"], "a\ufffdb"),
        (["x", "\\u0000"], "x\ufffd"),
    ],
)
def test_text_that_cannot_be_stored_is_joined_or_replaced(pieces: list[str], said: str) -> None:
    got = read(*(f'{{"candidates":[{{"content":{{"parts":[{{"text":"{piece}"}}]}}}}]}}' for piece in pieces), STOP)
    joined = "".join(d.text for d in got if isinstance(d, TextDelta))
    assert joined == said
    joined.encode()


def test_arguments_and_names_that_cannot_be_stored_are_replaced() -> None:
    got = read(
        '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"a\\u0000","args":{"x":"\\ud83d"}}}]}}]}', STOP
    )
    [made] = [d for d in got if isinstance(d, ToolCallDelta)]
    assert (made.name, made.arguments) == ("a\ufffd", '{"x": "\ufffd"}')


def test_a_seal_that_cannot_be_stored_is_none() -> None:
    [part] = kept(
        chunk(text("a", "s\0")), '{"candidates":[{"content":{"parts":[{"thoughtSignature":"\\ud83d"}]}}]}', STOP
    )
    assert part == TextPart(text="a")


def test_what_came_before_an_error_in_the_same_read_is_not_lost() -> None:
    reader = ChunkReader(ENDPOINT, KEPT, ())
    payloads = [event[6:] for event in events(chunk(text("kept")), {"error": {"message": "gone"}})]
    assert reader.read(payloads) == [TextDelta("kept")]
    assert reader.failure is not None
    assert reader.failure.detail == "gone"
