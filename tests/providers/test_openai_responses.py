import asyncio
import itertools
import json
from typing import Any

import pytest

from perdure.domain.errors import ModelError
from perdure.domain.messages import HiddenReasoningPart
from perdure.domain.runs import Usage
from perdure.providers.base import (
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from perdure.providers.http import Limits
from tests.providers.chat import HELLO, SYSTEM, call, message, returned, shape
from tests.providers.responses import (
    SEAL,
    added,
    asked,
    begun,
    calls,
    delta,
    deltas,
    done,
    ends,
    event,
    failure,
    read_in,
    says,
    thinks,
)
from tests.providers.scripted import SSE, Asked, chunked, events, plain, streams
from tests.providers.scripted import says as writes

REPORTED = Usage(
    prompt_tokens=10, completion_tokens=4, total_tokens=14, step_count=1, cached_input_tokens=6, cache_write_tokens=2,
    reasoning_tokens=3, context_tokens=14,
)  # fmt: skip
OWN = "openai_responses"


def texts(got: list[AnyDelta]) -> list[Any]:
    """The deltas that show something, calls as (index, id, name, arguments)."""
    return [each for each in shape([d for d in got if not isinstance(d, UsageDelta)]) if each != ""]


def test_text_in_pieces_with_what_it_cost() -> None:
    assert deltas(*says(0, "Hel", "lo"), ends()) == [
        TextDelta("Hel"), TextDelta("lo"), UsageDelta(REPORTED), Finished("stop")
    ]  # fmt: skip


def test_an_empty_answer_is_just_finished() -> None:
    assert deltas(ends(usage=None)) == [Finished("stop")]
    assert deltas(*says(0), ends(usage=None)) == [Finished("stop")]


def test_summaries_are_shown_and_their_reasoning_is_kept_sealed() -> None:
    got = deltas(*thinks(0, "Greet.", "Kindly."), *says(1, "Hi"), ends(usage=None))
    summary = [{"type": "summary_text", "text": text} for text in ("Greet.", "Kindly.")]
    kept = {OWN: {"model": "openai/gpt-5", "item": {"id": "reasoning_0", "summary": summary}}}
    assert got == [
        ReasoningDelta("Gr"), ReasoningDelta("eet."), ReasoningDelta("\n\n"), ReasoningDelta("Ki"),
        ReasoningDelta("ndly."), ReasoningDelta("", SEAL, kept), TextDelta("Hi"), Finished("stop"),
    ]  # fmt: skip


def test_reasoning_without_a_summary_is_hidden_and_kept() -> None:
    got = deltas(*thinks(0), *says(1, "Hi"), ends(usage=None))
    item = {"id": "reasoning_0", "summary": [], "encrypted_content": SEAL}
    hidden = HiddenReasoningDelta("omitted", extra={OWN: {"model": "openai/gpt-5", "item": item}})
    assert got == [hidden, TextDelta("Hi"), Finished("stop")]


def test_reasoning_that_is_not_sealed_is_not_kept() -> None:
    assert deltas(*thinks(0, seal=None), ends(usage=None)) == [HiddenReasoningDelta("omitted"), Finished("stop")]
    got = deltas(*thinks(0, "Hm.", seal=None), ends(usage=None))
    assert got == [ReasoningDelta("Hm"), ReasoningDelta("."), Finished("stop")]


def test_reasoning_in_the_open_is_shown_and_kept_as_it_was() -> None:
    content = [{"type": "reasoning_text", "text": "Let me see."}]
    got = deltas(
        added(0, "reasoning", summary=[]), delta("reasoning_text", 0, "Let me"), delta("reasoning_text", 0, " see."),
        done(0, "reasoning", summary=[], content=content, encrypted_content=""), ends(usage=None),
    )  # fmt: skip
    kept = {OWN: {"model": "openai/gpt-5", "item": {"id": "reasoning_0", "content": content, "summary": []}}}
    assert got[:3] == [ReasoningDelta("Let me"), ReasoningDelta(" see."), ReasoningDelta("", None, kept)]


def test_a_refusal_is_text() -> None:
    assert texts(deltas(*says(0, "I can", "not.", kind="refusal"), ends())) == ["I can", "not."]


def test_the_phase_of_what_was_said_is_kept() -> None:
    got = deltas(*says(0, "Looking.", phase="commentary"), *calls(1, "c", "add", "{}"), ends())
    assert got[1] == TextDelta("", {OWN: {"model": "openai/gpt-5", "phase": "commentary"}})


def test_parallel_calls_one_after_the_other_and_interleaved() -> None:
    one, two = calls(0, "a", "add", '{"x":', "1}"), calls(1, "b", "say", "{", "}")
    whole = [(0, "a", "add", ""), (0, None, None, '{"x":'), (0, None, None, "1}")]
    other = [(1, "b", "say", ""), (1, None, None, "{"), (1, None, None, "}")]
    got = deltas(*one, *two, ends())
    assert texts(got) == [*whole, *other]
    assert got[-1] == Finished("tool_calls")
    mixed = [each for pair in zip(one, two, strict=True) for each in pair]
    assert texts(deltas(*mixed, ends())) == [each for pair in zip(whole, other, strict=True) for each in pair]


def test_what_was_not_streamed_is_shown_when_it_is_complete() -> None:
    got = deltas(
        done(0, "reasoning", summary=[{"type": "summary_text", "text": "Hm."}]),
        done(1, "message", content=[{"type": "output_text", "text": "Hi"}]),
        done(2, "function_call", call_id="c", name="add", arguments='{"x":1}'), ends(),
    )  # fmt: skip
    assert texts(got) == ["Hm.", "Hi", (0, "c", "add", ""), (0, None, None, '{"x":1}')]


def test_items_without_a_place_are_told_apart_by_their_ids() -> None:
    # As llama.cpp sends them.
    said = [*calls(0, "a", "add", "{", "}"), *calls(1, "b", "say", "{}"), *says(2, "Hi")]
    for each in said:
        at = each.pop("output_index")
        each["item_id"] = f"item_{at}"
        each.setdefault("item", {})["id"] = f"item_{at}"
    assert texts(deltas(*said, ends())) == texts(
        deltas(*calls(0, "a", "add", "{", "}"), *calls(1, "b", "say", "{}"), *says(2, "Hi"), ends())
    )


def test_ids_that_change_underway_do_not_split_an_item() -> None:
    # As some gateways send them.
    fresh = (f"item_{number}" for number in itertools.count())
    said = calls(0, "a", "add", "{", "}")
    for each in said:
        each["item_id"] = next(fresh)
        each.setdefault("item", {})["id"] = next(fresh)
    assert texts(deltas(*said, ends())) == [(0, "a", "add", ""), (0, None, None, "{"), (0, None, None, "}")]


def test_an_event_that_comes_twice_says_nothing_new() -> None:
    first, second, *rest = calls(0, "a", "add", "{}")
    got = deltas(first, first, second, *rest, rest[-1], *says(1, "Hi"), says(1, "Hi")[-1], ends())
    assert texts(got) == [(0, "a", "add", ""), (0, None, None, "{}"), "Hi"]


def test_two_calls_never_share_an_id_nor_take_one_from_history() -> None:
    said = [
        each for at, given in enumerate(("same", "same", "used", "", "x" * 300)) for each in calls(at, given, "add")
    ]
    history = (SYSTEM, HELLO, message("assistant", call("used")), returned("used"))
    got, _ = asked(streams(*events(*said, ends())), *history)
    ids = [d.call_id for d in got if isinstance(d, ToolCallDelta) and d.call_id]
    assert ids[0] == "same"
    assert len(set(ids)) == 5
    assert "used" not in ids
    assert all(len(each) <= 200 for each in ids)


def test_no_end_of_items_fills_the_memory() -> None:
    many = [each for at in range(10_000) for each in calls(at, f"call-{at}", "add", "{}")]
    got = read_in(b"".join(events(*many, ends())))
    assert len({d.index for d in got if isinstance(d, ToolCallDelta)}) == 1_000
    with pytest.raises(ModelError) as raised:
        read_in(b'data: {"type":"response.output_text.delta","delta":"', *[b"x" * (1 << 20)] * 9)
    assert "one event of more than" in raised.value.detail


@pytest.mark.parametrize(
    ("how", "reason", "finish"),
    [
        ("incomplete", "max_output_tokens", "length"),
        ("incomplete", "content_filter", "content_filter"),
        ("incomplete", "something_new", "stop"),
        ("completed", None, "stop"),
    ],
)
def test_finish_reasons(how: str, reason: str | None, finish: str) -> None:
    got = deltas(*says(0, "x"), ends(how, incomplete_details=reason and {"reason": reason}))
    assert got[-1].reason == finish  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "harmless",
    [
        event("queued"),
        event("web_search_call.searching", output_index=9),
        event("something_new", delta={"x": 1}, output_index="soon", item_id=7),
        added(9, "web_search_call"),
        done(9, "web_search_call", content=[{"type": "output_text", "text": "no"}]),
        {"type": "keepalive"},
        {},
    ],
    ids=str,
)  # fmt: skip
def test_unknown_events_are_passed_over(harmless: dict[str, Any]) -> None:
    assert texts(deltas(harmless, *says(0, "x"), harmless, ends())) == ["x"]


@pytest.mark.parametrize("ending", [[], ["[DONE]"]], ids=["end of stream", "end mark"])
def test_a_stream_without_an_end_was_cut(ending: list[str]) -> None:
    error = failure(streams(*events(*begun(), *says(0, "Hel"), *ending)))
    assert error.error_type == "llm_error"
    assert "ended before" in error.detail


@pytest.mark.parametrize(
    ("reported", "error_type", "detail"),
    [
        (ends("failed", error={"code": "server_error", "message": "broke"}), "llm_error", "broke"),
        (ends("failed", error={"code": "rate_limit_exceeded", "message": "slow"}), "llm_rate_limit", "slow"),
        (ends("failed", error=None), "llm_error", "without saying why"),
        ({"type": "error", "code": "insufficient_quota", "message": "pay"}, "llm_insufficient_credits", "pay"),
        ({"type": "error", "error": {"code": "context_length_exceeded", "message": "big"}}, "llm_bad_request", "big"),
        ({"type": "error", "code": None, "message": None}, "llm_error", "without saying which"),
        ({"error": {"message": "overloaded", "code": 503}}, "llm_error", "overloaded"),
        ({"detail": "no"}, "llm_error", "no"),
    ],
)
def test_errors_inside_a_stream(reported: dict[str, Any], error_type: str, detail: str) -> None:
    error = failure(streams(*events(*begun(), *says(0, "x"), reported)))
    assert error.error_type == error_type
    assert detail in error.detail


@pytest.mark.parametrize(
    "nonsense",
    ["<html>", '{"type": "response.', "[" * 100_000, "[]", "null", '{"type":"response.completed","response":7}'],
)
def test_nonsense_is_named(nonsense: str) -> None:
    error = failure(streams(*events(*says(0, "x"), nonsense)))
    assert error.error_type == "llm_error"
    assert "sent an event" in error.detail


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "llm_bad_request"), (401, "llm_authentication"), (402, "llm_insufficient_credits"),
        (403, "llm_authentication"), (404, "llm_bad_request"), (429, "llm_rate_limit"), (500, "llm_error"),
        (503, "llm_error"), (529, "llm_error"),
    ],
)  # fmt: skip
def test_a_refused_request_raises_with_the_providers_words(status: int, error_type: str) -> None:
    said = b'{"error": {"message": "not now", "type": "x", "param": null, "code": null}}'
    error = failure(writes(plain(status, said, Retry_After="3")))
    assert (error.error_type, error.detail, error.retry_after) == (error_type, "not now", 3.0)


def test_silence_before_and_within_an_answer_has_a_limit() -> None:
    quick = Limits(connect=5.0, first_byte=0.3, gap=0.2)
    assert failure(writes(b""), limits=quick).error_type == "llm_timeout"
    error = failure(writes(SSE, chunked(b"".join(events(*says(0, "x"))))), limits=quick)
    assert (error.error_type, "fell silent" in error.detail) == ("llm_timeout", True)


@pytest.mark.parametrize("field", ["output_text", "reasoning_summary_text"])
def test_a_surrogate_pair_cut_between_events_is_joined(field: str) -> None:
    cut = [
        f'{{"type":"response.{field}.delta","output_index":0,"delta":"{half}"}}' for half in ("a\\ud83d", "\\ude00b")
    ]
    assert texts(deltas(*cut, ends())) == ["a", "\U0001f600b"]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [(["\\ud83d", "x"], "\ufffdx"), (["x\\ud83d"], "x\ufffd"), (["a\\u0000b"], "a\ufffdb"), (["\\ude00x"], "\ufffdx")],
)
def test_text_that_cannot_be_stored_is_replaced(pieces: list[str], text: str) -> None:
    cut = [f'{{"type":"response.output_text.delta","output_index":0,"delta":"{piece}"}}' for piece in pieces]
    assert "".join(texts(deltas(*cut, ends()))) == text


def test_what_is_kept_for_the_vendor_can_be_stored() -> None:
    item = '{"id":"r\\u0000","type":"reasoning","summary":[{"type":"x\\ud83d"}],"encrypted_content":"s\\ude00"}'
    got = deltas(f'{{"type":"response.output_item.done","output_index":0,"item":{item}}}', ends())
    assert isinstance(got[0], HiddenReasoningDelta)
    assert got[0].extra is not None
    json.dumps(got[0].extra, ensure_ascii=False).encode()
    assert "\0" not in str(got[0].extra)


@pytest.mark.parametrize(
    ("refusal", "asked_for"),
    [
        ("The encrypted content gAA...== could not be verified.", SEAL),
        ("Your organization must be verified to generate reasoning summaries.", '"summary":"auto"'),
    ],
)
def test_what_a_server_refuses_to_take_is_left_out_and_asked_again(refusal: str, asked_for: str) -> None:
    item = {"id": "rs_1", "summary": [], "encrypted_content": SEAL}
    kept = HiddenReasoningPart(state="omitted", extra={OWN: {"model": "openai/gpt-5", "item": item}})
    history = (SYSTEM, HELLO, message("assistant", kept, "Hi."), message("user", "Again"))

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked_for in asked.body.decode():
            writer.write(plain(400, json.dumps({"error": {"message": refusal}}).encode()))
        else:
            await streams(*events(*says(0, "Yes."), ends()))(asked, writer)

    got, requests = asked(answer, *history)
    assert texts(got) == ["Yes."]
    assert len(requests) == 2
    assert asked_for not in requests[1].body.decode()


def test_a_model_that_seals_nothing_is_asked_for_no_seal() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if "include" in asked.json:
            writer.write(plain(400, b'{"error": {"message": "Encrypted content is not supported with this model."}}'))
        else:
            await streams(*events(*says(0, "Yes."), ends()))(asked, writer)

    assert texts(asked(answer)[0]) == ["Yes."]


def test_a_refusal_that_goes_on_is_raised() -> None:
    said = b'{"error": {"message": "Encrypted reasoning summaries are not supported"}}'
    assert failure(writes(plain(400, said))).detail == "Encrypted reasoning summaries are not supported"
