"""Errors in the shape that OpenAI's clients read: `{"error": {message, type, code, param}}`, under its statuses."""

from collections.abc import Mapping
from typing import Any, Final, cast

from perdure.domain.runs import RunError
from perdure.wire.errors import Failure
from perdure.wire.openai_requests import TAGS

_CODES: Final[Mapping[int, str]] = {401: "invalid_api_key", 404: "model_not_found", 413: "request_too_large"}
_UNSAID: Final = frozenset({"body", *TAGS})
_NO_KEY: Final = "Give the server's password as the API key."


def openai_failure(failed: Failure) -> Failure:
    """The same failure as OpenAI would answer it; the headers stay."""
    status = 400 if failed.status == 422 else failed.status
    code, param = _CODES.get(status), None
    if "error" in failed.body:
        given = failed.body["error"]
        message, code = _sentence(given["message"], given["detail"]), given["type"]
    else:
        detail: Any = failed.body["detail"]
        message = _NO_KEY if status == 401 else str(detail)
        if isinstance(detail, list):
            problems = _problems(cast("list[dict[str, Any]]", detail))
            message = "; ".join(f"{place}: {text}" if place else text for place, text in problems)
            param = problems[0][0] or None
        elif isinstance(detail, dict):
            fields = cast("dict[str, Any]", detail)
            message, code = str(fields["message"]), str(fields["code"]).lower()
    return Failure(status, {"error": _error(message, status, code, param)}, failed.headers)


def openai_error(error: RunError) -> dict[str, Any]:
    """How a run that failed is told of inside a stream."""
    return _error(_sentence(error.message, error.detail), 500, error.error_type, None)


def _problems(listed: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each problem with its place, in dots. Where a value may be of two kinds, the deeper place is what was meant."""
    problems = [(".".join(_said(each["loc"])), str(each["msg"])) for each in listed]
    places = [place for place, _ in problems]
    return [each for each in problems if not any(place.startswith(f"{each[0]}.") for place in places)]


def _said(loc: list[Any]) -> list[str]:
    return [str(part) for part in loc if part not in _UNSAID and not str(part).startswith("list[")]


def _sentence(message: str, detail: str | None) -> str:
    return f"{message} {detail}" if detail else message


def _error(message: str, status: int, code: str | None, param: str | None) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"message": message, "type": kind, "code": code, "param": param}
