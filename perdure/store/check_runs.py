"""What holds of the runs in a database, their event logs and who works them: checked, and mended."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, delete, exists, func, literal, or_, select, update

from perdure.domain.events import EVENTS_DECODER, AnyEvent, Stopped, UsageReported, last_events
from perdure.domain.ids import now
from perdure.domain.runs import ACTIVE, RunError, StopReason, Usage, status_of
from perdure.store import runs as run_store
from perdure.store.findings import Finding, finding
from perdure.store.tables import conversations, groups, run_events, runs

_REASONS: Final[dict[str, StopReason]] = {"completed": "end_turn", "failed": "error", "cancelled": "cancelled"}
"""Why a run stopped, by its status, where it does not say."""


def homeless(conn: Connection, repair: bool) -> Iterator[Finding]:
    """A run belongs to a conversation that is there, or to a group whose members take turns in it."""
    there = or_(
        *(exists(select(literal(1)).where(home.c.id == runs.c.conversation_id)) for home in (conversations, groups))
    )
    ids = conn.execute(select(runs.c.id).where(~there)).scalars().all()
    if ids:
        if repair:
            conn.execute(delete(runs).where(~there))
        yield finding("runs", "runs of a conversation that is not there", ids, "deleted them" if repair else None)


def rivals(conn: Connection, repair: bool) -> Iterator[Finding]:
    """At most one run works on a conversation."""
    several = (
        select(runs.c.conversation_id)
        .where(runs.c.status == "running")
        .group_by(runs.c.conversation_id)
        .having(func.count() > 1)
    )
    for conversation_id in conn.execute(several).scalars().all():
        working = select(runs.c.id).where(runs.c.conversation_id == conversation_id, runs.c.status == "running")
        ids = conn.execute(working.order_by(runs.c.started_at, runs.c.id)).scalars().all()
        if repair:
            ended = update(runs).where(runs.c.id.in_(ids[1:]))
            conn.execute(ended.values(status="failed", stop_reason="error", completed_at=now()))
        done = "ended all but the first" if repair else None
        yield finding("runs", f"runs that work on conversation {conversation_id} at once", ids, done)


def records(conn: Connection, repair: bool) -> Iterator[Finding]:
    """A run that ended says when and why, and one that did not says neither."""
    ended = runs.c.status.not_in(ACTIVE)
    odd = or_(
        and_(ended, or_(runs.c.completed_at.is_(None), runs.c.stop_reason.is_(None))),
        and_(~ended, runs.c.completed_at.is_not(None)),
    )
    found = select(runs.c.id, runs.c.status, runs.c.stop_reason, runs.c.completed_at, runs.c.created_at).where(odd)
    for run in conn.execute(found).all():
        done = None
        if repair:
            reason = run.stop_reason or _REASONS.get(run.status, "error")
            status = status_of(reason) if run.status in ACTIVE else run.status
            at = run.completed_at or run.created_at
            changed = update(runs).where(runs.c.id == run.id)
            conn.execute(changed.values(status=status, stop_reason=reason, completed_at=at))
            done = f"recorded it as {status}, {reason}"
        yield finding("runs", f"a run that is {run.status} and does not say so throughout", (run.id,), done)


def event_logs(conn: Connection, repair: bool) -> Iterator[Finding]:
    """The log of a run is numbered without a gap; that of a run that ended ends as every stream does."""
    log, after = run_events.c, ""
    while (run_id := conn.execute(select(func.min(log.run_id)).where(log.run_id > after)).scalar()) is not None:
        after = run_id
        rows = conn.execute(
            select(log.first, log.last, log.events).where(log.run_id == run_id).order_by(log.first)
        ).all()
        problem, tail = _walk(rows)
        if problem is not None:
            if repair:
                conn.execute(delete(run_events).where(log.run_id == run_id))
            done = "dropped it; what the run said stays in history" if repair else None
            yield finding("event_log", f"a log that {problem}", (run_id,), done)
            continue
        run = conn.execute(
            select(runs.c.status, runs.c.stop_reason, runs.c.usage, runs.c.metadata).where(runs.c.id == run_id)
        ).one()
        if run.status in ACTIVE or _is_terminal(tail):
            continue
        if repair:
            run_store.log(conn, [(run_id, rows[-1].last + 1, _ending(run, tail))])
        problem = "the log of a run that ended, without its end"
        yield finding("event_log", problem, (run_id,), "added the end that the run records" if repair else None)


def _walk(rows: Sequence[Any]) -> tuple[str | None, list[AnyEvent]]:
    """What is wrong with the stored batches of a log, and its last events.

    One that was being forgotten when the server stopped lacks its beginning; that is no fault, and goes on being
    forgotten.
    """
    expected = rows[0].first
    tail: list[AnyEvent] = []
    for row in rows:
        try:
            events = EVENTS_DECODER.decode(row.events)
        except msgspec.MsgspecError as error:
            return f"cannot be read at number {row.first} ({error})", []
        if row.first != expected:
            return f"goes on with number {row.first} where {expected} is due", []
        if len(events) != row.last - row.first + 1:
            return f"holds {len(events)} events for numbers {row.first} to {row.last}", []
        expected = row.last + 1
        tail = [*tail, *events][-3:]
    return None, tail


def _is_terminal(tail: Sequence[AnyEvent]) -> bool:
    return any(isinstance(event, Stopped) for event in tail) and any(isinstance(event, UsageReported) for event in tail)


def _ending(run: Any, tail: Sequence[AnyEvent]) -> list[AnyEvent]:
    """The events that a log lacks at its end."""
    error = run.metadata.get("error")
    known = None if error is None else msgspec.convert(error, RunError)
    ending = last_events(run.stop_reason or "error", msgspec.convert(run.usage, Usage), known)
    return ending[1:] if any(isinstance(event, Stopped) for event in tail) else ending


def unfinished(conn: Connection) -> int:
    """How many runs are under way or wait. They are taken up by the next start, so that is no fault."""
    return conn.execute(select(func.count()).where(runs.c.status.in_(ACTIVE))).scalar_one()
