"""The function schema of a Python callable: what models are shown of it, from its signature and its docstring.

`tools/source.py` gathers the same from source code, without running it.
"""

import inspect
import itertools
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, Union

import msgspec

from perdure.domain.errors import Invalid

INJECTED: Final = frozenset({"agent_state", "agent_id", "context"})
"""Parameters that the server fills in, so models do not see them."""

HIDDEN: Final = INJECTED | {"self"}
"""Parameters that are no arguments."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_SECTION: Final = re.compile(
    r"(args|arguments|parameters|returns?|raises|yields|examples?|notes?|attributes)\s*:\s*$", re.I
)
_UNDERLINE: Final = re.compile(r"\s*-{3,}\s*")
_NUMPY_ARGUMENT: Final = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_FIELD: Final = re.compile(r":(\w+)(?:\s[^:]*?)??(?:\s\*{0,2}(\w+))?:\s*(.*)")
"""A line of a reStructuredText docstring, as in `:param int x: what it is`."""
_OF_ARGUMENTS: Final = ("args", "arguments", "parameters")
_ARGUMENT: Final = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_SIMPLE: Final[Mapping[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_ACCEPTED: Final = "str, int, float, bool, list[T], dict, tuple[T, ...], T | None and Literal"

SHAPE: Final = "__perdure_schema__"
"""The attribute of a class that has its JSON schema: one that was read from source code."""


class Taken(msgspec.Struct, frozen=True):
    """A parameter of a function: its type is None where it has no annotation."""

    name: str
    hint: Any
    has_default: bool


def function_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """`{name, description, parameters}` of a callable with annotations and a docstring.

    An argument is required where it has no default and cannot be None. Raises Invalid saying what to mend.
    """
    name = getattr(function, "__name__", "")
    if not is_name(name):
        raise Invalid(
            f"{name or function!r} cannot be a tool's name. Use a function defined with def and a plain name."
        )
    hints = _hints(function, name)
    taken = [
        Taken(each.name, hints.get(each.name), each.default is not inspect.Parameter.empty)
        for each in _parameters(function, name)
    ]
    return describe(name, inspect.getdoc(function) or "", taken)


def is_name(name: str) -> bool:
    """Whether models can call a tool of this name."""
    return _NAME.fullmatch(name) is not None


def describe(name: str, docstring: str, taken: Iterable[Taken]) -> dict[str, Any]:
    """The schema of a function that takes these. Raises Invalid saying what to mend."""
    description, described = read_docstring(docstring)
    if not description:
        raise Invalid(f"Function {name} has no docstring. Models choose a tool by what it says: describe what it does.")
    properties: dict[str, Any] = {}
    required: list[str] = []
    for each in taken:
        if each.name in HIDDEN:
            continue
        if each.hint is None:
            raise Invalid(f"Argument {each.name} of {name} has no type. Annotate it with one of {_ACCEPTED}.")
        if not described.get(each.name):
            raise Invalid(f"Argument {each.name} of {name} is not described. Add it to Args: in the docstring.")
        schema, optional = argument_schema(each.hint, f"Argument {each.name} of {name}")
        properties[each.name] = {**schema, "description": described[each.name]}
        if not each.has_default and not optional:
            required.append(each.name)
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


def argument_schema(hint: Any, where: str) -> tuple[dict[str, Any], bool]:
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
    if hint is Any:
        return {}
    if isinstance(hint, type) and hasattr(hint, SHAPE):
        return getattr(hint, SHAPE)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is dict:
        return {"type": "object"}
    if origin is dict and arguments[0] is str:
        values = {} if arguments[1] is Any else {"additionalProperties": _item_schema(arguments[1], where)}
        return {"type": "object", **values}
    if origin is list:
        return {"type": "array", "items": _item_schema(arguments[0], where)}
    if origin is tuple:
        return _tuple_schema(arguments, where)
    if origin is Literal:
        kinds = {type(choice) for choice in arguments}
        if len(kinds) == 1 and (kind := kinds.pop()) in _SIMPLE:
            return {"type": _SIMPLE[kind], "enum": list(arguments)}
        raise Invalid(f"{where} has a Literal of several kinds. Use texts only, or numbers only.")
    if hint in (list, tuple):
        raise Invalid(f"{where} does not say what it holds. Write it as list[str], for instance.")
    raise Invalid(f"{where} has type {hint}, which models cannot be shown. Use one of {_ACCEPTED}.")


def _item_schema(hint: Any, where: str) -> dict[str, Any]:
    """The schema of what stands inside another type, where None has to be said."""
    schema, optional = argument_schema(hint, where)
    return {"anyOf": [schema, {"type": "null"}]} if optional else schema


def _tuple_schema(arguments: tuple[Any, ...], where: str) -> dict[str, Any]:
    """A list; where its items are of one kind, it says so, since not every provider takes a schema for each place."""
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _item_schema(arguments[0], where)}
    kinds = [_item_schema(each, where) for each in arguments]
    same = all(kind == kinds[0] for kind in kinds)
    items = kinds[0] if same else {"anyOf": [kind for at, kind in enumerate(kinds) if kind not in kinds[:at]]}
    return {"type": "array", "items": items, "minItems": len(kinds), "maxItems": len(kinds)}


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """A docstring of Google's, NumPy's or Sphinx' style, as (what stands before its sections, what arguments are)."""
    lines = inspect.cleandoc(text).splitlines()
    heads = enumerate(itertools.pairwise(lines))
    if starts := [at for at, (line, under) in heads if _UNDERLINE.fullmatch(under) and _SECTION.match(f"{line}:")]:
        return _sections(lines, starts, 2, _numpy_described)
    if starts := [at for at, line in enumerate(lines) if _SECTION.match(line)]:
        return _sections(lines, starts, 1, _described)
    fields = next((at for at, line in enumerate(lines) if _FIELD.match(line)), len(lines))
    return "\n".join(lines[:fields]).strip(), _fields_described(lines[fields:])


def _sections(
    lines: list[str], starts: list[int], heading: int, read: Callable[[list[str]], dict[str, str]]
) -> tuple[str, dict[str, str]]:
    """The same for sections that begin in these lines, under a heading of so many."""
    described: dict[str, str] = {}
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        if lines[start].strip().lower().startswith(_OF_ARGUMENTS):
            described |= read(lines[start + heading : end])
    return "\n".join(lines[: starts[0]]).strip(), described


def _numpy_described(lines: list[str]) -> dict[str, str]:
    """The entries of a Parameters section: `name : type`, and the text in lines indented further."""
    described: dict[str, str] = {}
    current: list[str] = []
    for line in lines:
        found = None if line[:1].isspace() else _NUMPY_ARGUMENT.fullmatch(line.rstrip())
        if found:
            current = [name.strip(" *") for name in found[1].split(",")]
        elif line.strip():
            described |= {name: f"{described.get(name, '')} {line.strip()}".strip() for name in current}
    return described


def _fields_described(lines: list[str]) -> dict[str, str]:
    """The `:param name: text` of a docstring, going on in lines indented further."""
    described: dict[str, str] = {}
    current = ""
    for line in lines:
        if found := _FIELD.match(line):
            current = found[2] if found[2] and found[1] in ("param", "parameter", "arg", "argument", "key") else ""
            described |= {current: found[3]} if current else {}
        elif current and line.strip():
            described[current] = f"{described[current]} {line.strip()}".strip()
    return described


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
