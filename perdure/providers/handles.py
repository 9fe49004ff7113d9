"""What a handle names among the lists of models; and where it names nothing, what it could have been."""

import asyncio
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn, TypeVar

from perdure.domain.errors import Invalid, NotFound
from perdure.domain.models import EmbeddingModel, Model
from perdure.providers.configured import how_to_configure
from perdure.providers.known_providers import ALIASES
from perdure.providers.source import LIST_SECONDS, ModelList, Source

MISS_SECONDS: Final = 5.0
"""A list older than this is asked for again when a handle is not in it: the model may be new."""
HANDLES_NAMED: Final = 10

_T = TypeVar("_T", Model, EmbeddingModel)


def split(handle: str, lists: Mapping[str, ModelList[_T]], example: str) -> tuple[str, str]:
    """The provider's name and the model's. Raises Invalid for what is no handle; `example` is a model's name."""
    provider_name, slash, name = handle.partition("/")
    if not (provider_name and slash and name):
        alike = [item.handle for each in lists.values() for item in each.items if item.handle.endswith(f"/{handle}")]
        meant = f"; did you mean {_quoted(alike[:HANDLES_NAMED])}?" if alike and handle else "."
        raise Invalid(
            f"{handle!r} is not a model handle. A handle is the provider's name, a slash and the model's name, "
            f"such as 'openai/{example}'{meant}"
        )
    return provider_name if provider_name in lists else ALIASES.get(provider_name, provider_name), name


async def find(lists: Mapping[str, ModelList[_T]], provider_name: str, name: str, *, patient: bool) -> _T | None:
    """The item in its provider's list. One who is not `patient` takes the list as it is."""
    models = lists.get(provider_name)
    if models is None:
        return None
    # Where Ollama's names have tags, one without a tag means the latest.
    handles = (f"{provider_name}/{name}", f"{provider_name}/{name}:latest")
    for age in (LIST_SECONDS, MISS_SECONDS) if patient else (math.inf,):
        await models.read(age)
        named = {item.handle: item for item in models.items}
        if found := next((named[handle] for handle in handles if handle in named), None):
            return found
    return None


async def refuse(
    sources: Mapping[str, Source], lists: Mapping[str, ModelList[_T]], handle: str, provider_name: str, noun: str
) -> NoReturn:
    """Raises NotFound, with why, and with what could be asked for instead."""
    remote = sources[provider_name].remote if provider_name in sources else None
    if provider_name not in lists:
        why = f"provider {provider_name!r} is not configured; {how_to_configure(provider_name)}"
    elif remote and (refused := remote.refused.get(handle.partition("/")[2])):
        why = f"{provider_name} has it, but it {refused}"
    elif failed := lists[provider_name].failed:
        why = failed.detail
    else:
        why = f"{provider_name} does not list it"
    items = await every(lists.values())
    items.sort(key=lambda item: _distance(item.handle, handle))
    raise NotFound(f"{noun.capitalize()} {handle!r} not found: {why}. Available: {named(items)}.")


def _distance(there: str, asked: str) -> tuple[bool, float]:
    """How far a handle is from the one asked for: a model of the same name at another provider is near, too."""
    (provider, _, name), (asked_provider, _, asked_name) = there.partition("/"), asked.partition("/")
    alike = difflib.SequenceMatcher(None, name.lower(), asked_name.lower()).ratio()
    return provider != asked_provider and alike < _ALIKE, -alike


_ALIKE: Final = 0.8
"""From here on two names are taken to mean the same model."""


async def every(lists: Iterable[ModelList[_T]]) -> list[_T]:
    """The items of every provider, all asked at once."""
    return [item for items in await asyncio.gather(*(each.read() for each in lists)) for item in items]


def named(items: Sequence[_T]) -> str:
    """Some of their handles, for people."""
    more = f" and {len(items) - HANDLES_NAMED} more" if len(items) > HANDLES_NAMED else ""
    return f"{_quoted([item.handle for item in items[:HANDLES_NAMED]])}{more}" if items else "none"


def _quoted(handles: Sequence[str]) -> str:
    return ", ".join(f"'{handle}'" for handle in handles)
