"""What a model can hold: where the limit is, and what is cut of things too large by themselves."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.messages import ImagePart, Message, ReasoningPart, ToolCallPart, ToolReturnPart
from perdure.domain.runs import Usage
from perdure.loop.room import LEAST_OF_A_RETURN, LEAST_OF_A_TEXT, Room, level, shortened
from perdure.providers.estimate import size_of
from tests.loop.test_context import message

SYSTEM = message("system", "You help.")


def room(window: int = 1_000, **fields: Any) -> Room:
    """A room whose model takes three bytes for a token."""
    made = {"window": window, "holds": window, "answer": 0, "tools": 0, "estimate": lambda size: -(-size // 3)}
    return Room(**{**made, **fields})


def fitted(room: Room, history: Sequence[Message]) -> Sequence[Message]:
    """What is sent of a history."""
    return room.fitted(room.capped(history))


def call(text: str) -> Message:
    arguments = json.dumps({"text": text, "number": 1}, ensure_ascii=False)
    return message("assistant", ToolCallPart(call_id="1", name="f", arguments=arguments))


def returned(text: str) -> Message:
    return message("tool", ToolReturnPart(call_id="1", name="f", status="success", text=text))


def sizes(messages: Sequence[Message]) -> list[int]:
    return [size_of((each,)) for each in messages]


def test_the_limit_leaves_a_tenth_or_what_an_answer_may_take() -> None:
    assert room().limit == 900
    assert room(answer=300).limit == 700
    assert room(answer=5_000).limit == 500
    assert room().shrunk(400).limit == 270
    assert room().shrunk(900, limit=300).holds == 300
    assert room().shrunk(400, limit=500).limit == 270, "whoever was said to hold more refused it all the same"


def test_a_call_is_judged_by_what_will_come_back() -> None:
    assert room().is_spent(Usage(total_tokens=901))
    assert not room().is_spent(Usage(total_tokens=901, reasoning_tokens=1))


def test_a_system_message_is_too_large_only_where_any_measure_says_so() -> None:
    assert room().is_overfull([message("system", "x" * 4_500)])
    assert not room().is_overfull([message("system", "x" * 4_400)])
    assert room(tools=200).is_overfull([message("system", "x" * 4_400)])
    assert not room(estimate=lambda size: size // 10).is_overfull([message("system", "x" * 4_500)])


def test_what_fits_is_sent_as_it_is() -> None:
    history = [SYSTEM, message("user", "x" * 2_000), call("y" * 100), returned("z" * 300)]
    assert fitted(room(), history) == history


def test_one_message_leaves_room_for_others() -> None:
    (_, cut) = room().capped([SYSTEM, message("user", "x" * 10_000)])
    assert size_of((SYSTEM, cut)) <= 2_250
    assert size_of((cut,)) > 2_000


def test_long_returns_are_cut_to_a_share_of_the_window() -> None:
    (_, cut) = room(100_000).capped([SYSTEM, returned("x" * 100_000)])
    assert len(cut.tool_returns[0].text.encode()) <= 80_000


def test_returns_are_cut_before_words() -> None:
    history = [SYSTEM, message("user", "x" * 1_500), call("y"), returned("z" * 1_900), message("user", "Well?")]
    sent = fitted(room(), history)
    assert size_of(sent) <= 2_700
    assert [each.text for each in sent] == [each.text for each in history]
    assert len(sent[3].tool_returns[0].text) >= LEAST_OF_A_RETURN


def test_the_longest_are_cut_and_the_others_are_not() -> None:
    history = [SYSTEM, *(message("user", "x" * size) for size in (100, 1_500, 1_600, 200))]
    sent = sizes(fitted(room(), history))
    assert sum(sent) <= 2_700
    assert [sent[1], sent[4]] == [112, 212]
    assert abs(sent[2] - sent[3]) < 10


def test_images_go_before_words() -> None:
    picture = ImagePart(media_type="image/png", data="AAAA")
    sent = fitted(room(4_000), [SYSTEM, *(message("user", f"See {n}?", picture) for n in range(4))])
    assert [any(isinstance(part, ImagePart) for part in each.parts) for each in sent[1:]] == [False, False, True, True]
    assert "[image left out]" in sent[1].text


def test_arguments_stay_a_json_object() -> None:
    history = [SYSTEM, message("user", "hi"), call('"quoted"\n' * 2_000), returned("done")]
    (cut,) = fitted(room(), history)[2].tool_calls
    values = json.loads(cut.arguments)
    assert values["number"] == 1
    assert "bytes left out" in values["text"]
    assert len(cut.arguments) < 2_700


def test_what_a_vendor_has_sealed_is_not_cut() -> None:
    thought = ReasoningPart(text="x" * 5_000, signature="seal")
    history = [SYSTEM, message("user", "y" * 5_000), message("assistant", thought, "z")]
    assert fitted(room(), history)[2].parts[0] == thought


@given(st.text(max_size=2_000), st.integers(0, 2_500))
def test_shortened_text_keeps_its_bound_and_its_ends(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short.encode()) <= most
    if len(text.encode()) <= most:
        assert short == text
    elif most >= LEAST_OF_A_TEXT:
        assert (short[0], short[-1]) == (text[0], text[-1])


@given(st.lists(st.integers(0, 1_000), max_size=20), st.integers(0, 5_000))
def test_the_level_is_the_highest_that_the_budget_allows(found: list[int], budget: int) -> None:
    bound = level(found, budget)
    assert sum(min(size, bound) for size in found) <= budget
    if sum(found) > budget:
        assert sum(min(size, bound + 1) for size in found) > budget
