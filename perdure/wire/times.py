"""Times as the contract writes them."""

from datetime import UTC, datetime


def whole_seconds(at: int) -> str:
    """Microseconds UTC as `2026-01-31T12:00:00+00:00`, the form of every message's `date`."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat()


def precise(at: int | None) -> str | None:
    """Microseconds UTC as `2026-01-31T12:00:00.123456+00:00`, the form of `created_at` and its like."""
    return None if at is None else datetime.fromtimestamp(at / 1_000_000, UTC).isoformat()
