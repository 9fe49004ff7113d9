"""Recorded streams with something else in the place of what belongs there: an answer or a named error, never a crash.

What is said can be stored, whatever it was made of.
"""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain.errors import ModelError
from perdure.providers.base import Finished, ToolCallDelta
from perdure.providers.text import is_storable
from tests.providers.recorded import FILES, Read, payloads, raw, read
from tests.providers.test_bedrock import exception

WEIRD: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 64, 10**400, 0.5, float("nan"), "", "x", "\0", "\ud83d", "\ude00", "1" * 5000, [], [[]],
    [{}], {}, {"a": 1}, {"type": "error"}, {"message": "m"}, {"error": {"message": {"message": "x"}}}, "error",
)  # fmt: skip
NAMES = (
    "type", "index", "delta", "content", "text", "tool_calls", "function", "name", "arguments", "id", "item", "summary",
    "output_index", "error", "usage", "finish_reason", "choices", "thinking", "signature", "content_block", "input",
    "args", "thoughtSignature", "functionCall", "parts", "candidates", "finishReason", "response", "encrypted_content",
)  # fmt: skip
"""Where something may be put that was not there."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every piece of a JSON value."""
    inside: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, each in inside for way in places(each, (*path, key)))]


def changed(payload: bytes, at: int, name: str | None, weird: Any) -> bytes:
    """A payload with `weird` in place number `at`, or under `name` in what is there."""
    try:
        value = json.loads(payload)
    except ValueError:
        return payload
    ways = [way for way in places(value) if way]
    if not ways:
        return json.dumps(weird).encode()
    *way, last = ways[at % len(ways)]
    inner = value
    for key in way:
        inner = inner[key]
    if name is not None and isinstance(inner[last], dict):
        inner, last = inner[last], name
    inner[last] = weird
    return json.dumps(value).encode()


def assert_named_and_storable(found: Read) -> None:
    for delta in found.deltas:
        fields = msgspec.structs.asdict(delta)
        texts = [fields.get(name) or "" for name in ("text", "arguments", "name", "call_id", "signature", "data")]
        assert all(is_storable(text) for text in texts)
        assert is_storable(json.dumps(fields.get("extra"), ensure_ascii=False))
        assert not isinstance(delta, ToolCallDelta) or delta.index >= 0
    assert is_storable(found.error.detail) if found.error else isinstance(found.deltas[-1], Finished)


CHANGE = st.tuples(
    st.integers(0, 60), st.integers(0, 60), st.one_of(st.none(), st.sampled_from(NAMES)), st.sampled_from(WEIRD)
)


@given(st.sampled_from(sorted(FILES)), st.lists(CHANGE, min_size=1, max_size=4))
@settings(max_examples=250, deadline=None)
def test_anything_in_any_place(name: str, changes: list[tuple[int, int, str | None, Any]]) -> None:
    dialect = name.partition("/")[0]
    sent = [each for group in payloads(dialect, [raw(name)]) for each in group]
    for number, at, under, weird in changes if sent else ():
        sent[number % len(sent)] = changed(sent[number % len(sent)], at, under, weird)
    assert_named_and_storable(read(dialect, [sent]))


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 30), st.binary(max_size=6)), max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_anywhere(name: str, changes: list[tuple[int, int, bytes]]) -> None:
    dialect, stream = name.partition("/")[0], raw(name)
    for at, lost, written in changes:
        at %= len(stream) + 1
        stream = stream[:at] + written + stream[at + lost :]
    with contextlib.suppress(ModelError):
        assert_named_and_storable(read(dialect, payloads(dialect, [stream])))


@pytest.mark.parametrize(
    ("dialect", "payload"),
    [
        ("openai_chat", '{"choices": "\\ud83d"}'),
        ("openai_responses", '{"type": "response.created", "output_index": "\\ud83d"}'),
        ("openai_responses", '{"type": {}}'),
        (
            "openai_responses",
            '{"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning", "summary": 7}}',
        ),
        ("anthropic", '{"type": "content_block_start", "index": "\\ud83d"}'),
        ("gemini", '{"candidates": "\\ud83d"}'),
        ("gemini", '{"candidates": [{"content": {"parts": [{"text": "x", "thoughtSignature": "\\u0000"}]}}]}'),
        ("gemini", '{"candidates": [{"content": {"parts": [{"functionCall": {}, "thoughtSignature": "\\ud83d"}]}}]}'),
    ],
)
def test_what_mutations_once_found(dialect: str, payload: str) -> None:
    assert_named_and_storable(read(dialect, [[payload.encode()]]))


def test_an_exception_of_aws_in_words_that_cannot_be_stored() -> None:
    found = read("bedrock", payloads("bedrock", [exception("throttlingException", "Slowly \ud83d\0")]))
    assert found.error is not None
    assert (found.error.error_type, found.error.detail) == ("llm_rate_limit", "Slowly \ufffd\ufffd")


def test_no_number_of_pieces_costs_more_than_it_is_worth() -> None:
    """What grew with the square of what a server sent kept everybody waiting for minutes, or filled the memory."""
    calls = [{"id": f"c{number}", "function": {"name": "add", "arguments": "{}"}} for number in range(20_000)]
    found = read("openai_chat", [[json.dumps({"choices": [{"delta": {"tool_calls": calls}}]}).encode()]])
    assert found.error is not None
    assert "more than 10000 tools" in found.error.detail
    nameless = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "x" * 600_000}}]}}]}
    found = read("openai_chat", [[json.dumps(nameless).encode()]] * 2)
    assert found.error is not None
    assert "without saying which" in found.error.detail
    pieces = [{"text": "x", "thoughtSignature": "s"}] * 20_000
    found = read("gemini", [[json.dumps({"candidates": [{"content": {"parts": pieces}}]}).encode()]])
    assert max(len(delta.extra["google_ai"]["seals"]) for delta in found.deltas if delta.extra) == 100
