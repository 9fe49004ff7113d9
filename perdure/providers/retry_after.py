"""When a provider wants to be asked again, in all the ways they say it: by headers, in an error's details, in words."""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

_DURATION: Final = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,9})?)(ms|s))?")
"""A duration as providers write it: `34.07s`, `6m0s`, `1h30m`, `350ms`."""
_WORDS: Final = re.compile(
    r"\b(?:try again|retry) (?:in|after) (\d[\d.hm]{0,20}s|\d{1,9}(?:\.\d{1,9})? ?sec)", re.IGNORECASE
)
_LIMITS: Final = ("x-ratelimit", "anthropic-ratelimit")
"""What the headers that tell limits begin with: `remaining` in them says what is left, `reset` until when."""


def in_headers(headers: Mapping[str, str]) -> float | None:
    """Seconds, by the headers of a refusal; None where they say nothing that makes sense."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    if text := headers.get("Retry-After", "").strip():
        number = _number(text)
        return number if number is not None else _until_date(text)
    waits = [_until(value) for name, value in headers.items() if _is_spent(headers, name.lower())]
    return max((wait for wait in waits if wait is not None), default=None)


def in_words(message: str) -> float | None:
    """Seconds, as in "Please try again in 20s."; None where a message says nothing of the kind."""
    found = _WORDS.search(message)
    return seconds(found[1].lower().replace("ec", "").replace(" ", "")) if found else None


def seconds(duration: str) -> float | None:
    """The seconds of a duration such as `34.07s` or `6m0s`; None for anything else."""
    found = _DURATION.fullmatch(duration)
    if found is None or not duration:
        return None
    hours, minutes, rest, unit = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0) / (1000 if unit == "ms" else 1)


def _is_spent(headers: Mapping[str, str], name: str) -> bool:
    """Whether a header says when a limit ends of which nothing is left. The others end, too, and mean nothing."""
    left = headers.get(name.replace("-reset", "-remaining"), "")
    return name.startswith(_LIMITS) and "-reset" in name and left.strip() == "0"


def _until(text: str) -> float | None:
    """Seconds until what a header names: a duration, a moment, or a moment in milliseconds since 1970."""
    text = text.strip()
    if (duration := seconds(text)) is not None:
        return duration
    if (number := _number(text)) is not None:
        moment = number / 1000 if number > 1e11 else number
        return max(0.0, moment - time.time()) if moment > 1e9 else number
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _until_date(text: str) -> float | None:
    moment = email.utils.parsedate_tz(text)
    try:
        return None if moment is None else max(0.0, email.utils.mktime_tz(moment) - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    """A number of what has not been yet: what lies in the past is now."""
    try:
        number = float(text)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
