"""Stretches of time as models name them: by dates and times in ISO 8601."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from perdure.domain.errors import Invalid

DAY_START: Final = time()
DAY_END: Final = time(23, 59, 59)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def period(
    start: str | None, end: str | None, zone: tzinfo, names: tuple[str, str] = ("start_date", "end_date")
) -> tuple[int | None, int | None]:
    """The first moment of a period and the first one after it, in microseconds UTC; None where it is open.

    Both are included, an end that is a mere date to the end of its day, and read as of `zone` unless they name another.
    Raises Invalid, with the arguments' `names`, for what is no date and for an end before its start.
    """
    first = None if not start else _microseconds(_read(names[0], start, zone, DAY_START))
    after = None
    if end:
        moment = _read(names[1], end, zone, DAY_END)
        after = _microseconds(moment) + (1 if moment.microsecond else 1_000_000)
    if first is not None and after is not None and first >= after:
        raise Invalid(f"{names[0]} is later than {names[1]}, so nothing can lie between them. Swap them.")
    return first, after


def local(at: int, zone: tzinfo) -> str:
    """A moment as models are shown it, e.g. `2026-01-31T13:00:00+01:00`."""
    return (_EPOCH + timedelta(microseconds=at)).astimezone(zone).isoformat(timespec="seconds")


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _read(name: str, text: str, zone: tzinfo, day_time: time) -> datetime:
    """The moment that `text` names; of a mere date, its `day_time`."""
    text = text.strip()
    try:
        return datetime.combine(date.fromisoformat(text), day_time, zone)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            f"{name} {text[:40]!r} is not a date. Write it as 2026-11-22 or 2026-11-22T15:00; "
            f"without an offset it is read as {zone} time."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
