from typing import Any

import pytest

from perdure.providers.gemini_schema import MAX_DEPTH, known_schema


@pytest.mark.parametrize(
    ("schema", "known"),
    [
        ({"type": "string", "pattern": "a+", "default": "a", "examples": ["a"]}, {"type": "string"}),
        ({"type": ["string", "null"], "description": "D"}, {"type": ["string", "null"], "description": "D"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"format": "uri", "description": "Where."}, {"description": "Where. (format: uri)"}),
        ({"format": ["odd"]}, {"description": "(format: ['odd'])"}),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"type": "string", "enum": ["a", 1]}, {"type": "string", "enum": ["a", 1]}),
        ({"enum": [True, False]}, {}),
        ({"enum": ["a", None]}, {}),
        ({"items": {"$comment": "x", "type": "number"}}, {"items": {"type": "number"}}),
        ({"anyOf": [{"type": "null"}, {"title": "T", "if": {}}]}, {"anyOf": [{"type": "null"}, {"title": "T"}]}),
        ({"allOf": [{"type": "string"}], "description": "D"}, {"type": "string", "description": "D"}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"additionalProperties": {"type": "string", "minLength": 1}}, {"additionalProperties": {"type": "string"}}),
        ({"$ref": "#/definitions/A", "description": "D"}, {"$ref": "#/$defs/A"}),
        ({"definitions": {"A": {"type": "string", "x": 1}}}, {"$defs": {"A": {"type": "string"}}}),
        ({"properties": {"pattern": {"type": "string"}}}, {"properties": {"pattern": {"type": "string"}}}),
        (True, {}),
        (None, {}),
        ({"properties": 7, "items": [], "anyOf": "x"}, {}),
    ],
)
def test_only_what_gemini_knows_is_left(schema: Any, known: dict[str, Any]) -> None:
    assert known_schema(schema) == known


def test_what_is_nested_without_end_is_cut() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    known, depth = known_schema(schema), 0
    while "items" in known:
        known, depth = known["items"], depth + 1
    assert depth == MAX_DEPTH
