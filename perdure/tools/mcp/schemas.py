"""The tools that a server offers, looked at before anybody relies on them: a bad one is left out and harms no other.

A schema comes out without references: those within it are put in their places, as far as they lead somewhere and end.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from perdure.domain.mcp_servers import Health, Offer
from perdure.providers.text import storable

MAX_DEPTH: Final = 24
MAX_NODES: Final = 2_000
"""Schemas within one schema, each counted as often as it is referred to."""
MAX_CHARS: Final = 64_000
"""Characters of all texts in one schema."""
MAX_DESCRIPTION: Final = 4_000
MAX_NAME: Final = 128
MOST_TOOLS: Final = 1_000
"""Tools of one server; what it offers beyond is left out."""

_SCHEMAS_BY_NAME: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SCHEMA_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_ONE_SCHEMA: Final = frozenset({
    "additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_DROPPED: Final = frozenset({"$anchor", "$comment", "$defs", "$id", "$schema", "definitions"})
_DYNAMIC: Final = frozenset({"$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"})


class _BadSchemaError(Exception):
    """Why a schema is of no use."""


def vet(definitions: Iterable[Any]) -> tuple[list[Offer], list[str]]:
    """The tools in a server's list, each name once, and what is wrong with the list beside them."""
    offers: dict[str, Offer] = {}
    problems: list[str] = []
    seen = 0
    for seen, definition in enumerate(definitions, 1):  # noqa: B007
        if len(offers) >= MOST_TOOLS:
            continue
        name = definition.get("name") if isinstance(definition, Mapping) else None
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            problems.append(f"A tool has no name of 1 to {MAX_NAME} printable characters.")
        elif name in offers:
            problems.append(f"The tool {name!r} is listed more than once; the first is taken.")
        else:
            offers[name] = _offer(storable(name), definition)
    if seen > MOST_TOOLS:
        problems.append(f"It offers {seen} tools, of which the first {MOST_TOOLS} are looked at.")
    return list(offers.values()), list(dict.fromkeys(problems))


def _offer(name: str, definition: Mapping[str, Any]) -> Offer:
    described = definition.get("description")
    description = storable(described) if isinstance(described, str) else ""
    if len(description) > MAX_DESCRIPTION:
        description = description[: MAX_DESCRIPTION - 1] + "…"
    about = Offer(name=name, description=description, parameters={}, health="INVALID", digest=digest(definition))
    try:
        parameters = _Schema(definition.get("inputSchema")).parameters()
    except _BadSchemaError as error:
        return msgspec.structs.replace(about, reasons=(str(error),))
    reasons = tuple(dict.fromkeys(_loose(parameters, "the schema")))[:10]
    health: Health = "NON_STRICT_ONLY" if reasons else "STRICT_COMPLIANT"
    return msgspec.structs.replace(about, parameters=parameters, health=health, reasons=reasons)


class _Schema:
    """One schema on its way to being plain."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._nodes = 0
        self._chars = 0

    def parameters(self) -> dict[str, Any]:
        """The schema of a tool's arguments. Raises _BadSchemaError."""
        if not isinstance(self._root, Mapping):
            raise _BadSchemaError("Its inputSchema is not an object.")
        plain = self._plain(self._root, 0, ())
        if not isinstance(plain, dict) or plain.setdefault("type", "object") != "object":
            raise _BadSchemaError("Its inputSchema must have the type 'object': arguments have names.")
        if not isinstance(plain.setdefault("properties", {}), dict):
            raise _BadSchemaError("Its properties are not an object.")
        return plain

    def _plain(self, schema: Any, depth: int, inside: tuple[str, ...]) -> Any:
        """`schema` without references, `inside` those that led here."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _BadSchemaError(f"It has more than {MAX_NODES} parts, with those it refers to put in their places.")
        if depth > MAX_DEPTH:
            raise _BadSchemaError(f"It is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise _BadSchemaError("A part of it is no schema.")
        if _DYNAMIC & schema.keys():
            raise _BadSchemaError(f"It uses {', '.join(sorted(_DYNAMIC & schema.keys()))}, which models do not know.")
        if "$ref" in schema:
            reference = schema["$ref"]
            if reference in inside:
                raise _BadSchemaError(f"It is recursive: {str(reference)[:100]} refers to itself.")
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            target = self._plain(self._target(reference), depth + 1, (*inside, reference))
            rest = self._members(beside, depth, inside)
            return {**target, **rest} if isinstance(target, dict) else rest or target
        return self._members(schema, depth, inside)

    def _members(self, schema: Mapping[str, Any], depth: int, inside: tuple[str, ...]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in schema.items():
            self._count(key)
            if key in _DROPPED:
                continue
            if key in _SCHEMAS_BY_NAME and isinstance(value, Mapping):
                plain[key] = {self._text(name): self._plain(each, depth + 1, inside) for name, each in value.items()}
            elif key in _SCHEMA_LISTS and isinstance(value, list):
                plain[key] = [self._plain(each, depth + 1, inside) for each in value]
            elif key in _ONE_SCHEMA and isinstance(value, Mapping | bool):
                plain[key] = self._plain(value, depth + 1, inside)
            else:
                plain[self._text(key)] = self._value(value, depth + 1)
        return plain

    def _target(self, reference: Any) -> Any:
        """What a reference within the schema names."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _BadSchemaError(f"It refers to something outside itself: {str(reference)[:100]}")
        found = self._root
        for part in reference.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or part not in found:
                raise _BadSchemaError(f"It refers to what it does not hold: {reference[:100]}")
            found = found[part]
        return found

    def _value(self, value: Any, depth: int) -> Any:
        """A part that is no schema, such as a default."""
        if depth > MAX_DEPTH:
            raise _BadSchemaError(f"It is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(value, str):
            return self._text(value)
        self._count("")
        if isinstance(value, Mapping):
            return {self._text(key): self._value(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list):
            return [self._value(each, depth + 1) for each in value]
        return value

    def _text(self, text: str) -> str:
        self._count(text)
        return storable(text)

    def _count(self, text: str) -> None:
        self._chars += len(text) + 1
        if self._chars > MAX_CHARS:
            raise _BadSchemaError(f"It has more than {MAX_CHARS} characters.")


def _loose(schema: Any, where: str) -> Iterable[str]:
    """Why a plain schema cannot be used where arguments must match it strictly."""
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if isinstance(properties, dict):
        if schema.get("additionalProperties") is not False:
            yield f"{where} allows other properties than it names"
        required = schema.get("required")
        optional = properties.keys() - set(required if isinstance(required, list) else ())
        if optional:
            yield f"{where} has optional properties: {', '.join(sorted(optional))[:200]}"
        for name, each in properties.items():
            yield from _loose(each, repr(name[:60]))
    for key in _ONE_SCHEMA - {"additionalProperties"}:
        yield from _loose(schema.get(key), where)
    for key in _SCHEMA_LISTS:
        for each in schema.get(key) or ():
            yield from _loose(each, where)


def digest(definition: Any) -> str:
    """What tells what a server says of a tool from what it said before."""
    said = {key: definition.get(key) for key in ("name", "description", "inputSchema")}
    return sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:32]
