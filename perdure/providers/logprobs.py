"""Log probabilities as OpenAI's protocols carry them, made safe to store and to show."""

import math
from typing import Any, Final, cast

from perdure.providers.text import storable

LEAST: Final = -9999.0
"""What OpenAI gives for a probability of nothing, which JSON has no number for."""


def entries(given: Any) -> list[dict[str, Any]]:
    """`{token, logprob, bytes, top_logprobs}` of each token in a provider's list; what is none is left out."""
    items = cast("list[Any]", given) if isinstance(given, list) else []
    found: list[dict[str, Any]] = []
    for item in items:
        entry = _entry(item)
        if entry is not None:
            others = [_entry(other) for other in _list(item.get("top_logprobs"))]
            found.append({**entry, "top_logprobs": [other for other in others if other is not None]})
    return found


def _entry(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        return None
    fields = cast("dict[str, Any]", item)
    token, logprob = fields.get("token"), fields.get("logprob")
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        return None
    values = [value for value in _list(fields.get("bytes")) if isinstance(value, int)]
    return {
        "token": storable(token),
        "logprob": max(float(logprob), LEAST) if math.isfinite(logprob) else LEAST,
        "bytes": values or None,
    }


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
