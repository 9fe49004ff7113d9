from typing import Any

import pytest

from perdure.providers.base import (
    Finished,
    ToolCallDelta,
)
from tests.providers.chat import (
    HELLO,
    STOP,
    SYSTEM,
    asked,
    call,
    chunk,
    deltas,
    fragment,
    message,
    returned,
    shape,
)
from tests.providers.scripted import events, streams


def test_a_call_in_fragments() -> None:
    got = deltas(
        chunk({"role": "assistant", "content": None, "tool_calls": [fragment(index=0, id="c1", name="add")]}),
        chunk({"tool_calls": [fragment('{"a"', index=0)]}),
        chunk({"tool_calls": [fragment(": 1}", index=0)]}),
        chunk(finish_reason="tool_calls"),
    )
    assert shape(got) == [(0, "c1", "add", ""), (0, None, None, '{"a"'), (0, None, None, ": 1}")]
    assert got[-1] == Finished("tool_calls")


def test_parallel_calls_with_interleaved_arguments() -> None:
    got = deltas(
        chunk({"tool_calls": [fragment(index=0, id="a", name="add"), fragment(index=1, id="b", name="say")]}),
        chunk({"tool_calls": [fragment("{", index=1), fragment("{", index=0)]}),
        chunk({"tool_calls": [fragment("}", index=0), fragment("}", index=1)]}),
        chunk(finish_reason="tool_calls"),
    )
    assert [(d[0], d[3]) for d in shape(got)[2:]] == [(1, "{"), (0, "{"), (0, "}"), (1, "}")]


@pytest.mark.parametrize(
    "calls",
    [
        [fragment("{}", index=0, id="a", name="add"), fragment("{}", index=0, id="b", name="say")],
        [fragment("{}", id="a", name="add"), fragment("{}", id="b", name="say")],
        [fragment("{}", index=3, id="a", name="add"), fragment("{}", index=7, id="b", name="say")],
        [fragment("{}", index=0, id="a", name="add"), fragment("{}", index=None, id="b", name="say")],
    ],
    ids=["one index for all", "no index", "odd indexes", "null index"],
)
def test_whole_calls_in_one_chunk(calls: list[dict[str, Any]]) -> None:
    got = deltas(chunk({"tool_calls": calls}), chunk(finish_reason="stop"))
    assert shape(got) == [(0, "a", "add", ""), (0, None, None, "{}"), (1, "b", "say", ""), (1, None, None, "{}")]
    assert got[-1] == Finished("tool_calls")


def test_fragments_without_index_or_id_continue_the_call_before() -> None:
    got = deltas(
        chunk({"tool_calls": [fragment(id="a", name="add")]}),
        chunk({"tool_calls": [fragment('{"x":')]}),
        chunk({"tool_calls": [fragment("1}", id="a")]}),
        chunk(finish_reason="tool_calls"),
    )
    assert shape(got) == [(0, "a", "add", ""), (0, None, None, '{"x":'), (0, None, None, "1}")]


def test_an_id_and_a_name_repeated_on_every_fragment_are_one_call() -> None:
    pieces = [chunk({"tool_calls": [fragment(a, index=0, id="a", name="add")]}) for a in ("{", "}")]
    assert shape(deltas(*pieces, STOP)) == [(0, "a", "add", ""), (0, None, None, "{"), (0, None, None, "}")]


def test_a_fresh_id_on_every_fragment_is_one_call() -> None:
    got = deltas(
        chunk({"tool_calls": [fragment(index=0, id="a", name="add")]}),
        chunk({"tool_calls": [fragment("{}", index=0, id="b")]}),
        STOP,
    )
    assert shape(got) == [(0, "a", "add", ""), (0, None, None, "{}")]


@pytest.mark.parametrize("given", [{}, {"id": None}, {"id": ""}, {"id": "bad\0"}, {"id": "x" * 300}])
def test_missing_or_useless_ids_are_made_up(given: dict[str, Any]) -> None:
    [(index, call_id, name, _)] = shape(deltas(chunk({"tool_calls": [fragment(index=0, name="add", **given)]}), STOP))
    assert (index, name) == (0, "add")
    assert call_id.startswith("call_")
    assert len(call_id) == len("call_") + 8


def test_two_calls_never_share_an_id_nor_take_one_from_history() -> None:
    calls = [fragment("{}", index=n, id=given, name="add") for n, given in enumerate(("same", "same", "used"))]
    history = (SYSTEM, HELLO, message("assistant", call("used")), returned("used"))
    got, _ = asked(streams(*events(chunk({"tool_calls": calls}), STOP, "[DONE]")), *history)
    ids = [d.call_id for d in got if isinstance(d, ToolCallDelta) and d.call_id]
    assert ids[0] == "same"
    assert len(set(ids)) == 3
    assert "used" not in ids


def test_a_name_that_comes_late_comes_first() -> None:
    got = deltas(
        chunk({"tool_calls": [fragment('{"a":', index=0, id="c")]}),
        chunk({"tool_calls": [fragment("1}", index=0, name="add")]}),
        STOP,
    )
    assert shape(got) == [(0, "c", "add", ""), (0, None, None, '{"a":'), (0, None, None, "1}")]


def test_a_call_without_a_name_is_still_shown() -> None:
    got = deltas(chunk({"tool_calls": [fragment("{}", index=0, id="c")]}), STOP)
    assert shape(got) == [(0, "c", "", ""), (0, None, None, "{}")]


def test_arguments_as_an_object_and_numbers_as_text() -> None:
    lenient = {"index": "0", "id": 5, "function": {"name": "add", "arguments": {"a": "\u00e9"}}}
    assert shape(deltas(chunk({"tool_calls": [lenient]}), STOP)) == [
        (0, "5", "add", ""),
        (0, None, None, '{"a": "\\u00e9"}'),
    ]
