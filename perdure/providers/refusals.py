"""What a provider says when it will not answer, as a ModelError: the contract's word for it, and its own message."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from perdure.domain.errors import ContextOverflow, ModelError, TogetherTooLong
from perdure.providers import retry_after
from perdure.providers.text import storable

PLAIN_CHARS: Final = 500
"""Characters kept of an answer that names no message."""
MESSAGE_CHARS: Final = 2000
SECRET_CHARS: Final = 16
"""A key of this length or more is struck from messages wherever it appears."""

_TYPES: Final = {
    400: "llm_bad_request",
    401: "llm_authentication",
    402: "llm_insufficient_credits",
    403: "llm_authentication",
    404: "llm_bad_request",
    408: "llm_timeout",
    413: "llm_bad_request",
    422: "llm_bad_request",
    429: "llm_rate_limit",
    504: "llm_timeout",
}
_NAMED: Final = {
    # Anthropic's types of errors, Bedrock's, OpenAI's codes and types inside a stream, and Google's, with the statuses
    # they stand for.
    "api_error": 500,
    "authentication_error": 401,
    "billing_error": 402,
    "context_length_exceeded": 400,
    "deadline_exceeded": 504,
    "insufficient_quota": 402,
    "internal": 500,
    "internal_server_error": 500,
    "internalserverexception": 500,
    "invalid_api_key": 401,
    "invalid_encrypted_content": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "modelnotreadyexception": 503,
    "modelstreamerrorexception": 500,
    "modeltimeoutexception": 504,
    "not_found_error": 404,
    "overloaded": 529,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "resource_exhausted": 429,
    "server_error": 500,
    "service_unavailable": 503,
    "servicequotaexceededexception": 429,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "timeout_error": 504,
    "unavailable": 503,
    "validationexception": 400,
}
_OTHER_REASONS: Final = frozenset({401, 402, 403, 404, 408, 429, 504})
"""Statuses that never mean a request too long, whatever words come with them."""

_TOO_LONG: Final = re.compile(
    r"context[ _](?:length|window|size)|(?:prompt|input)[\w ]* too long|too large for (?:the )?model|"
    r"request entity too large|request_too_large|too many (?:input )?tokens|model token limit|"
    r"(?:maximum|max)[\w' ]* (?:prompt|model|sequence) length|reduce the length of the (?:messages|prompt|input)|"
    r"(?:tokens?|input|prompt|request)\b.{0,60}\bexceed\w*\b.{0,60}\b(?:tokens?|limit|context)|"
    r"longer than the (?:maximum|model|context)|more than max tokens",
    re.IGNORECASE,
)
"""How vendors and local servers say that a request does not fit: each in words of its own, hardly any by a code."""


_TOGETHER: Final = re.compile(r"Context size has been exceeded")
"""What llama.cpp says when the prompts it works on together fill the window they share, though each would fit."""

_LIMIT: Final = re.compile(
    r"(?:context (?:length|size|window)|maximum prompt length|prompt limit)(?: is| of)?(?: only)? ?\(?(\d[\d,]{2,8})\b"
    r"|> (\d{3,8}) maximum",
    re.IGNORECASE,
)
"""The words that come before the number of tokens that a model holds, in the messages of most servers."""

_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_SPENT: Final = ("insufficient_quota", "insufficient_credits", "credit balance is too low")
"""Words in which providers say that there is no money left, some under the status of a rate limit."""


def error_type(status: int) -> str:
    """The contract's `error_type` for an HTTP status."""
    return _TYPES.get(status, "llm_error")


def refusal(status: int, headers: Mapping[str, str], body: bytes, key: str) -> ModelError:
    """The error for an answer with an HTTP error status: a ContextOverflow where the request was too long.

    `key` is struck from the text.
    """
    answer = decoded(body)
    message = message_in(answer) or body.decode("utf-8", "replace").strip()[:PLAIN_CHARS]
    detail = tidy(message, key) or f"HTTP {status} without a message"
    said = body[:MESSAGE_CHARS].decode("utf-8", "replace")
    delay = retry_after.in_headers(headers)
    for each in _google_details(answer):
        if delay is None:
            delay = retry_after.seconds(str(each.get("retryDelay")))
        if each.get("reason") == "API_KEY_INVALID":
            status = 401
    return _failure(status, said, detail, delay)


def reported(answer: Any, key: str) -> ModelError | None:
    """The error that decoded JSON holds where tokens were expected; None where it holds none.

    A number under `code` or `status` is read as an HTTP status, and so are the vendors' words for one.
    """
    message = message_in(answer)
    if message is None:
        return None
    return _failure(_status_in(answer), str(answer)[:MESSAGE_CHARS], tidy(message, key))


def _failure(status: int, said: str, detail: str, delay: float | None = None) -> ModelError:
    """The error for a status and all that was `said` with it; a ContextOverflow where that means a request too long."""
    if any(words in said for words in _SPENT):
        return ModelError("llm_insufficient_credits", detail)
    if _TOGETHER.match(detail):
        return TogetherTooLong(error_type(status), detail)
    if status not in _OTHER_REASONS and _TOO_LONG.search(detail):
        return ContextOverflow(error_type(status), detail, _limit_in(detail))
    if delay is None and status in _TRANSIENT:
        delay = retry_after.in_words(detail)
    return ModelError(error_type(status), detail, retry_after=delay, transient=status in _TRANSIENT)


def _limit_in(detail: str) -> int | None:
    """How many tokens a model holds, where a refusal says so and is sure to mean that."""
    found = _LIMIT.search(detail)
    return int((found[1] or found[2]).replace(",", "")) if found else None


def decoded(body: bytes) -> Any:
    """JSON as leniently as it can be read, or None where it is none. For answers off the hot path."""
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def message_in(answer: Any, depth: int = 4) -> str | None:
    """The message of a decoded error body, in the shapes in use: `error.message`, `error`, `detail`, `message`."""
    if isinstance(answer, str):
        return answer or None
    if isinstance(answer, list) and depth:
        found = [message_in(item, depth - 1) for item in cast("list[Any]", answer)[:5]]
        return "; ".join(text for text in found if text) or None
    if not isinstance(answer, dict) or not depth:
        return None
    fields = cast("dict[str, Any]", answer)
    for name in ("error", "message", "detail", "msg"):
        if text := message_in(fields.get(name), depth - 1):
            return text
    return f"error {fields['error']}" if fields.get("error") else None


def tidy(message: str, key: str) -> str:
    """`message` as it may be stored, shown and logged."""
    if key and key in message:
        # A short key ("none", "local") is also an ordinary word: struck only where it stands by itself.
        around = ("", "") if len(key) >= SECRET_CHARS else (r"(?<![\w-])", r"(?![\w-])")
        message = re.sub(around[0] + re.escape(key) + around[1], "[key]", message)
    return storable(message[:MESSAGE_CHARS])


def _status_in(answer: Any) -> int:
    if isinstance(answer, list):
        answer = next(iter(cast("list[Any]", answer)), None)
    for level in (answer, cast("dict[str, Any]", answer).get("error") if isinstance(answer, dict) else None):
        if isinstance(level, dict):
            fields = cast("dict[str, Any]", level)
            for name in ("code", "status"):
                text = str(fields.get(name))
                if text.isascii() and text.isdecimal():
                    return int(text[:4])
            for name in ("code", "type"):
                if status := _NAMED.get(str(fields.get(name)).lower()):
                    return status
    return 0


def _google_details(answer: Any) -> Iterator[Mapping[str, Any]]:
    """What Google's errors say beyond their message: https://docs.cloud.google.com/apis/design/errors"""
    error = cast("dict[str, Any]", answer).get("error") if isinstance(answer, dict) else None
    details = cast("dict[str, Any]", error).get("details") if isinstance(error, dict) else None
    for each in cast("list[Any]", details) if isinstance(details, list) else ():
        if isinstance(each, dict):
            yield cast("dict[str, Any]", each)
