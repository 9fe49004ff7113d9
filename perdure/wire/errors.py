"""Errors as the contract says them: a status, a JSON body, and headers.

`{"detail": …}` for nearly all, a list of `{loc, msg, type}` for fields that are wrong, `{"error": {…}}` for a model
call that failed (client-behaviour.md 6).
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from perdure.domain.errors import (
    Busy,
    Conflict,
    Expired,
    Invalid,
    ModelError,
    NotBuilt,
    NotFound,
    PerdureError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
    Unsupported,
)
from perdure.domain.runs import RunError

BUSY_RETRY_S: Final = 2
"""Seconds after which a caller who was told `busy` is asked to try again."""
PENDING_APPROVAL: Final = "PENDING_APPROVAL"

MAX_PROBLEMS: Final = 20
MAX_TEXT: Final = 300
"""Characters kept of a problem's text, and of a name in its place: both may quote what was sent."""

_STATUS: Final[Mapping[type[PerdureError], int]] = {
    Invalid: 400,
    Unauthorized: 401,
    NotFound: 404,
    Busy: 409,
    Conflict: 409,
    Expired: 410,
    TooLarge: 413,
    Unsupported: 415,
    NotBuilt: 501,
    Unavailable: 503,
}

_MODEL_STATUS: Final[Mapping[str, int]] = {
    "llm_bad_request": 400,
    "context_window_overflow_in_system_prompt": 400,
    "llm_authentication": 401,
    "llm_insufficient_credits": 402,
    "pending_approval": 409,
    "llm_rate_limit": 429,
    "llm_timeout": 504,
}
"""Statuses of failed runs by `error_type`; all others are 500."""


class Failure(NamedTuple):
    """What to answer. Header names are lower-case."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def failure(error: PerdureError) -> Failure:
    """How an error raised on purpose is answered. Its `details` become keys beside `detail`.

    A Conflict with a `pending_request_id` is the one that says an approval is awaited (streaming.md 4.8).
    """
    if isinstance(error, Unprocessable):
        return validation_failure(error.problems)
    if isinstance(error, ModelError):
        failed = _model_failure(error.error_type, error.message, error.detail)
        if error.retry_after is not None:
            failed.headers["retry-after"] = str(math.ceil(error.retry_after))
        return failed
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    if isinstance(error, Unauthorized):
        return Failure(status, {"detail": "Unauthorized"}, {"www-authenticate": "Bearer"})
    if isinstance(error, NotBuilt):
        return Failure(status, {"detail": error.message}, {"x-should-retry": "false"})
    if isinstance(error, Busy):
        return Failure(status, {"detail": error.message, **error.details}, {"retry-after": str(BUSY_RETRY_S)})
    if isinstance(error, Unavailable) and error.retry_after is not None:
        return Failure(status, {"detail": error.message}, {"retry-after": str(error.retry_after)})
    if "pending_request_id" in error.details:
        detail = {"code": PENDING_APPROVAL, "message": error.message, **error.details}
        return Failure(status, {"detail": detail}, {})
    return Failure(status, {"detail": error.message, **error.details}, {})


def run_failure(error: RunError) -> Failure:
    """How a run that failed is answered where the caller waits for its result as JSON."""
    return _model_failure(error.error_type, error.message, error.detail)


def validation_failure(problems: Iterable[Mapping[str, Any]]) -> Failure:
    """422 with each problem as `{loc, msg, type}`, and without the value that was sent.

    A problem's `ctx["example"]`, where there is one, becomes an entry of `examples`.
    """
    kept = list(problems)[:MAX_PROBLEMS]
    body: dict[str, Any] = {"detail": [_problem(problem) for problem in kept]}
    examples = [problem["ctx"]["example"] for problem in kept if "example" in problem.get("ctx", {})]
    if examples:
        body["examples"] = examples
    return Failure(422, body, {})


def for_message_post(failed: Failure, *, ran: bool, npm_v0: bool) -> Failure:
    """The same failure as the answer to a POST of messages, so that no SDK sends the messages again.

    `ran` says that the input is committed. Before that, a busy agent (409) may be asked again. The npm SDK of 0.1.x
    does not read the header that forbids it, so there the status becomes 424 and the body has the true one.
    """
    if failed.status == 409 and "retry-after" in failed.headers and not ran:
        return failed
    headers = {**failed.headers, "x-should-retry": "false"}
    if npm_v0 and ran and (failed.status in (408, 429) or failed.status >= 500):
        return Failure(424, {**failed.body, "status": failed.status}, headers)
    return Failure(failed.status, failed.body, headers)


def _model_failure(error_type: str, message: str, detail: str | None) -> Failure:
    body = {"error": {"type": error_type, "message": message, "detail": detail}}
    return Failure(_MODEL_STATUS.get(error_type, 500), body, {})


def _problem(problem: Mapping[str, Any]) -> dict[str, Any]:
    return {
        # pydantic puts the wrappers it went through into the place; a caller knows only the fields.
        "loc": [_short(part) for part in problem["loc"] if not str(part).startswith("function-")],
        "msg": _short(problem["msg"].removeprefix("Value error, ")),
        "type": problem["type"],
    }


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return value[: MAX_TEXT - 1] + "…"
    return value
