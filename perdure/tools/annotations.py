"""Types read from source code without running it: an annotation becomes the type that Python would make of it."""

import ast
from collections.abc import Mapping
from typing import Any, Final, Literal, Optional, Union

from perdure.domain.errors import Invalid
from perdure.tools.schema import SHAPE, argument_schema, read_docstring

_PLAIN: Final[Mapping[str, Any]] = {
    "str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "tuple": tuple, "set": list,
    "Any": Any, "object": Any, "Optional": Optional, "Union": Union, "Literal": Literal, "List": list, "Dict": dict,
    "Tuple": tuple, "Sequence": list, "Iterable": list, "Mapping": dict,
}  # fmt: skip
_ROOTS: Final = frozenset({"typing", "t", "collections", "abc", "builtins", "typing_extensions"})
_SHAPED: Final = frozenset({"BaseModel", "TypedDict", "NamedTuple"})
_MAX_DEPTH: Final = 20


class Annotations:
    """The types that a module's annotations name: Python's own, and the classes that the module defines."""

    def __init__(self, module: ast.Module) -> None:
        self._classes = {node.name: node for node in ast.walk(module) if isinstance(node, ast.ClassDef)}
        self._read: dict[str, type] = {}
        self._reading: list[str] = []

    def type_of(self, node: ast.expr | None, where: str) -> Any:
        """The type an annotation stands for; None where there is none. Raises Invalid, beginning with `where`."""
        return None if node is None else self._type(node, where, _MAX_DEPTH)

    def _type(self, node: ast.expr, where: str, levels: int) -> Any:
        if levels == 0:
            raise Invalid(f"{where} has a type that is nested too deep.")
        match node:
            case ast.Constant(value=None):
                return type(None)
            case ast.Constant(value=str(text)):
                return self._type(_expression(text, where), where, levels - 1)
            case ast.Name(id=name):
                return self._named(name, node, where)
            case ast.Attribute(value=ast.Name(id=root) | ast.Attribute(attr=root), attr=name) if root in _ROOTS:
                return self._named(name, node, where)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return Union[self._type(left, where, levels - 1), self._type(right, where, levels - 1)]  # noqa: UP007
            case ast.Subscript(value=outer, slice=inner):
                return self._subscripted(outer, inner, where, levels - 1)
            case _:
                raise _unknown(node, where)

    def _named(self, name: str, node: ast.expr, where: str) -> Any:
        if name in self._classes:
            return self._shaped(self._classes[name], where)
        if name in _PLAIN:
            return _PLAIN[name]
        raise _unknown(node, where)

    def _subscripted(self, outer: ast.expr, inner: ast.expr, where: str, levels: int) -> Any:
        items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        name = outer.attr if isinstance(outer, ast.Attribute) else outer.id if isinstance(outer, ast.Name) else ""
        if name == "Literal":
            return _one_of([_literal(item, where) for item in items])
        if name in ("Annotated", "Required", "NotRequired", "Final"):
            return self._type(items[0], where, levels)
        base = self._type(outer, where, levels)
        arguments = tuple(
            Ellipsis if isinstance(item, ast.Constant) and item.value is Ellipsis else self._type(item, where, levels)
            for item in items
        )
        try:
            return base[arguments[0] if len(arguments) == 1 else arguments]
        except TypeError as error:
            raise _unknown(outer, where) from error

    def _shaped(self, node: ast.ClassDef, where: str) -> type:
        """A class that has the schema of one in the source: a model, a dataclass, a typed dict or an enumeration."""
        if node.name in self._reading:
            raise Invalid(f"{where} has type {node.name}, which holds itself. Models cannot be shown that.")
        if node.name not in self._read:
            self._reading.append(node.name)
            self._read[node.name] = type(node.name, (), {SHAPE: self._class_schema(node, where)})
            self._reading.pop()
        return self._read[node.name]

    def _class_schema(self, node: ast.ClassDef, where: str) -> dict[str, Any]:
        bases = [_last(base) for base in node.bases]
        if any(base.endswith("Enum") for base in bases):
            return _enumeration(node, where)
        is_dataclass = any(_last(each).endswith("dataclass") for each in node.decorator_list)
        inherited = [self._class_schema(self._classes[base], where) for base in bases if base in self._classes]
        if not (inherited or is_dataclass or _SHAPED & set(bases)):
            raise Invalid(
                f"{where} has type {node.name}. Make that class a pydantic model, a dataclass, a TypedDict or an Enum, "
                "so that models can be told what is in it."
            )
        properties: dict[str, Any] = {}
        required: list[str] = []
        for parent in inherited:
            properties |= parent["properties"]
            required += parent["required"]
        described = read_docstring(ast.get_docstring(node) or "")[1]
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name = statement.target.id
                place = f"{where}, field {name} of {node.name},"
                schema, optional = argument_schema(self.type_of(statement.annotation, place), place)
                text = _field_text(statement.value) or described.get(name)
                properties[name] = schema | ({"description": text} if text else {})
                if (statement.value is None and not optional) or _is_required(statement.value):
                    required.append(name)
        return {"type": "object", "properties": properties, "required": list(dict.fromkeys(required))}


def _expression(text: str, where: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Invalid(f"{where} has a type that is not Python: {text[:60]!r}.") from error


def _unknown(node: ast.expr, where: str) -> Invalid:
    return Invalid(
        f"{where} has type {ast.unparse(node)[:80]}, which is neither one of Python's plain types nor a class of this "
        "source. Use str, int, float, bool, list[T], dict, tuple, T | None, Literal, or a pydantic model in the source."
    )


def _last(node: ast.expr) -> str:
    """The last part of a dotted name, through a call or a subscript."""
    match node:
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return _last(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _literal(node: ast.expr, where: str) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = ...
    if not isinstance(value, str | int | float | bool | None):
        raise Invalid(f"{where} has a Literal that is no plain text or number.")
    return value


def _one_of(values: list[Any]) -> Any:
    literal: Any = Literal
    return literal[tuple(values)]


def _enumeration(node: ast.ClassDef, where: str) -> dict[str, Any]:
    values = [
        _literal(statement.value, where)
        for statement in node.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
    ]
    if not values:
        raise Invalid(f"{where} has type {node.name}, an enumeration without plain values. Write them as texts.")
    return argument_schema(_one_of(values), where)[0]


def _field_text(value: ast.expr | None) -> str | None:
    """The description in `Field(description="…")`."""
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg == "description" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return None


def _is_required(value: ast.expr | None) -> bool:
    """Whether a field's value says that there is no default: `...`, or `Field(...)` without one."""
    if isinstance(value, ast.Constant):
        return value.value is Ellipsis
    if not (isinstance(value, ast.Call) and _last(value) == "Field"):
        return False
    if value.args:
        return _is_required(value.args[0])
    return not any(keyword.arg in ("default", "default_factory") for keyword in value.keywords)
