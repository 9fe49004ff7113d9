"""JSON Schemas that an answer of Anthropic's, or a call, can be held to: a part of the language.

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
_VAGUE: Final = ("$ref", "anyOf", "oneOf", "allOf", "not", "if", "patternProperties", "prefixItems")
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


def is_closed(schema: Mapping[str, Any], depth: int = MAX_DEPTH) -> bool:
    """Whether every object in it says all it takes, in so many words that calls can be held to it."""
    if not depth or any(word in schema for word in _VAGUE) or isinstance(schema.get("type"), list):
        return False
    if isinstance(items := schema.get("items"), Mapping):
        return is_closed(cast("Mapping[str, Any]", items), depth - 1)
    if schema.get("type") != "object":
        return "type" in schema
    properties = cast("Mapping[str, Any]", schema.get("properties") or {})
    if schema.get("additionalProperties", False) is not False or (not properties and depth < MAX_DEPTH):
        return False
    return all(isinstance(each, Mapping) and is_closed(each, depth - 1) for each in properties.values())


def _can_hold(name: str, value: Any) -> bool:
    return (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1))
