"""The arguments of a tool call: read from the text a model wrote, then checked against the tool's schema.

Everything here is a model's word and may be anything: cut, doubled, nested without end, of the wrong kind.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from perdure.domain.errors import Invalid
from perdure.providers.text import storable

LOOP_KEYS: Final = frozenset({"request_heartbeat", "thinking", "inner_thoughts"})
"""Arguments meant for the loop. A tool sees one only if its own schema has it."""

MAX_DEPTH: Final = 64
"""Levels of nesting; what goes deeper is taken for unreadable."""

MAX_INTEGER: Final = 2**63
MAX_PROBLEMS: Final = 5
"""Problems that one error names."""

_KINDS: Final[Mapping[str, str]] = {
    "string": "a string", "integer": "an integer", "number": "a number", "boolean": "true or false",
    "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip


def parse(text: str) -> dict[str, Any]:
    """The object a model wrote; of two in a row the first. Empty where the text holds no object.

    A key written twice has its last value, as in every client that shows the call to a person for approval.
    """
    source = text.strip("\ufeff \t\r\n")
    try:
        value, end = _DECODER.raw_decode(source)
        rest = source[end:].lstrip()
        if not isinstance(value, dict) or (rest and not rest.startswith("{")):
            return {}
        return _cleaned(value, MAX_DEPTH)
    except (ValueError, RecursionError):
        return {}


def _cleaned(value: Any, levels: int) -> Any:
    """`value` with all its texts storable. Raises ValueError where it is nested too deep."""
    if isinstance(value, str):
        return storable(value)
    if not isinstance(value, dict | list):
        return value
    if not levels:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_cleaned(item, levels - 1) for item in value]
    return {storable(key): _cleaned(item, levels - 1) for key, item in value.items()}


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Not strict: small models write real line breaks inside their strings.
_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant, strict=False)


def check(values: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as a tool with this JSON schema takes them. Raises Invalid naming what is wrong with which.

    Two things are mended: 5.0 for an integer, and null for an argument that could have been left out.
    """
    properties = _mapping(parameters.get("properties"))
    required = _names(parameters.get("required"))
    others = parameters.get("additionalProperties", "properties" not in parameters)
    problems = [f"{_quoted(name)} is missing" for name in required if name not in values]
    fitted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in properties:
            if name in LOOP_KEYS:
                continue
            if others is False:
                problems.append(f"{_quoted(name)} is not an argument of this tool")
                continue
        try:
            fitted[name] = _fitted(value, properties.get(name, others), _quoted(name))
        except Invalid as error:
            if value is not None or name in required:
                problems.append(error.message)
    if problems:
        takes = ", ".join(f"{name} (required)" if name in required else name for name in properties) or "none"
        raise Invalid(f"Wrong arguments: {'; '.join(problems[:MAX_PROBLEMS])}. This tool's arguments: {takes}.")
    return fitted


def _fitted(value: Any, schema: Any, name: str) -> Any:
    """`value` as `schema` wants it. A part of a schema that is unknown or malformed allows everything."""
    schema = _mapping(schema)
    options = _sequence(schema.get("anyOf")) or _sequence(schema.get("oneOf"))
    if options:
        value = _of_any(value, options, name)
    kinds = [kind for kind in _names(schema.get("type")) if kind in _KINDS]
    if kinds and not (value is None and schema.get("nullable") is True):
        value = _of_kind(value, kinds, name)
    allowed = [schema["const"]] if "const" in schema else _sequence(schema.get("enum"))
    if allowed and not any(_same(value, choice) for choice in allowed):
        raise Invalid(f"{name} must be one of {', '.join(json.dumps(choice)[:60] for choice in allowed[:20])}")
    if isinstance(value, list):
        return [_fitted(item, schema.get("items"), f"{name}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, dict):
        return _fitted_object(value, schema, name)
    return value


def _fitted_object(value: dict[str, Any], schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    properties = _mapping(schema.get("properties"))
    for key in _names(schema.get("required")):
        if key not in value:
            raise Invalid(f"{name} lacks {_quoted(key)}")
    others = schema.get("additionalProperties")
    fitted: dict[str, Any] = {}
    for key, item in value.items():
        if key not in properties and others is False:
            raise Invalid(f"{name} has an unknown key {_quoted(key)}")
        fitted[key] = _fitted(item, properties.get(key, others), f"{name}.{key[:60]}")
    return fitted


def _of_any(value: Any, options: Sequence[Any], name: str) -> Any:
    problems: list[str] = []
    for option in options:
        try:
            return _fitted(value, option, name)
        except Invalid as error:
            problems.append(error.message)
    raise Invalid(" or ".join(dict.fromkeys(problems)))


def _of_kind(value: Any, kinds: Sequence[str], name: str) -> Any:
    kind = _kind_of(value)
    if "integer" in kinds and kind == "number" and value.is_integer():
        value, kind = int(value), "integer"
    if kind == "integer" and not -MAX_INTEGER <= value < MAX_INTEGER:
        raise Invalid(f"{name} is too large a number")
    if kind in kinds or (kind == "integer" and "number" in kinds):
        return value
    raise Invalid(f"{name} must be {' or '.join(_KINDS[wanted] for wanted in kinds)}, not {_KINDS[kind]}")


def _kind_of(value: Any) -> str:
    """The JSON name of a value's kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _same(value: Any, choice: Any) -> bool:
    return type(value) is type(choice) and value == choice


def _quoted(name: str) -> str:
    return repr(name[:60])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else [name for name in _sequence(value) if isinstance(name, str)]


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
