"""The schema of a Python callable: what is shown of it, and what is told where it cannot be shown."""

from collections.abc import Callable
from typing import Any, Literal

import pytest

from perdure.domain.errors import Invalid
from perdure.tools.schema import function_schema, read_docstring


def plan_trip(
    city: str,
    days: int,
    budget: float = 10.0,
    by_train: bool = False,
    stops: list[str] | None = None,
    season: Literal["summer", "winter"] = "summer",
    notes: dict | None = None,
    weights: dict[str, list[int]] | None = None,
    agent_state: Any = None,
    agent_id: str = "",
    context: Any = None,
) -> str:
    """Plan a trip.

    It may take several days.

    Args:
        city: Where to go,
            in English.
        days (int): How long: in days.
        budget (float, optional): What it may cost.
        by_train: Whether to go by train.
        stops: Places on the way.
        season: When to go.
        notes: Anything else.
        weights: How much each counts.

    Returns:
        The plan.
    """
    return city


def test_every_kind_of_argument_is_described() -> None:
    schema = function_schema(plan_trip)
    assert schema["name"] == "plan_trip"
    assert schema["description"] == "Plan a trip.\n\nIt may take several days."
    assert schema["parameters"] == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where to go, in English."},
            "days": {"type": "integer", "description": "How long: in days."},
            "budget": {"type": "number", "description": "What it may cost."},
            "by_train": {"type": "boolean", "description": "Whether to go by train."},
            "stops": {"type": "array", "items": {"type": "string"}, "description": "Places on the way."},
            "season": {"type": "string", "enum": ["summer", "winter"], "description": "When to go."},
            "notes": {"type": "object", "description": "Anything else."},
            "weights": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "integer"}},
                "description": "How much each counts.",
            },
        },
        "required": ["city", "days"],
    }


def test_an_argument_that_may_be_none_is_not_required() -> None:
    def find(place: str | None) -> str:
        """Find.

        Args:
            place: Where.
        """
        return str(place)

    assert function_schema(find)["parameters"]["required"] == []


def test_a_method_is_described_without_self() -> None:
    class Clock:
        async def tell(self, zone: str) -> str:
            """Tell the time.

            Args:
                zone: A timezone.
            """
            return zone

    assert list(function_schema(Clock().tell)["parameters"]["properties"]) == ["zone"]


def undocumented(a: str) -> str:
    return a


def undescribed(a: str, b: str) -> str:
    """Do.

    Args:
        a: Something.
    """
    return a


def untyped(a) -> str:
    """Do.

    Args:
        a: Something.
    """
    return a


def of_any_kind(a: object) -> str:
    """Do.

    Args:
        a: Something.
    """
    return str(a)


def of_two_kinds(a: int | str) -> str:
    """Do.

    Args:
        a: Something.
    """
    return str(a)


def bare_list(a: list) -> str:
    """Do.

    Args:
        a: Something.
    """
    return str(a)


def mixed_literal(a: Literal["x", 1]) -> str:
    """Do.

    Args:
        a: Something.
    """
    return str(a)


def unknown_annotation(a: "Nowhere") -> str:  # noqa: F821
    """Do.

    Args:
        a: Something.
    """
    return str(a)


def many(*args: str) -> str:
    """Do."""
    return str(args)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (undocumented, "no docstring"),
        (undescribed, "Argument b of undescribed is not described"),
        (untyped, "Argument a of untyped has no type"),
        (of_any_kind, "cannot be shown"),
        (of_two_kinds, "a choice of types"),
        (bare_list, "list[str]"),
        (mixed_literal, "several kinds"),
        (unknown_annotation, "Nowhere"),
        (many, "cannot be given by name"),
        (lambda: None, "cannot be a tool's name"),
    ],
)
def test_what_cannot_be_shown_is_told(function: Callable[..., Any], problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        function_schema(function)
    assert problem in refused.value.message


def test_a_docstring_is_read_whatever_its_sections() -> None:
    text = """Do it.

    Example:
        do()

    Arguments:
        *names (list[str], optional): Who: all of them,

            each once.
        other : Else.
    Raises:
        ValueError: Not an argument.
    """
    assert read_docstring(text) == ("Do it.", {"names": "Who: all of them, each once.", "other": "Else."})


NUMPY = """Do it.

Parameters
----------
a : str
    Who:
    all of them.
b, c : int, optional
    Numbers.

Returns
-------
str
    Not an argument.
"""
SPHINX = """Do it.

:param a: Who:
    all of them.
:type a: str
:param int b: Numbers.
:param c: Numbers.
:return: Not an argument.
"""


@pytest.mark.parametrize("text", [NUMPY, SPHINX])
def test_docstrings_of_other_styles_are_read(text: str) -> None:
    assert read_docstring(text) == ("Do it.", {"a": "Who: all of them.", "b": "Numbers.", "c": "Numbers."})


def test_a_heading_is_no_section() -> None:
    assert read_docstring("Title\n-----\nText\n\nArgs:\n  a: b") == ("Title\n-----\nText", {"a": "b"})
