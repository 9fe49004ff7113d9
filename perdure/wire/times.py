"""Times as the contract writes them."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
