"""The function schema of a Python callable: what models are shown of it, from its signature and its docstring."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Union

from perdure.domain.errors import Invalid

INJECTED: Final = frozenset({"agent_state", "agent_id", "context"})
"""Parameters that the server fills in, so models do not see them."""

_HIDDEN: Final = INJECTED | {"self"}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_SECTION: Final = re.compile(
    r"(args|arguments|parameters|returns?|raises|yields|examples?|notes?|attributes)\s*:\s*$", re.I
)
_ARGUMENT: Final = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_SIMPLE: Final[Mapping[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_ACCEPTED: Final = "str, int, float, bool, list[T], dict, T | None and Literal"


def function_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """`{name, description, parameters}` of a callable with annotations and a Google-style docstring.

    An argument is required where it has no default and cannot be None. Raises Invalid saying what to mend.
    """
    name = getattr(function, "__name__", "")
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name or function!r} cannot be a tool's name. Use a function defined with def and a plain name."
        )
    description, described = read_docstring(inspect.getdoc(function) or "")
    if not description:
        raise Invalid(f"Function {name} has no docstring. Models choose a tool by what it says: describe what it does.")
    hints = _hints(function, name)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in _parameters(function, name):
        if parameter.name in _HIDDEN:
            continue
        if parameter.name not in hints:
            raise Invalid(f"Argument {parameter.name} of {name} has no type. Annotate it with one of {_ACCEPTED}.")
        if not described.get(parameter.name):
            raise Invalid(f"Argument {parameter.name} of {name} is not described. Add it to Args: in the docstring.")
        schema, optional = _argument_schema(hints[parameter.name], f"Argument {parameter.name} of {name}")
        properties[parameter.name] = {**schema, "description": described[parameter.name]}
        if parameter.default is inspect.Parameter.empty and not optional:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": description, "parameters": parameters}


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise Invalid(f"The signature of {name} cannot be read ({error}). Wrap it in a function with def.") from error
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise Invalid(
                f"Argument {parameter.name} of {name} cannot be given by name. Models name every argument: "
                "leave out *args, **kwargs and positional-only arguments."
            )
    return parameters


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise Invalid(f"The annotations of {name} cannot be read: {error}.") from error


def _argument_schema(hint: Any, where: str) -> tuple[dict[str, Any], bool]:
    """The schema of a type, and whether it may be None."""
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return _type_schema(hint, where), False
    choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
    if len(choices) != 1 or len(choices) == len(typing.get_args(hint)):
        raise Invalid(f"{where} has type {hint}, a choice of types. Use one of {_ACCEPTED}.")
    return _type_schema(choices[0], where), True


def _type_schema(hint: Any, where: str) -> dict[str, Any]:
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is dict:
        return {"type": "object"}
    if origin is dict and arguments[0] is str:
        values = {} if arguments[1] is Any else {"additionalProperties": _type_schema(arguments[1], where)}
        return {"type": "object", **values}
    if origin is list:
        return {"type": "array", "items": _type_schema(arguments[0], where)}
    if origin is Literal:
        kinds = {type(choice) for choice in arguments}
        if len(kinds) == 1 and (kind := kinds.pop()) in _SIMPLE:
            return {"type": _SIMPLE[kind], "enum": list(arguments)}
        raise Invalid(f"{where} has a Literal of several kinds. Use texts only, or numbers only.")
    if hint is list:
        raise Invalid(f"{where} does not say what the list holds. Write it as list[str], for instance.")
    raise Invalid(f"{where} has type {hint}, which models cannot be shown. Use one of {_ACCEPTED}.")


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """A Google-style docstring, as (what stands before its sections, the descriptions under Args)."""
    lines = inspect.cleandoc(text).splitlines()
    starts = [at for at, line in enumerate(lines) if _SECTION.match(line)]
    description = "\n".join(lines[: starts[0] if starts else len(lines)]).strip()
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        if lines[start].lower().startswith(("args", "arguments", "parameters")):
            return description, _described(lines[start + 1 : end])
    return description, {}


def _described(lines: list[str]) -> dict[str, str]:
    """The entries of an Args section: `name: text` or `name (type): text`, going on in lines indented further."""
    described: dict[str, str] = {}
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    outer, current = min(indents, default=0), ""
    for line in lines:
        found = _ARGUMENT.match(line.strip()) if len(line) - len(line.lstrip()) == outer else None
        if found:
            current = found[1].lstrip("*")
            described[current] = found[2]
        elif current and line.strip():
            described[current] = f"{described[current]} {line.strip()}".strip()
    return described
