"""Arguments for a tool that is known only by its schema: valid as far as the schema says what is."""

from typing import Any, Final

MAX_DEPTH: Final = 8

_FORMATS: Final = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
    "email": "someone@example.com",
}


def completed(given: dict[str, Any], tool: dict[str, Any], text: str, *, go_on: bool) -> dict[str, Any]:
    """`given` with every required argument that the tool's schema asks for; strings take `text` where anything goes.

    `go_on` answers the `request_heartbeat` of agents whose tools carry that argument.
    """
    schema = _mapping(tool.get("parameters"))
    properties = _mapping(schema.get("properties"))
    arguments = dict(given)
    if "request_heartbeat" in properties:
        arguments.setdefault("request_heartbeat", go_on)
    definitions = _mapping(schema.get("$defs")) | _mapping(schema.get("definitions"))
    for name in _required(schema):
        if name not in arguments:
            arguments[name] = _value(_mapping(properties.get(name)), text, definitions, 1)
    return arguments


def _value(schema: dict[str, Any], text: str, definitions: dict[str, Any], depth: int) -> Any:
    schema = _resolved(schema, definitions)
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    match _type(schema):
        case "object" if depth < MAX_DEPTH:
            properties = _mapping(schema.get("properties"))
            return {
                name: _value(_mapping(properties.get(name)), text, definitions, depth + 1) for name in _required(schema)
            }
        case "object":
            return {}
        case "array" if depth < MAX_DEPTH:
            item = _value(_mapping(schema.get("items")), text, definitions, depth + 1)
            return [item] * min(_whole(schema.get("minItems"), 0), 10)
        case "array":
            return []
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _string(schema, text)


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema behind references and alternatives; of alternatives the first that is not null."""
    for _ in range(MAX_DEPTH):
        reference = schema.get("$ref")
        options = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(schema.get(key), list)), [])
        if isinstance(reference, str):
            schema = _mapping(definitions.get(reference.rsplit("/", 1)[-1]))
        elif options and "default" not in schema:
            kinds = [_mapping(option) for option in options]
            schema = next((kind for kind in kinds if kind.get("type") != "null"), kinds[0])
        else:
            break
    return schema


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "string"


def _number(schema: dict[str, Any]) -> Any:
    """The smallest number allowed from 1 up, or the largest allowed where 1 is too much."""
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    value: Any = 1
    if isinstance(low, int | float) and low >= 1:
        value = low + 1 if "exclusiveMinimum" in schema else low
    if isinstance(high, int | float) and high < value:
        value = high
    return value


def _string(schema: dict[str, Any], text: str) -> str:
    form = schema.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    shortest = min(_whole(schema.get("minLength"), 0), 1_000)
    return text[: _whole(schema.get("maxLength"), 500)].ljust(shortest, ".")


def _required(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise
