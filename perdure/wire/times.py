"""Times as the contract writes them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

_MERE_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _representable(moment: datetime) -> datetime:
    try:
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("The time lies outside the years 1 to 9999 in UTC.") from None


Moment = Annotated[datetime, AfterValidator(_representable)]
"""A time that a caller gives; one without an offset is UTC."""


def _last_of(given: object) -> object:
    return f"{given}T23:59:59.999999" if isinstance(given, str) and _MERE_DATE.fullmatch(given) else given


End = Annotated[Moment, BeforeValidator(_last_of)]
"""The end of a period, which is part of it: a mere date lasts to the end of its day."""


def whole_seconds(at: int) -> str:
    """Microseconds UTC as `2026-01-31T12:00:00+00:00`, the form of every message's `date`."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat()


def precise(at: int | None) -> str | None:
    """Microseconds UTC as `2026-01-31T12:00:00.123456+00:00`, the form of `created_at` and its like."""
    return None if at is None else datetime.fromtimestamp(at / 1_000_000, UTC).isoformat()


def spelled_out(at: int) -> str:
    """Microseconds UTC as `2026-01-31 12:00:00 PM UTC+0000`, the form inside notes to an agent."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%d %I:%M:%S %p %Z%z")


def microseconds(moment: datetime) -> int:
    """Microseconds UTC; a moment without an offset is taken as UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def local(at: int, zone: tzinfo) -> str:
    """Microseconds UTC as `2026-01-31T13:00:00+01:00`, in a timezone."""
    return (_EPOCH + timedelta(microseconds=at)).astimezone(zone).isoformat(timespec="seconds")
