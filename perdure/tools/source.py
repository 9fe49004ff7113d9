"""A tool as it comes: source code, read without running it."""

import ast
import re
from collections.abc import Mapping
from typing import Any, Final

from perdure.domain.errors import Invalid
from perdure.tools.annotations import Annotations
from perdure.tools.schema import HIDDEN, Taken, describe, is_name

Function = ast.FunctionDef | ast.AsyncFunctionDef

MAX_SOURCE: Final = 1_000_000
"""Characters of a tool's source."""
MAX_SCHEMA_DEPTH: Final = 30
MAX_SCHEMA_PARTS: Final = 20_000
"""Values in a schema, with what it refers to put in its place."""
_REFERENCE: Final = re.compile(r"#/(?:\$defs|definitions)/(.+)")


def function_of(source: str, name: str | None = None) -> str:
    """The name of the function a Python source is called by: `name`, or else its last one. Raises Invalid."""
    return _function(_module(source), name).name


def schema_of(source: str, *, name: str | None = None, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The function schema of a Python source. `arguments` is the JSON schema of its arguments, where it has one.

    Raises Invalid saying what to mend.
    """
    module = _module(source)
    function = _function(module, name)
    docstring = ast.get_docstring(function) or ""
    if arguments is not None:
        schema = describe(function.name, docstring, ())
        return {**schema, "parameters": flat(arguments)}
    types = Annotations(module)
    return describe(function.name, docstring, [_taken(*each, types, function.name) for each in _parameters(function)])


def checked(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A function schema that a caller wrote. Raises Invalid where models could not be shown it."""
    name, parameters = schema.get("name"), schema.get("parameters")
    if not isinstance(name, str) or not is_name(name):
        raise Invalid(
            f"json_schema has the name {str(name)[:80]!r}. A tool's name is a letter or _ and up to 63 letters, "
            "digits, _ and - after it."
        )
    if not isinstance(parameters, dict):
        parameters = {"type": "object", "properties": {}, "required": []}
    return {**schema, "name": name, "description": str(schema.get("description") or ""), "parameters": flat(parameters)}


def flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema with what it refers to put in its place. Raises Invalid where it refers to itself, or nowhere."""
    known: dict[str, Any] = {}
    for key in ("definitions", "$defs"):
        if isinstance(part := schema.get(key), dict):
            known |= part
    left = MAX_SCHEMA_PARTS

    def filled(part: Any, levels: int) -> Any:
        nonlocal left
        left -= 1
        if not (levels and left):
            raise Invalid("The JSON schema of the arguments refers to itself, is nested too deep or is too large.")
        if isinstance(part, list):
            return [filled(each, levels - 1) for each in part]
        if not isinstance(part, dict):
            return part
        if isinstance(reference := part.get("$ref"), str):
            found = _REFERENCE.fullmatch(reference)
            meant = None if found is None else known.get(found[1])
            if not isinstance(meant, dict):
                raise Invalid(f"The JSON schema of the arguments refers to {reference[:80]}, which it does not have.")
            return filled({**meant, **{key: value for key, value in part.items() if key != "$ref"}}, levels - 1)
        return {key: filled(value, levels - 1) for key, value in part.items() if key not in ("$defs", "definitions")}

    whole = filled(dict(schema), MAX_SCHEMA_DEPTH)
    properties, required = whole.get("properties"), whole.get("required")
    if isinstance(properties, dict) and (
        bad := [name for name, each in properties.items() if not isinstance(each, dict)]
    ):
        raise Invalid(f"The JSON schema of the arguments has no object for {bad[0][:80]!r}. Write {{}} for anything.")
    return {
        **whole,
        "type": "object",
        "properties": properties if isinstance(properties, dict) else {},
        "required": [each for each in required if isinstance(each, str)] if isinstance(required, list) else [],
    }


def _module(source: str) -> ast.Module:
    if len(source) > MAX_SOURCE:
        raise Invalid(f"The source is longer than {MAX_SOURCE} characters.")
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise Invalid(f"The source is not Python: {error.msg} in line {error.lineno}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Invalid(f"The source cannot be read: {error}.") from error


def _function(module: ast.Module, name: str | None) -> Function:
    found = [node for node in module.body if isinstance(node, Function)]
    named = found if name is None else [node for node in found if node.name == name]
    if not named:
        has = ", ".join(node.name for node in found) or "none"
        raise Invalid(f"The source has no function{f' {name}' if name else ''}, only: {has}. Define it with def.")
    if not is_name(named[-1].name):
        raise Invalid(f"{named[-1].name[:80]} cannot be a tool's name. Use up to 64 letters, digits and _.")
    return named[-1]


def _parameters(function: Function) -> list[tuple[ast.arg, bool]]:
    """The parameters, each with whether it has a default."""
    taken = function.args
    if taken.vararg or taken.kwarg or taken.posonlyargs:
        raise Invalid(
            f"Models name every argument: leave *args, **kwargs and positional-only arguments out of {function.name}."
        )
    without = len(taken.args) - len(taken.defaults)
    plain = [(each, at >= without) for at, each in enumerate(taken.args)]
    return plain + [(each, value is not None) for each, value in zip(taken.kwonlyargs, taken.kw_defaults, strict=True)]


def _taken(parameter: ast.arg, has_default: bool, types: Annotations, function: str) -> Taken:
    # What the server fills in may have any type.
    hint = (
        None
        if parameter.arg in HIDDEN
        else types.type_of(parameter.annotation, f"Argument {parameter.arg} of {function}")
    )
    return Taken(parameter.arg, hint, has_default)
