"""Reading a model's arguments: nothing it writes raises anything but a clear refusal."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.errors import Invalid
from perdure.tools.arguments import check, parse

ONE_OF_EACH: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "on": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        "options": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["name"],
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"a": 1}', {"a": 1}),
        (' \n{"a": 1}\n', {"a": 1}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ('{"a": 1}{"a": 2}', {"a": 1}),
        ('{"a": 1}\n{"b":', {"a": 1}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        ('{"\\u0000": "\\ud83d x \\u0000"}', {"\ufffd": "\ufffd x \ufffd"}),
    ],
)
def test_an_object_is_read(text: str, wanted: dict[str, Any]) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[1]", '"text"', "5", '{"a": 1', "{'a': 1}", '{"a": 1} and more', '{"a": 1}}', '{"a": NaN}',
        '{"a": -Infinity}', '{"a": 1e999}', '{"a": ' + "9" * 5000 + "}", '{"a":' * 10_000, "[" * 100_000,
        '{"a": ' + "[" * 100 + "]" * 100 + "}",
    ],
)  # fmt: skip
def test_what_is_no_sound_object_counts_as_no_arguments(text: str) -> None:
    assert parse(text) == {}


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert isinstance(parse(text), dict)


@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.integers() | st.booleans()))
def test_what_was_written_is_what_is_read(values: dict[str, Any]) -> None:
    assert parse(json.dumps(values)) == values


def test_arguments_that_fit_come_through() -> None:
    values: dict[str, Any] = {
        "name": "x", "count": 3, "ratio": 2, "on": False, "tags": ["a"], "options": {"x": 1, "y": []}, "either": None
    }  # fmt: skip
    assert check(values, ONE_OF_EACH) == values


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "'name' is missing"),
        ({"name": 5}, "'name' must be a string, not an integer"),
        ({"name": None}, "'name' must be a string, not null"),
        ({"name": "x", "count": "5"}, "'count' must be an integer, not a string"),
        ({"name": "x", "count": True}, "'count' must be an integer, not true or false"),
        ({"name": "x", "count": 5.5}, "'count' must be an integer, not a number"),
        ({"name": "x", "count": 2**63}, "'count' is too large a number"),
        ({"name": "x", "count": 1e300}, "'count' is too large a number"),
        ({"name": "x", "on": 1}, "'on' must be true or false, not an integer"),
        ({"name": "x", "tags": "a"}, "'tags' must be a list, not a string"),
        ({"name": "x", "tags": ["a", "c"]}, "'tags'[1] must be one of \"a\", \"b\""),
        ({"name": "x", "options": "{}"}, "'options' must be an object, not a string"),
        ({"name": "x", "options": {}}, "'options' lacks 'x'"),
        ({"name": "x", "either": 1}, "'either' must be a string, not an integer or 'either' must be null"),
        ({"name": "x", "other": 1}, "'other' is not an argument of this tool"),
        ({"name": "x", "__class__": 1}, "'__class__' is not an argument"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(values, ONE_OF_EACH)
    assert problem in refused.value.message
    assert "This tool's arguments: name (required), count, ratio" in refused.value.message


def test_an_error_stays_short_whatever_was_written() -> None:
    with pytest.raises(Invalid) as refused:
        check({f"{'x' * 10_000}{number}": 1 for number in range(1_000)}, ONE_OF_EACH)
    assert len(refused.value.message) < 1_000


def test_a_whole_number_written_as_a_fraction_becomes_an_integer() -> None:
    fitted = check({"name": "x", "count": 5.0}, ONE_OF_EACH)
    assert fitted["count"] == 5
    assert isinstance(fitted["count"], int)


def test_null_for_an_argument_that_may_be_left_out_leaves_it_out() -> None:
    assert check({"name": "x", "count": None}, ONE_OF_EACH) == {"name": "x"}


def test_what_is_meant_for_the_loop_is_dropped_unless_the_tool_has_it() -> None:
    values = {"request_heartbeat": True, "thinking": "hm", "inner_thoughts": "hm"}
    schema = {"type": "object", "properties": {"thinking": {"type": "string"}}}
    assert check(values, schema) == {"thinking": "hm"}


@pytest.mark.parametrize("others", [True, {}, {"type": "integer"}])
def test_a_schema_that_allows_more_arguments_gets_them(others: Any) -> None:
    assert check({"more": 1}, {"type": "object", "properties": {}, "additionalProperties": others}) == {"more": 1}


@given(values=st.dictionaries(st.text(), json_values), schema=st.dictionaries(
    st.sampled_from(["type", "properties", "required", "items", "enum", "const", "anyOf", "additionalProperties"]),
    json_values | st.dictionaries(st.text(), json_values),
))  # fmt: skip
def test_a_schema_of_any_shape_gives_arguments_or_a_refusal(values: dict[str, Any], schema: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(check(values, schema), dict)
