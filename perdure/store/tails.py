"""What was logged lately of many runs at once, for those who follow them in another process than the one that works."""

from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, literal_column, or_, select

from perdure.domain.events import EVENTS_DECODER, AnyEvent
from perdure.domain.runs import ACTIVE
from perdure.store.hot import Hot
from perdure.store.runs import BATCH_CHARS
from perdure.store.tables import run_events, runs

MOST_RUNS: Final = 64
"""Runs looked at in one unit."""
MOST_ROWS: Final = 512
"""Stored batches read in one unit."""


class News(NamedTuple):
    """The events after those known, by run, and the runs of which no more will come; not `whole` where some are left.

    What is left is read by asking again.
    """

    events: dict[str, list[AnyEvent]]
    ended: set[str]
    whole: bool


def news(conn: Connection, known: Mapping[str, int]) -> News:
    """What was committed of at most `MOST_RUNS` runs after the events of these numbers, each the last of its commit."""
    asked = _padded(known)
    params = {f"run{at}": run_id for at, (run_id, _) in enumerate(asked)}
    under_way = {row[0] for row in _under_way(len(asked)).rows(conn, **params)}
    params |= {f"after{at}": after for at, (_, after) in enumerate(asked)}
    rows = _logged(len(asked)).rows(conn, **params)
    events: dict[str, list[AnyEvent]] = {}
    chars, whole = 0, len(rows) < MOST_ROWS
    for run_id, body in rows:
        events.setdefault(run_id, []).extend(EVENTS_DECODER.decode(body))
        chars += len(body)
        if chars > BATCH_CHARS:
            whole = False
            break
    return News(events, known.keys() - under_way if whole else set(), whole)


def _padded(known: Mapping[str, int]) -> list[tuple[str, int]]:
    """As many as a power of two, so that there are few statements to prepare; no run has the id that fills the rest."""
    size = 1 << (len(known) - 1).bit_length()
    return [*known.items(), *[("", 0)] * (size - len(known))]


@cache
def _logged(count: int) -> Hot:
    after = [
        and_(run_events.c.run_id == bindparam(f"run{at}"), run_events.c.first > bindparam(f"after{at}"))
        for at in range(count)
    ]
    found = select(run_events.c.run_id, run_events.c.events).where(or_(*after))
    return Hot(found.order_by(run_events.c.run_id, run_events.c.first).limit(MOST_ROWS))


@cache
def _under_way(count: int) -> Hot:
    statuses = [literal_column(f"'{status}'") for status in ACTIVE]
    ids = [bindparam(f"run{at}") for at in range(count)]
    return Hot(select(runs.c.id).where(runs.c.id.in_(ids), literal_column("status").in_(statuses)))
