"""One model answer: what is shown while it streams is what is stored, part by part."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain import events
from perdure.domain.events import AnyEvent
from perdure.domain.ids import approval_id, new_id, otid
from perdure.domain.messages import (
    VOICE,
    HiddenReasoningPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    Voice,
)
from perdure.domain.runs import Usage
from perdure.loop.answer import MAX_CALLS, PART_CHARS, Answer, whole
from perdure.providers.base import (
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)

Shown = dict[tuple[str, str, str], list[str]]


def answer(
    *, show: bool = True, parallel: bool = True, single: bool = False, voice: Voice | None = None,
    thought: bool = False, thinks: bool = False,
) -> Answer:  # fmt: skip
    """An answer that has not begun; calls of `ask` are held, and where it `thinks`, all calls have thoughts."""
    return Answer(
        agent_id=new_id("agent"), run_id=new_id("run"), step_id=new_id("step"), show_tokens=show,
        parallel_calls=parallel, single_calls=single, voice=voice, text_is_thought=thought,
        held=lambda name: name == "ask", thinks=lambda name: thinks,
    )  # fmt: skip


def parts(*deltas: AnyDelta, **options: Any) -> list[object]:
    """The parts of the message that an answer of these fragments becomes."""
    taken = answer(**options)
    taken.take(deltas)
    message = taken.message()
    return [] if message is None else list(message.parts)


def shown(found: Iterable[AnyEvent]) -> Shown:
    """What a reader puts together: the text of each (kind, otid, call id), in the order in which they begin."""
    texts: Shown = {}

    def add(kind: str, event: events.Piece, call_id: str, text: str) -> None:
        texts.setdefault((kind, event.otid, call_id), []).append(text)

    def add_call(kind: str, event: events.ToolCallDelta | events.ApprovalDelta) -> None:
        """A name that comes with every fragment is one name."""
        known = (kind, event.otid, event.call_id) in texts
        add(kind, event, event.call_id, ("" if known else event.name or "") + (event.arguments or ""))

    for event in found:
        match event:
            case events.AssistantText() | events.Reasoning():
                add(events.message_type(event), event, "", event.text)
            case events.HiddenReasoning():
                add("hidden", event, "", f"{event.state} {event.data}")
            case events.ApprovalDelta():
                add_call("request", event)
            case events.ApprovalRequest():
                for call in event.calls:
                    add("request", event, call.call_id, call.name + call.arguments)
            case events.ToolCallDelta():
                add_call("call", event)
            case events.ToolCalls():
                for call in event.calls:
                    add("call", event, call.call_id, call.name + call.arguments)
            case _:
                raise AssertionError(event)
    return texts


def joined(texts: Shown) -> list[tuple[tuple[str, str, str], str]]:
    return [(key, "".join(pieces)) for key, pieces in texts.items()]


def test_fragments_of_one_kind_are_one_part_under_one_otid() -> None:
    taken = answer()
    first, second = taken.take([TextDelta("Hel"), TextDelta("lo")])
    message = taken.message()
    assert message is not None
    assert message.parts == (TextPart(text="Hello"),)
    assert isinstance(first, events.AssistantText)
    assert isinstance(second, events.AssistantText)
    assert (first.message_id, first.otid) == (second.message_id, second.otid) == (message.id, otid(message.id, 0))


def test_the_index_rises_whenever_the_kind_changes() -> None:
    taken = answer()
    call = ToolCallDelta(0, "{}", "a", "look")
    found = taken.take([ReasoningDelta("hm"), TextDelta("I look."), call, TextDelta("There."), ReasoningDelta("so")])
    assert [event.otid for event in found if isinstance(event, events.Piece)] == [
        otid(taken.message_id, index) for index in range(5)
    ]


def test_empty_fragments_begin_nothing() -> None:
    taken = answer()
    assert taken.take([TextDelta(""), ReasoningDelta(""), UsageDelta(Usage(step_count=1)), Finished("stop")]) == []
    assert taken.message() is None
    assert not taken.has_calls


def test_usage_and_finish_are_kept() -> None:
    taken = answer()
    taken.take([UsageDelta(Usage(prompt_tokens=3, step_count=1)), Finished("length")])
    assert taken.usage.prompt_tokens == 3
    assert taken.finish == Finished("length")
    assert answer().usage == Usage(step_count=1)


def test_a_signature_seals_its_part_and_what_follows_is_another() -> None:
    found = parts(ReasoningDelta("a"), ReasoningDelta("", "seal"), ReasoningDelta("b"), ReasoningDelta("", "mark"))
    assert found == [ReasoningPart(text="a", signature="seal"), ReasoningPart(text="b", signature="mark")]


def test_a_signature_without_text_is_kept_and_not_shown() -> None:
    taken = answer()
    assert taken.take([ReasoningDelta("", "seal")]) == []
    message = taken.message()
    assert message is not None
    assert message.parts == (ReasoningPart(text="", signature="seal"),)


def test_what_a_vendor_wants_back_is_kept_with_the_part_it_came_with() -> None:
    assert parts(
        ReasoningDelta("hm", extra={"a": 1}),
        TextDelta("Hel"),
        TextDelta("lo", {"a": 2}),
        TextDelta("", {"b": 3}),
        ToolCallDelta(0, call_id="c", name="look", extra={"a": 4}),
        ToolCallDelta(0, "{}", extra={"a": 5}),
        TextDelta("", {"a": 6}),
    ) == [
        ReasoningPart(text="hm", extra={"a": 1}),
        TextPart(text="Hello", extra={"a": 2, "b": 3}),
        ToolCallPart(call_id="c", name="look", arguments="{}", extra={"a": 5}),
    ]


def test_hidden_reasoning_is_a_part_with_its_blob() -> None:
    taken = answer()
    (event,) = taken.take([HiddenReasoningDelta("redacted", "blob")])
    assert isinstance(event, events.HiddenReasoning)
    assert (event.state, event.data) == ("redacted", "blob")
    message = taken.message()
    assert message is not None
    assert message.parts == (HiddenReasoningPart(state="redacted", data="blob"),)


def test_a_name_that_comes_with_every_fragment_is_shown_with_each() -> None:
    found = answer().take([ToolCallDelta(0, "", "a", "look"), ToolCallDelta(0, "{}", name="look")])
    assert [(e.name, e.arguments) for e in found if isinstance(e, events.ToolCallDelta)] == [
        ("look", None),
        ("look", "{}"),
    ]


def test_a_call_is_put_together_and_its_name_shown_once() -> None:
    taken = answer()
    found = taken.take([ToolCallDelta(0, "", "a", "look"), ToolCallDelta(0, '{"x"'), ToolCallDelta(0, ": 1}")])
    assert [(e.name, e.arguments, e.call_id) for e in found if isinstance(e, events.ToolCallDelta)] == [
        ("look", None, "a"),
        (None, '{"x"', "a"),
        (None, ": 1}", "a"),
    ]
    message = taken.message()
    assert message is not None
    assert message.tool_calls == (ToolCallPart(call_id="a", name="look", arguments='{"x": 1}'),)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert parts(ToolCallDelta(0, "", "a", "look")) == [ToolCallPart(call_id="a", name="look", arguments="{}")]


def test_interleaved_calls_come_apart_again() -> None:
    one, two = ToolCallDelta(0, "", "a", "f"), ToolCallDelta(1, "", "b", "g")
    found = parts(
        one, two, ToolCallDelta(0, '{"x":'), ToolCallDelta(1, "{"), ToolCallDelta(0, "1}"), ToolCallDelta(1, "}")
    )
    assert found == [
        ToolCallPart(call_id="a", name="f", arguments='{"x":1}'),
        ToolCallPart(call_id="b", name="g", arguments="{}"),
    ]


def test_parallel_calls_share_an_otid_unless_each_must_stand_alone() -> None:
    calls = [ToolCallDelta(0, "{}", "a", "f"), ToolCallDelta(1, "{}", "b", "g")]
    for single, indexes in ((False, [0, 0]), (True, [0, 1])):
        taken = answer(single=single)
        found = taken.take(calls)
        assert [e.otid for e in found if isinstance(e, events.Piece)] == [otid(taken.message_id, i) for i in indexes]


def test_where_parallel_calls_are_off_only_the_first_is_kept_and_shown() -> None:
    taken = answer(parallel=False)
    second = [ToolCallDelta(1, "", "b", "g"), ToolCallDelta(1, "{}")]
    found = taken.take([ToolCallDelta(0, "", "a", "f"), *second, ToolCallDelta(0, "{}"), TextDelta("Done.")])
    assert [name for name, _ in joined(shown(found))] == [
        ("call", otid(taken.message_id, 0), "a"),
        ("assistant_message", otid(taken.message_id, 1), ""),
    ]
    message = taken.message()
    assert message is not None
    assert [call.call_id for call in message.tool_calls] == ["a"]


def test_no_more_calls_are_kept_than_a_history_can_bear() -> None:
    found = parts(*(ToolCallDelta(index, "{}", f"call-{index}", "f") for index in range(MAX_CALLS + 5)))
    assert len(found) == MAX_CALLS


@pytest.mark.parametrize("given_ids", [("a", "a"), (None, None), ("", "a"), ("a", None)])
def test_every_call_has_an_id_of_its_own(given_ids: tuple[str | None, str | None]) -> None:
    taken = answer()
    found = taken.take([ToolCallDelta(index, "{}", call_id, "f") for index, call_id in enumerate(given_ids)])
    message = taken.message()
    assert message is not None
    kept = [call.call_id for call in message.tool_calls]
    assert len(set(kept)) == 2
    assert all(kept)
    assert [event.call_id for event in found if isinstance(event, events.ToolCallDelta)] == kept
    assert all(call_id in kept for call_id in given_ids if call_id)


def test_tokens_that_are_not_asked_for_are_not_shown_but_kept() -> None:
    taken = answer(show=False)
    assert taken.take([TextDelta("Hello"), ToolCallDelta(0, "{}", "a", "f")]) == []
    message = taken.message()
    assert message is not None
    assert message.text == "Hello"
    assert taken.has_calls


def test_whole_shows_returns_together_or_each_alone() -> None:
    returns = tuple(ToolReturnPart(call_id=name, name="f", status="success", text=name) for name in "ab")
    message = Message(id=new_id("message"), agent_id="a", role="tool", parts=returns, created_at=1)
    (together,) = whole(message, single_calls=False, voice=None)
    assert isinstance(together, events.ToolReturns)
    assert (together.returns, together.otid) == (returns, otid(message.id, 0))
    alone = whole(message, single_calls=True, voice=None)
    assert [event.returns for event in alone if isinstance(event, events.ToolReturns)] == [returns[:1], returns[1:]]
    assert len({event.otid for event in alone if isinstance(event, events.Piece)}) == 2


def test_what_the_voice_says_is_shown_as_text_and_its_return_is_not() -> None:
    taken = answer(voice=VOICE)
    fragments = ['{"mess', 'age": "Hi \\"A', 'da\\"!", "request_heartbeat": true}']
    found = taken.take([ToolCallDelta(0, "", "a", "send_message"), *(ToolCallDelta(0, each) for each in fragments)])
    assert [event.text for event in found if isinstance(event, events.AssistantText)] == ['Hi "A', 'da"!']
    assert len(found) == 2
    message = taken.message()
    assert message is not None
    assert message.tool_calls[0].arguments == "".join(fragments)
    (shown_whole,) = whole(message, single_calls=False, voice=VOICE)
    assert isinstance(shown_whole, events.AssistantText)
    assert shown_whole.text == 'Hi "Ada"!'
    heard = ToolReturnPart(call_id="a", name="send_message", status="success", text="ok")
    returned = Message(id=new_id("message"), agent_id="a", role="tool", parts=(heard,), created_at=1)
    assert whole(returned, single_calls=False, voice=VOICE) == []
    assert len(whole(returned, single_calls=False, voice=None)) == 1


def test_held_calls_are_a_message_of_their_own() -> None:
    taken = answer()
    found = taken.take([TextDelta("May I?"), ToolCallDelta(0, "{}", "a", "ask"), ToolCallDelta(1, "{}", "b", "look")])
    message, request = taken.message(), taken.request()
    assert message is not None
    assert request is not None
    assert (request.role, request.id) == ("approval", approval_id(message.id))
    assert [call.call_id for call in request.tool_calls] == ["a"]
    assert [call.call_id for call in message.tool_calls] == ["b"]
    assert [type(event) for event in found] == [events.AssistantText, events.ApprovalDelta, events.ToolCallDelta]
    assert [event.message_id for event in found if isinstance(event, events.Piece)] == [
        message.id, request.id, message.id
    ]  # fmt: skip
    assert answer().request() is None


def test_text_that_is_thought_is_shown_and_kept_as_reasoning() -> None:
    taken = answer(thought=True)
    found = taken.take([TextDelta("I "), TextDelta("think."), ReasoningDelta("deep")])
    assert [(e.text, e.native) for e in found if isinstance(e, events.Reasoning)] == [
        ("I ", False), ("think.", False), ("deep", True)
    ]  # fmt: skip
    message = taken.message()
    assert message is not None
    assert message.parts == (ReasoningPart(text="I think.", native=False), ReasoningPart(text="deep"))
    assert len({event.otid for event in found if isinstance(event, events.Piece)}) == 2


SOME = st.text(min_size=1, max_size=3)
NAMES = st.sampled_from(["look", "ask", "send_message"])
WORDS = ['{"message": "', '{"thinking": "', '", "', 'message": "', "Hi", '\\u00e9\\"', '"}', '"x"', "{}"]
WRITTEN = st.one_of(SOME, st.sampled_from(WORDS))
DELTAS = st.one_of(
    st.builds(TextDelta, SOME),
    st.builds(ReasoningDelta, SOME, st.sampled_from([None, None, "seal"])),
    st.builds(HiddenReasoningDelta, st.just("redacted"), SOME),
    st.builds(ToolCallDelta, st.integers(0, 3), WRITTEN, st.sampled_from(["a", "b", None]), NAMES),
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.lists(DELTAS, max_size=4), max_size=8), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([None, VOICE]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_what_was_streamed_is_what_is_stored(
    batches: Sequence[list[AnyDelta]], parallel: bool, single: bool, thought: bool, voice: Voice | None, thinks: bool,
    finished: bool,
) -> None:  # fmt: skip
    taken = answer(parallel=parallel, single=single, thought=thought, voice=voice, thinks=thinks)
    ending: list[list[AnyDelta]] = [[Finished("stop")]] if finished else []
    streamed = [event for batch in [*batches, *ending] for event in taken.take(batch)]
    kept = [message for message in (taken.message(), taken.request()) if message is not None]
    stored = [event for message in kept for event in whole(message, single_calls=single, voice=voice)]
    assert sorted(told(streamed)) == sorted(told(stored))


def told(found: Iterable[AnyEvent]) -> list[tuple[tuple[str, str, str], str]]:
    """What was shown of each part; one that says nothing is not shown."""
    return [(key, text) for key, text in joined(shown(found)) if text]


def test_what_cannot_be_read_and_tiny_parts_count_towards_the_limit_of_an_answer() -> None:
    """Else a provider could fill the memory with nothing but seals, or with parts of a character each."""
    made = answer()
    made.take([TextDelta("a"), ReasoningDelta("b", "seal"), HiddenReasoningDelta("redacted", "data")] * 100)
    assert made.chars == 300 * PART_CHARS + 100 * len("absealdata")
