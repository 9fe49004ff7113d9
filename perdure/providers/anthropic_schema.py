"""JSON Schemas as Anthropic takes them for the form of an answer: the part of the language that can be held to.

What that is stands in https://platform.claude.com/docs/en/build-with-claude/structured-outputs; one keyword beyond it
costs the whole request. Such a keyword becomes words of the description, which the model reads.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

MAX_DEPTH: Final = 64
"""Schemas nested deeper are cut: nobody writes them, and Anthropic refuses them."""

_KEPT: Final = frozenset({"type", "enum", "const", "title", "description", "default", "required"})
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_NAMED: Final = ("properties", "$defs", "definitions")
_LISTS: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}


def held_schema(schema: Any, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """`schema` with every object closed to properties it does not name, and without what cannot be held to."""
    if not isinstance(schema, dict) or not depth:
        return {}
    given = cast("dict[str, Any]", schema)
    held: dict[str, Any] = {}
    told: list[str] = []
    for name, value in given.items():
        if name in _NAMED and isinstance(value, Mapping):
            fields = cast("Mapping[str, Any]", value)
            held[name] = {key: held_schema(each, depth - 1) for key, each in fields.items()}
        elif name in _LISTS and isinstance(value, list):
            held[_LISTS[name]] = [held_schema(each, depth - 1) for each in cast("list[Any]", value)]
        elif name == "items" and isinstance(value, dict):
            held[name] = held_schema(value, depth - 1)
        elif name in _KEPT or name == "$ref" or _can_hold(name, value):
            held[name] = value
        elif name != "additionalProperties" and not name.startswith("$"):
            told.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    if "$ref" in held:
        return {name: held[name] for name in ("$ref", "$defs", "definitions") if name in held}
    if held.get("type") == "object":
        held["additionalProperties"] = False
    if told:
        held["description"] = "\n\n".join((*([held["description"]] if "description" in held else []), "; ".join(told)))
    return held


def _can_hold(name: str, value: Any) -> bool:
    return (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1))
