"""What Anthropic's events become: every shape of answer, wherever the bytes are cut."""

import asyncio
from typing import Any

import pytest

from perdure.domain.runs import Usage
from perdure.providers.anthropic_events import MAX_BLOCKS, EventReader, is_last
from perdure.providers.base import (
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from perdure.providers.event_stream import EventParser
from perdure.providers.http import Endpoint
from tests.providers.chat import HELLO, SYSTEM, call, message, returned
from tests.providers.claude import (
    MODEL,
    SEAL,
    asked,
    block,
    broken,
    deltas,
    end,
    error,
    failure,
    ours,
    redacted,
    shape,
    sse,
    start,
    text,
    thinking,
    tool,
    whole,
)
from tests.providers.scripted import SSE, Asked, chunked, streams

ENDPOINT = Endpoint(name="anthropic", url="http://127.0.0.1:1")

TEXT = whole(text(0, "Hel", "lo \u00e9\U0001f600"))
REASONING = whole(thinking(0, "Let me ", "see."), text(1, "Yes."))
REDACTED = whole(redacted(0, "bm90IGZvciB5b3U="), thinking(1, "Still.", seal="c2Vjb25k"), text(2, "No."))
PARALLEL = whole(
    thinking(0, "Both."),
    text(1, "Two calls."),
    tool(2, "toolu_1", "add", "", '{"a": 1', ', "b": 2}'),
    tool(3, "toolu_2", "say", '{"text": "\\u00e9"}'),
    reason="tool_use",
)
SILENT_CALL = whole(tool(0, "toolu_1", "look"), reason="tool_use")


def read_in(*pieces: bytes) -> list[AnyDelta]:
    parser, reader = EventParser(), EventReader(ENDPOINT, (), MODEL)
    out = [delta for piece in pieces for delta in reader.read(parser.feed(piece))]
    out += reader.read(parser.finish())
    if reader.failure:
        raise reader.failure
    if not reader.done:
        raise reader.cut()
    return out


def test_text() -> None:
    got = deltas(*TEXT)
    assert shape(got) == [TextDelta("Hel"), TextDelta("lo \u00e9\U0001f600")]
    assert got[-1] == Finished("stop")


def test_usage_counts_what_was_cached_with_the_prompt() -> None:
    details = {"output_tokens_details": {"thinking_tokens": 3}}
    got = deltas(start(), *text(0, "x"), *end(**details))
    first, last = [delta.usage for delta in got if isinstance(delta, UsageDelta)]
    assert (first.prompt_tokens, first.completion_tokens) == (34, 1)
    assert last == Usage(
        prompt_tokens=34, completion_tokens=7, total_tokens=41, step_count=1, cached_input_tokens=20,
        cache_write_tokens=4, reasoning_tokens=3, context_tokens=41,
    )  # fmt: skip


def test_usage_of_a_server_that_tells_it_at_the_end_only() -> None:
    late = {"type": "message_start", "message": {"usage": None}}
    got = deltas(late, *text(0, "x"), *end(input_tokens=5, output_tokens="many"))
    assert [delta.usage.total_tokens for delta in got if isinstance(delta, UsageDelta)] == [5]


def test_reasoning_is_sealed_when_its_block_ends() -> None:
    assert shape(deltas(*REASONING)) == [
        ReasoningDelta("Let me "),
        ReasoningDelta("see."),
        ReasoningDelta("", SEAL, ours()),
        TextDelta("Yes."),
    ]


def test_redacted_reasoning_keeps_its_data() -> None:
    assert shape(deltas(*REDACTED))[0] == HiddenReasoningDelta("redacted", "bm90IGZvciB5b3U=", ours())


def test_reasoning_that_is_not_shown_keeps_its_seal() -> None:
    assert shape(deltas(*whole(thinking(0)))) == [HiddenReasoningDelta("omitted", None, ours(signature=SEAL))]


def test_reasoning_without_a_seal_has_none() -> None:
    assert shape(deltas(*whole(thinking(0, "hm", seal=None)))) == [ReasoningDelta("hm")]


def test_reasoning_that_had_to_be_changed_loses_its_seal() -> None:
    assert shape(deltas(*whole(thinking(0, "a\0b")))) == [ReasoningDelta("a\ufffdb")]


def test_reasoning_that_comes_whole_with_its_block() -> None:
    begun = {"type": "thinking", "thinking": "hm", "signature": "seal"}
    assert shape(deltas(*whole(block(0, begun)))) == [ReasoningDelta("hm"), ReasoningDelta("", "seal", ours())]


def test_parallel_calls_in_fragments_that_name_their_tool() -> None:
    got = deltas(*PARALLEL)
    assert shape(got)[-5:] == [
        (0, "toolu_1", "add", ""),
        (0, None, "add", '{"a": 1'),
        (0, None, "add", ', "b": 2}'),
        (1, "toolu_2", "say", ""),
        (1, None, "say", '{"text": "\\u00e9"}'),
    ]
    assert got[-1] == Finished("tool_calls")


def test_a_call_without_arguments_is_its_name() -> None:
    assert shape(deltas(*SILENT_CALL)) == [(0, "toolu_1", "look", "")]


def test_a_call_that_comes_whole_with_its_block() -> None:
    begun = {"type": "tool_use", "id": "t", "name": "say", "input": {"text": "\u00e9"}}
    assert shape(deltas(*whole(block(0, begun)))) == [(0, "t", "say", ""), (0, None, "say", '{"text": "\u00e9"}')]


@pytest.mark.parametrize("given", ["", "used", "toolu_1", "x" * 300])
def test_calls_never_share_an_id(given: str) -> None:
    history = (SYSTEM, HELLO, message("assistant", call("used")), returned("used"))
    events = whole(tool(0, "toolu_1", "add", "{}"), tool(1, given, "add", "{}"))
    got = asked(streams(*sse(*events)), *history)[0]
    ids = [delta.call_id for delta in got if isinstance(delta, ToolCallDelta) and delta.call_id]
    assert ids[0] == "toolu_1"
    assert ids[1] not in ("", "used", "toolu_1", "x" * 300)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("tool_use", "stop"),
        ("something_new", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
    ],
)
def test_stop_reasons(given: str, reason: str) -> None:
    assert deltas(*whole(text(0, "x"), reason=given))[-1] == Finished(reason)


def test_a_refusal_says_why() -> None:
    stop = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "Not that."}}
    got = deltas(start(), {"type": "message_delta", "delta": stop}, {"type": "message_stop"})
    assert (shape(got), got[-1]) == ([TextDelta("Not that.")], Finished("content_filter"))


@pytest.mark.parametrize("thought", [[], thinking(0, "I must not say.")])
def test_a_refusal_without_a_word_is_an_error_that_says_so(thought: list[dict[str, Any]]) -> None:
    stop = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "cyber", "explanation": None}}
    got, error = broken(
        streams(*sse(start(), *thought, {"type": "message_delta", "delta": stop}, {"type": "message_stop"}))
    )
    assert error.error_type == "llm_bad_request"
    assert error.detail.endswith("withheld its answer: refusal cyber")
    assert [delta.usage.prompt_tokens for delta in got if isinstance(delta, UsageDelta)][-1] == 34


@pytest.mark.parametrize(
    "strange",
    [
        [{"type": "ping"}, {"type": "something_new", "delta": "a string", "index": "x"}],
        block(0, {"type": "server_tool_use", "id": "s"}, {"type": "input_json_delta", "partial_json": "{"}),
        block(0, {"type": "web_search_tool_result", "content": [{"type": "x"}]}),
        block(0, {"type": "fallback", "from": {"model": "a"}}),
        block(0, {"type": "text", "text": ""}, {"type": "citations_delta", "citation": {"cited_text": "x"}}),
        block(9, {"type": "compaction", "content": "c"}, {"type": "compaction_delta", "content": "c"}),
        [{"type": "content_block_stop", "index": 70}],
        [{"type": "content_block_delta", "index": 71, "delta": {"type": "input_json_delta", "partial_json": "{"}}],
        [{"type": "content_block_delta", "index": 1}],
        ['{"type": "message_delta", "delta": null, "usage": null}'],
    ],
)  # fmt: skip
def test_what_is_not_known_is_passed_over(strange: list[Any]) -> None:
    assert shape(deltas(start(), *strange, *text(1, "said"), *end())) == [TextDelta("said")]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["a\\ud83d", "\\ude00b"], "a\U0001f600b"),
        (["\\ud83d", "x"], "\ufffdx"),
        (["x\\ud83d"], "x\ufffd"),
        (["a\\u0000b"], "a\ufffdb"),
    ],
)
def test_text_that_cannot_be_stored_is_replaced(pieces: list[str], said: str) -> None:
    begun, *_, stop = text(0)
    raw = [
        f'{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{piece}"}}}}'
        for piece in pieces
    ]
    got = deltas(start(), begun, *raw, stop, *end())
    assert "".join(delta.text for delta in got if isinstance(delta, TextDelta)) == said


def test_half_a_pair_does_not_wander_into_another_block() -> None:
    raw = '{"type":"content_block_delta","index":%d,"delta":{"type":"%s_delta","%s":"\\u%s"}}'
    first, last = thinking(0, seal=None), text(1)
    got = deltas(
        start(), first[0], raw % (0, "thinking", "thinking", "d83d"), first[-1],
        last[0], raw % (1, "text", "text", "de00"), last[-1], *end(),
    )  # fmt: skip
    assert shape(got) == [ReasoningDelta("\ufffd"), TextDelta("\ufffd")]


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("invalid_request_error", "llm_bad_request"),
        ("authentication_error", "llm_authentication"),
        ("billing_error", "llm_insufficient_credits"),
        ("permission_error", "llm_authentication"),
        ("not_found_error", "llm_bad_request"),
        ("request_too_large", "llm_bad_request"),
        ("rate_limit_error", "llm_rate_limit"),
        ("timeout_error", "llm_timeout"),
        ("api_error", "llm_error"),
        ("overloaded_error", "llm_error"),
        ("never_heard_of", "llm_error"),
    ],
)
def test_errors_inside_a_stream(kind: str, error_type: str) -> None:
    raised = failure(start(), *text(0, "x"), error(kind, "too much"))
    assert (raised.error_type, raised.detail) == (error_type, "too much")


def test_an_error_as_the_first_event() -> None:
    assert failure(error("overloaded_error", "Overloaded")).detail == "Overloaded"


@pytest.mark.parametrize("nonsense", ["<html>", '{"type": "message_start"', "[" * 100_000, "[]", "null",
                                      '{"type": "content_block_delta", "delta": 7}',
                                      '{"type": "content_block_stop", "index": "\\ud83d"}'])  # fmt: skip
def test_nonsense_is_named(nonsense: str) -> None:
    assert "sent an event" in failure(start(), nonsense).detail


def test_what_came_before_an_error_in_the_same_read_is_not_lost() -> None:
    reader = EventReader(ENDPOINT, (), MODEL)
    payloads = EventParser().feed(b"".join(sse(start(), *text(0, "kept"), error("api_error", "gone"))))
    assert shape(reader.read(payloads)) == [TextDelta("kept")]
    assert reader.failure is not None
    assert reader.failure.detail == "gone"


def test_more_blocks_than_any_model_writes_are_named() -> None:
    begun = [event for index in range(MAX_BLOCKS + 1) for event in tool(index, "t", "add")[:1]]
    reader = EventReader(ENDPOINT, (), MODEL)
    payloads = EventParser().feed(b"".join(sse(start(), *begun)))
    got = reader.read(payloads)
    assert len([delta for delta in got if isinstance(delta, ToolCallDelta)]) == MAX_BLOCKS
    assert reader.failure is not None
    assert str(MAX_BLOCKS) in reader.failure.detail


def test_ten_thousand_calls_have_ids_of_their_own() -> None:
    calls = [event for index in range(MAX_BLOCKS) for event in tool(index, "same", "add", "{}")]
    got = read_in(b"".join(sse(start(), *calls, *end("tool_use"))))
    ids = [delta.call_id for delta in got if isinstance(delta, ToolCallDelta) and delta.call_id]
    assert len(set(ids)) == MAX_BLOCKS


def test_an_endless_line_is_named() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + chunked(b"data: "))
        for _ in range(200):
            writer.write(chunked(b"x" * (1 << 16)))
            await writer.drain()

    assert "one event of more than" in broken(answer)[1].detail


def test_the_last_payload_is_known_by_its_beginning() -> None:
    assert is_last(b'{"type":"message_stop"          }')
    assert is_last(b'{"type": "message_stop"}')
    assert is_last(b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{}}')
    assert not is_last(b'{"type":"content_block_delta","delta":{"text":"message_stop"}}')
