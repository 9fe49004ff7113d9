"""Dropping the event logs of runs that ended long ago, a little at a time, so that nothing else waits for it."""

from typing import Final

from sqlalchemy import Connection, delete, func, or_, select, update

from perdure.store.database import Database
from perdure.store.tables import run_events, runs

MOST_RUNS: Final = 200
"""Runs looked at in one transaction."""
MOST_ROWS: Final = 1000
"""Rows dropped in one transaction; each holds what one commit released of a run."""


async def forget_events(db: Database, ended_before: int) -> int:
    """Drop the event logs of runs that ended before a time (µs), and the names that would replay them; the runs stay.

    Returns how many rows went. Raises Unavailable; what went by then is gone, and the next call goes on.
    """
    # Names first: one that still leads to a run whose log is gone would answer a message with neither.
    while await db.write(lambda conn: _forget_names(conn, ended_before)):
        pass
    forgotten, after = 0, ""
    while after is not None:
        dropped, after = await db.write(lambda conn, after=after: _forget_some(conn, ended_before, after))
        forgotten += dropped
    return forgotten


def _forget_some(conn: Connection, ended_before: int, after: str) -> tuple[int, str | None]:
    """Drop rows of runs whose id comes after `after`: how many, and where to go on, None at the end.

    Runs are found by seeking from one id to the next: the rows between hold a day of streams and are not read.
    """
    log = run_events.c
    dropped = 0
    for _ in range(MOST_RUNS):
        run_id = conn.execute(select(func.min(log.run_id)).where(log.run_id > after)).scalar()
        if run_id is None:
            return dropped, None
        ended = conn.execute(select(runs.c.completed_at).where(runs.c.id == run_id)).scalar()
        if ended is not None and ended < ended_before:
            rows = select(log.first).where(log.run_id == run_id).order_by(log.first).limit(MOST_ROWS - dropped)
            firsts = conn.execute(rows).scalars().all()
            dropped += conn.execute(delete(run_events).where(log.run_id == run_id, log.first <= firsts[-1])).rowcount
            if dropped >= MOST_ROWS:
                return dropped, after
        after = run_id
    return dropped, after


def _forget_names(conn: Connection, ended_before: int) -> bool:
    """Free what callers named some runs by; whether there may be more."""
    named = or_(runs.c.otids.is_not(None), runs.c.attempt.is_not(None))
    old = select(runs.c.id).where(runs.c.completed_at < ended_before, named).limit(MOST_RUNS)
    freed = conn.execute(update(runs).where(runs.c.id.in_(old)).values(otids=None, attempt=None))
    return freed.rowcount == MOST_RUNS
