"""What a call's arguments hold is known while they stream, however they are split."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.arguments import StreamedArguments, with_field

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def read(text: str, size: int, watched: tuple[str, ...], cut: tuple[str, ...] = ()) -> tuple[dict[str, str], str]:
    """The watched texts and the raw rest, fed in fragments of `size`."""
    reader, fields, raw = StreamedArguments(watched, cut), dict[str, str](), ""
    for at in range(0, len(text), size):
        for piece in reader.feed(text[at : at + size]):
            if piece.field is None:
                raw += piece.text
            else:
                fields[piece.field] = fields.get(piece.field, "") + piece.text
    return fields, raw


@given(
    st.text(), st.dictionaries(st.text(max_size=5).filter(lambda key: key not in ("message", "thinking")), VALUES,
    max_size=3), st.integers(1, 9), st.booleans(), st.sampled_from([None, 1]),
)  # fmt: skip
def test_a_watched_field_comes_out_whole(
    said: str, others: dict[str, Any], size: int, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps({**others, "message": said, "last": 1}, ensure_ascii=ascii_only, indent=indent)
    fields, raw = read(text, size, ("message",))
    assert fields.get("message", "") == said.replace("\0", "\ufffd")
    assert json.loads(raw) == {**others, "message": said, "last": 1}


@given(st.text(), st.text(), st.integers(1, 9), st.permutations(["thinking", "message", "n"]))
def test_a_cut_field_is_gone_from_the_rest(thought: str, said: str, size: int, order: list[str]) -> None:
    whole = {"thinking": thought.replace("\0", ""), "message": said.replace("\0", ""), "n": [1, {"a": "b"}]}
    fields, raw = read(json.dumps({key: whole[key] for key in order}), size, ("thinking", "message"), ("thinking",))
    assert (fields.get("thinking", ""), fields.get("message", "")) == (whole["thinking"], whole["message"])
    assert json.loads(raw) == {key: whole[key] for key in order if key != "thinking"}


@given(VALUES.filter(lambda value: not isinstance(value, str)), st.integers(1, 9), st.permutations(["thinking", "n"]))
def test_a_cut_field_that_is_no_text_is_left_out(value: Any, size: int, order: list[str]) -> None:
    whole = {"thinking": value, "n": {"thinking": 1}}
    fields, raw = read(json.dumps({key: whole[key] for key in order}), size, ("thinking",), ("thinking",))
    assert (fields, json.loads(raw)) == ({}, {"n": {"thinking": 1}})


@given(st.text(), st.dictionaries(st.text(max_size=5).filter(lambda key: key != "thinking"), VALUES, max_size=3))
def test_what_was_cut_can_be_put_back(thought: str, others: dict[str, Any]) -> None:
    fields, raw = read(json.dumps({"thinking": thought, **others}), 5, ("thinking",), ("thinking",))
    back = json.loads(with_field(raw, "thinking", fields.get("thinking", "")))
    assert list(back.items()) == [("thinking", thought.replace("\0", "\ufffd")), *others.items()]


@pytest.mark.parametrize("text", ["", "null", "[{}]", '"{"', "{"])
def test_nothing_is_put_into_what_is_no_object(text: str) -> None:
    assert with_field(text, "thinking", "hm") in (text, '{"thinking": "hm", ')


@pytest.mark.parametrize("text", ["", "null", "[1, 2]", '"message"', "message: hi", '{"a": 1} {"message": "x"}', "{}"])
def test_what_is_no_object_with_the_field_comes_out_as_it_is(text: str) -> None:
    fields, raw = read(text, 2, ("message",))
    assert fields == {}
    assert raw == text


def test_what_is_cut_off_gives_what_was_there() -> None:
    assert read('{"message": "Hel\\u00e9l', 3, ("message",))[0] == {"message": "Hel\u00e9l"}


def test_half_a_pair_is_replaced() -> None:
    assert read('{"message": "\\ud83d!\\ud83d\\ude00\\ude00"}', 1, ("message",))[0] == {"message": "\ufffd!😀\ufffd"}
