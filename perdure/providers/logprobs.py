"""Log probabilities as OpenAI's protocols carry them, made safe to store and to show.

They are read apart from all else, so that a chunk costs nothing more where nobody asked for them.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, cast

from perdure.providers.base import LogprobsDelta
from perdure.providers.refusals import decoded
from perdure.providers.text import storable

LEAST: Final = -9999.0
"""What OpenAI gives for a probability of nothing, which JSON has no number for."""


def logprobs_in(payloads: Sequence[bytes]) -> list[LogprobsDelta]:
    """Those in the chunks of a chat completion."""
    found: list[LogprobsDelta] = []
    for payload in payloads:
        for choice in _list(_field(decoded(payload), "choices"))[:1]:
            given = _field(choice, "logprobs")
            content, refusal = entries(_field(given, "content")), entries(_field(given, "refusal"))
            if content or refusal:
                found.append(LogprobsDelta(content, refusal))
    return found


def entries(given: Any) -> list[dict[str, Any]]:
    """`{token, logprob, bytes, top_logprobs}` of each token in a provider's list; what is none is left out."""
    found: list[dict[str, Any]] = []
    for item in _list(given):
        entry = _entry(item)
        if entry is not None:
            others = [_entry(other) for other in _list(_field(item, "top_logprobs"))]
            found.append({**entry, "top_logprobs": [other for other in others if other is not None]})
    return found


def _entry(item: Any) -> dict[str, Any] | None:
    token, logprob = _field(item, "token"), _field(item, "logprob")
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        return None
    values = [value for value in _list(_field(item, "bytes")) if isinstance(value, int)]
    return {
        "token": storable(token),
        "logprob": max(float(logprob), LEAST) if math.isfinite(logprob) else LEAST,
        "bytes": values or None,
    }


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _field(value: Any, name: str) -> Any:
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None
