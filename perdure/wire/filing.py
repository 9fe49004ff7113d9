"""How agent files are put together and taken apart, whatever they hold."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from perdure.domain.errors import Invalid
from perdure.wire.text import Body

B = TypeVar("B", bound=Body)
R = TypeVar("R")

OURS: Final = "perdure"
"""The key of what only this server writes and reads."""


class Names:
    """Gives ids of the file's own to the things in it: `block-0`, `block-1`, …, the same thing the same id."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, noun: str, own: str) -> str:
        if own not in self._given:
            number = self._counts.get(noun, 0)
            self._counts[noun] = number + 1
            self._given[own] = f"{noun}-{number}"
        return self._given[own]


def listed(file: Mapping[str, Any], key: str, read: Callable[[Mapping[str, Any]], R]) -> dict[str, R]:
    """What is read of a list in the file, by its ids."""
    found: dict[str, R] = {}
    for number, wire in enumerate(maps(file.get(key))):
        own = wire.get("id")
        own = own if isinstance(own, str) else f"{key}-{number} (without an id)"
        if own in found:
            raise Invalid(f"The agent file has two {key} with the id {own}.")
        try:
            found[own] = read(wire)
        except Invalid as error:
            raise Invalid(f"In the agent file, {own}: {error.message}") from error
    return found


def body(kind: type[B], wire: Mapping[str, Any]) -> B:
    """A part of a file as a request with the same fields would be read; null is as good as nothing."""
    try:
        return kind.model_validate({key: value for key, value in wire.items() if value is not None})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise Invalid("; ".join(problems)) from error


def maps(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; none where there is no list."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """The texts in a list; none where there is no list."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
