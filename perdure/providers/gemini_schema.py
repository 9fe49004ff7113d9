"""JSON Schemas as Gemini takes them: the part of the language it knows, and nothing else.

What it knows stands under `responseJsonSchema` in https://ai.google.dev/api/generate-content; a keyword beyond that may
cost the whole request.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

MAX_DEPTH: Final = 64
"""Schemas nested deeper are cut: nobody writes them, and a tool of a stranger must not break a request."""

_KEPT: Final = frozenset({
    "$id", "$anchor", "type", "format", "title", "description", "minItems", "maxItems", "minimum", "maximum",
    "required", "propertyOrdering",
})  # fmt: skip
_FORMATS: Final = frozenset({"date-time", "date", "time", "float", "double", "int32", "int64"})
_OF_SCHEMAS: Final = ("properties", "$defs")
_LISTS: Final = ("anyOf", "oneOf", "prefixItems")
_SCHEMAS: Final = ("items", "additionalProperties")


def known_schema(schema: Any, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """`schema` without the keywords Gemini does not know.

    `const` becomes an `enum`, a lone `allOf` its content, and a `format` that is not known a word in the description.
    """
    if not isinstance(schema, dict) or not depth:
        return {}
    given = cast("dict[str, Any]", schema)
    if isinstance(reference := given.get("$ref"), str):
        # Nothing may stand beside a reference but its own kind.
        known: dict[str, Any] = {"$ref": reference.replace("#/definitions/", "#/$defs/", 1)}
    else:
        known = {name: value for name, value in given.items() if name in _KEPT} | _alternatives(given)
        if (form := known.get("format")) is not None and str(form) not in _FORMATS:
            del known["format"]
            known["description"] = f"{given.get('description') or ''} (format: {form})".strip()
        for name in _LISTS:
            if isinstance(listed := given.get(name), list):
                known[name] = [known_schema(each, depth - 1) for each in cast("list[Any]", listed)]
        for name in _SCHEMAS:
            if isinstance(inner := given.get(name), dict):
                known[name] = known_schema(inner, depth - 1)
            elif name == "additionalProperties" and isinstance(inner, bool):
                known[name] = inner
        if isinstance(every := given.get("allOf"), list) and len(cast("list[Any]", every)) == 1:
            known = known_schema(every[0], depth - 1) | known
    named = {**given, "$defs": given.get("$defs") or given.get("definitions")}
    for name in _OF_SCHEMAS:
        if isinstance(inner := named.get(name), dict) and not ("$ref" in known and name == "properties"):
            fields = cast("Mapping[str, Any]", inner)
            known[name] = {key: known_schema(value, depth - 1) for key, value in fields.items()}
    return known


def _alternatives(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values a schema allows, as far as they can be said: only text and numbers can."""
    values: Any = [given["const"]] if "const" in given else given.get("enum")
    if not isinstance(values, list):
        return {}
    sayable = [v for v in cast("list[Any]", values) if isinstance(v, str | int | float) and not isinstance(v, bool)]
    return {"enum": sayable} if sayable and len(sayable) == len(cast("list[Any]", values)) else {}
