"""What can go wrong, as one small tree.

    PerdureError
    ├── Invalid          400  the request cannot be carried out as it is
    ├── Unprocessable    422  a field has a wrong value (`problems` names each)
    ├── Unauthorized     401  no key, or a wrong one
    ├── NotFound         404  nothing with that id for this tenant
    ├── Conflict         409  the state does not allow it now
    │   └── Busy         409  another run holds the conversation; try again
    ├── Expired          410  it was there, and is kept no longer
    ├── TooLarge         413  more than this server takes
    ├── Unsupported      415  nothing here can read a file of that type
    ├── NotBuilt         501  an operation of the contract that this version lacks
    ├── Unavailable      503  something this server needs is out of reach
    └── ModelError       a model call failed; `error_type` is the contract's word for why
        ├── ContextOverflow   it held more than the model takes; with less of it, it may work
        └── TogetherTooLong   it did so together with others

The message says what to do. Nothing here knows HTTP: `wire/errors.py` gives the statuses and bodies.
"""

from collections.abc import Mapping
from typing import Any, Final


class PerdureError(Exception):
    """Base of everything raised on purpose. `details` are extra keys for the caller."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details


class Invalid(PerdureError): ...


class Unprocessable(PerdureError):
    """`problems` is a list of `{loc, msg, type}`, the shape every SDK reads."""

    def __init__(self, message: str, loc: tuple[str | int, ...] = ("body",), kind: str = "value_error") -> None:
        super().__init__(message)
        self.problems: list[dict[str, Any]] = [{"loc": list(loc), "msg": message, "type": kind}]


class Unauthorized(PerdureError): ...


class NotFound(PerdureError): ...


class Conflict(PerdureError): ...


class Busy(Conflict): ...


class Expired(PerdureError): ...


class TooLarge(PerdureError): ...


class Unsupported(PerdureError): ...


class NotBuilt(PerdureError): ...


class Unavailable(PerdureError):
    """`retry_after` is in seconds: where nothing was changed and it will pass, when to ask again."""

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


MODEL_ERROR_TEXT: Final = {
    "llm_timeout": "The LLM request timed out. Please try again.",
    "llm_rate_limit": "Rate limit exceeded for LLM model provider. Please wait before making another request.",
    "llm_authentication": "Authentication failed with the LLM model provider.",
    "llm_empty_response": "LLM returned an empty response.",
    "llm_insufficient_credits": "The LLM provider account has no credits left.",
    "llm_bad_request": "The LLM provider refused the request.",
    "llm_error": "An error occurred with the LLM request.",
}
"""The `error_type`s of a failed model call, with the sentence the contract pairs each with (streaming.md 1.5, 7)."""


class ModelError(PerdureError):
    """A model call failed. `detail` is the provider's own words; `retry_after` is in seconds, where it said so.

    `transient` says that the same call may succeed a little later.
    """

    def __init__(
        self, error_type: str, detail: str, *, retry_after: float | None = None, transient: bool = False
    ) -> None:
        super().__init__(MODEL_ERROR_TEXT[error_type])
        self.error_type = error_type
        self.detail = detail
        self.retry_after = retry_after
        self.transient = transient


class ContextOverflow(ModelError):
    """`limit` is how many tokens the model holds, where whoever refused said so."""

    def __init__(self, error_type: str, detail: str, limit: int | None = None) -> None:
        super().__init__(error_type, detail)
        self.limit = limit


class TogetherTooLong(ModelError):
    """Calls that were worked on at the same time held more than the server does; alone, each may work."""

    def __init__(self, error_type: str, detail: str) -> None:
        super().__init__(error_type, detail, transient=True)


def not_found(noun: str, identifier: str) -> NotFound:
    """The contract's sentence for a missing thing, e.g. `Agent with ID agent-… not found`."""
    return NotFound(f"{noun} with ID {identifier} not found")
