"""OpenRouter's `reasoning_details`: pieces of any vendor's reasoning that must come back with the call they led to.

They come in fragments and go back whole, in their order. They lie in the `extra` of an answer's first call.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from perdure.providers.text import storable_json

DETAILS: Final = "openrouter"
"""Under this a part's `extra` holds `model` (the handle of the one that made it) and its `reasoning_details`."""

_GROWING: Final = ("text", "summary", "data")


def add_details(fragments: Sequence[Any], details: list[dict[str, Any]]) -> int:
    """Add fragments to the `details` so far: those of one kind and index that follow each other are one piece.

    Returns how many characters came.
    """
    chars = 0
    for fragment in fragments:
        if not isinstance(fragment, dict):
            continue
        fields = cast("dict[str, Any]", storable_json(fragment))
        chars += sum(len(value) for value in fields.values() if isinstance(value, str))
        last = details[-1] if details else {}
        if (last.get("type"), last.get("index")) != (fields.get("type"), fields.get("index")) or not last:
            details.append(dict(fields))
            continue
        for name, value in fields.items():
            if name in _GROWING and isinstance(value, str):
                last[name] = f"{last.get(name) or ''}{value}"
            elif value is not None:
                last[name] = value
    return chars
