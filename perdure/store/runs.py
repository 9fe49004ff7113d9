"""Runs, the events they logged and the steps they took."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, Text, bindparam, func, literal_column, or_, select, type_coerce, update
from sqlalchemy import delete as delete_rows

from perdure.domain.conversations import DEFAULT_CONVERSATION
from perdure.domain.errors import Busy, Expired, not_found
from perdure.domain.events import EVENTS_DECODER, EVENTS_ENCODER, AnyEvent, UsageReported
from perdure.domain.runs import ACTIVE, Logprobs, Run, RunError, RunStatus, Step, StopReason, Usage
from perdure.store.hot import Hot, insert_into
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import conversations, run_events, runs, servers, steps

BATCH_CHARS: Final = 1_000_000
"""Characters of stored events, about, that a reader is given at a time."""

_ENCODER: Final = msgspec.json.Encoder()

_RUN_FIELDS: Final = tuple(Run.__struct_fields__)
_RUN_COLUMNS: Final = tuple(runs.c[name] for name in _RUN_FIELDS)
_DEFAULT_CONVERSATIONS: Final = select(conversations.c.id).where(conversations.c.is_default.is_(True))

_INSERT: Final = Hot(
    insert_into(
        runs, "id", "tenant_id", "agent_id", "conversation_id", "status", "background", "request", "request_config",
        "metadata", "usage", "otids", "callback_url", "project_id", "created_at", "started_at", "attempt", "owner",
        "caller_id", "waited_for", "depth",
    )
)  # fmt: skip
_UNFINISHED: Final = (
    select(runs.c.id, runs.c.status)
    .where(
        runs.c.conversation_id == bindparam("conversation"),
        literal_column("status").in_([literal_column(f"'{status}'") for status in ACTIVE]),
    )
    .order_by(runs.c.created_at)
)
_ACTIVE: Final = Hot(_UNFINISHED)
_HOLD_ACTIVE: Final = Hot(_UNFINISHED.with_for_update(key_share=True))
_HOLD_NEXT: Final = Hot(
    select(runs.c.id)
    .where(runs.c.conversation_id == bindparam("conversation"), literal_column("status = 'created'"))
    .order_by(runs.c.created_at)
    .limit(1)
    .with_for_update(key_share=True)
)
_BY_OTIDS: Final = Hot(
    select(runs.c.id).where(runs.c.conversation_id == bindparam("conversation"), runs.c.otids == bindparam("given"))
)
_BEGIN: Final = Hot(
    update(runs)
    .where(runs.c.id == bindparam("run"), runs.c.status == bindparam("waiting"))
    .values(status=bindparam("running"), started_at=bindparam("at"))
)
_FINISH: Final = Hot(
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(
        status=bindparam("new_status"),
        stop_reason=bindparam("why"),
        usage=bindparam("used"),
        metadata=bindparam("meta"),
        completed_at=bindparam("at"),
        ttft_ns=bindparam("first_ns"),
        total_duration_ns=bindparam("total_ns"),
    )
)
_LOG: Final = Hot(insert_into(run_events, "run_id", "first", "last", "events"))
_STEP: Final = Hot(
    insert_into(
        steps, "id", "tenant_id", "run_id", "agent_id", "status", "model", "model_handle", "provider_name",
        "model_endpoint", "context_window_limit", "stop_reason", "usage", "error", "tags", "ttft_ns", "model_ns",
        "tool_ns", "created_at",
    )
)  # fmt: skip


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs of a tenant are meant; None means any. `conversation_id` may be `DEFAULT_CONVERSATION`."""

    agent_ids: Collection[str] | None = None
    statuses: Collection[str] | None = None
    background: bool | None = None
    stop_reason: StopReason | None = None
    conversation_id: str | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run comes from: the request it is to work, the names its caller gave it, and the process that took it."""

    request: bytes
    otids: str | None = None
    attempt: str | None = None
    project: str | None = None
    owner: str | None = None


def create(conn: Connection, tenant: str, run: Run, origin: Origin) -> None:
    """Store a new run with the request it is to work, so that a queued one survives a restart."""
    _INSERT.rows(
        conn, id=run.id, tenant_id=tenant, agent_id=run.agent_id, conversation_id=run.conversation_id,
        status=run.status, background=run.background, request=origin.request.decode(),
        request_config=_text(run.request_config), metadata=_text(run.metadata), usage=_text(run.usage),
        otids=origin.otids, callback_url=run.callback_url, project_id=origin.project, created_at=run.created_at,
        started_at=run.created_at if run.status == "running" else None, attempt=origin.attempt, owner=origin.owner,
        caller_id=run.caller_id, waited_for=run.waited_for, depth=run.depth,
    )  # fmt: skip


def active(conn: Connection, conversation_id: str) -> list[tuple[str, RunStatus]]:
    """The unfinished runs of a conversation as (id, status), oldest first."""
    return [(row[0], row[1]) for row in _ACTIVE.rows(conn, conversation=conversation_id)]


def newest(conn: Connection, conversation_id: str) -> int:
    """When the newest unfinished run of a conversation was created; 0 where there is none."""
    found = select(func.max(runs.c.created_at)).where(runs.c.conversation_id == conversation_id)
    return conn.execute(found.where(runs.c.status.in_(ACTIVE))).scalar() or 0


def hold_active(conn: Connection, conversation_id: str) -> list[tuple[str, RunStatus]]:
    """The same, held: until the unit ends none of them ends, so that none leaves without a look at who waits."""
    return [(row[0], row[1]) for row in _HOLD_ACTIVE.rows(conn, conversation=conversation_id)]


def hold_next(conn: Connection, conversation_id: str) -> str | None:
    """The id of the run that has waited longest for its turn, held until the unit ends; None where none waits."""
    row = _HOLD_NEXT.row(conn, conversation=conversation_id)
    return None if row is None else row[0]


def find_by_otids(conn: Connection, conversation_id: str, otids: str) -> str | None:
    """The id of the run that was created with these otids, or None."""
    row = _BY_OTIDS.row(conn, conversation=conversation_id, given=otids)
    return None if row is None else row[0]


def find_by_attempt(conn: Connection, tenant: str, attempt: str, ended_after: int) -> str | None:
    """The id of the newest run of this attempt that is unfinished or ended after a time, or None."""
    found = select(runs.c.id).where(
        runs.c.tenant_id == tenant,
        runs.c.attempt == attempt,
        or_(runs.c.completed_at.is_(None), runs.c.completed_at > ended_after),
    )
    return conn.execute(found.order_by(runs.c.created_at.desc()).limit(1)).scalar()


def find_by_request(conn: Connection, conversation_id: str, part: str) -> str | None:
    """The id of the newest run of a conversation whose request, as `create` was given it, holds this text; or None."""
    holds = type_coerce(runs.c.request, Text).contains(part, autoescape=True)
    found = select(runs.c.id).where(runs.c.conversation_id == conversation_id, holds)
    return conn.execute(found.order_by(runs.c.created_at.desc()).limit(1)).scalar()


def begin(conn: Connection, run_id: str, at: int) -> None:
    """A waiting run has its turn."""
    _BEGIN.rows(conn, run=run_id, waiting="created", running="running", at=at)


def finish(
    conn: Connection,
    run_id: str,
    *,
    status: RunStatus,
    stop_reason: StopReason,
    usage: Usage,
    metadata: dict[str, Any],
    at: int,
    ttft_ns: int | None,
    total_ns: int,
) -> None:
    """Record how a run ended."""
    _FINISH.rows(
        conn, run=run_id, new_status=status, why=stop_reason, used=_text(usage), meta=_text(metadata), at=at,
        first_ns=ttft_ns, total_ns=total_ns,
    )  # fmt: skip


def write_off(conn: Connection, run_id: str, at: int, error: RunError) -> str:
    """Record that a run ended by an error, without reading what is stored of it; returns its conversation's id."""
    failed = update(runs).where(runs.c.id == run_id)
    ended = {"status": "failed", "stop_reason": "error", "completed_at": at}
    told = {"metadata": {"error": msgspec.structs.asdict(error)}, "usage": msgspec.structs.asdict(Usage())}
    return conn.execute(failed.values({**ended, **told}).returning(runs.c.conversation_id)).scalar_one()


def cancel_ended(conn: Connection, run_ids: Collection[str]) -> None:
    """Record as cancelled runs that had ended to wait for an approval nobody is to give any more."""
    conn.execute(update(runs).where(runs.c.id.in_(list(run_ids))).values(status="cancelled", stop_reason="cancelled"))


def log(conn: Connection, rows: Sequence[tuple[str, int, Sequence[AnyEvent]]]) -> None:
    """Append events, given as (run id, number of the first, events); their numbers follow one another."""
    _LOG.many(
        conn,
        [
            {"run_id": run_id, "first": first, "last": first + len(events) - 1,
             "events": EVENTS_ENCODER.encode(events).decode()}
            for run_id, first, events in rows
        ],
    )  # fmt: skip


def events_after(
    conn: Connection, run_id: str, seq: int, *, limit: int = 64, most_chars: int = BATCH_CHARS
) -> list[tuple[int, AnyEvent]]:
    """Events numbered above `seq`, from at most `limit` stored batches; empty at the end of what is stored.

    After `most_chars` of stored text no further batch is read.
    """
    rows = conn.execute(
        select(run_events.c.first, run_events.c.events)
        .where(run_events.c.run_id == run_id, run_events.c.last > seq)
        .order_by(run_events.c.first)
        .limit(limit)
    )
    found: list[tuple[int, AnyEvent]] = []
    chars = 0
    for first, body in rows:
        found += [(at, event) for at, event in enumerate(EVENTS_DECODER.decode(body), first) if at > seq]
        chars += len(body)
        if chars > most_chars:
            break
    return found


def logprobs(conn: Connection, run_id: str) -> Logprobs | None:
    """The log probabilities that an ended run was asked for, while its event log is kept; else None."""
    found = select(run_events.c.events).where(run_events.c.run_id == run_id)
    batch = conn.execute(found.order_by(run_events.c.first.desc()).limit(1)).scalar()
    events = EVENTS_DECODER.decode(batch) if batch else ()
    return next((event.logprobs for event in events if isinstance(event, UsageReported)), None)


def last_seq(conn: Connection, run_id: str) -> int:
    """The number of a run's newest event; 0 where it has none."""
    return conn.execute(select(func.max(run_events.c.last)).where(run_events.c.run_id == run_id)).scalar() or 0


def get(conn: Connection, tenant: str, run_id: str) -> Run:
    """One run. Raises NotFound."""
    found = select(*_RUN_COLUMNS).where(runs.c.id == run_id, runs.c.tenant_id == tenant)
    row = conn.execute(found).one_or_none()
    if row is None:
        raise not_found("Run", run_id)
    return msgspec.convert(row, Run, from_attributes=True)


def check_log(conn: Connection, tenant: str, run_id: str) -> None:
    """Raises NotFound where there is no such run, and Expired where its event log was dropped."""
    if get(conn, tenant, run_id).completed_at is not None and not last_seq(conn, run_id):
        raise Expired(
            f"EXPIRED: The events of run {run_id} are not kept any more. What it said is in /v1/runs/{run_id}/messages."
        )


def list_page(conn: Connection, tenant: str, wanted: RunFilter, page: Page) -> list[Run]:
    """A page of the runs that match, by when they were created. Raises NotFound for an unknown cursor."""
    rows = select_page(
        conn, _matching(select(*_RUN_COLUMNS), tenant, wanted), page,
        noun="Run", sort=runs.c.created_at, key=runs.c.id, known=runs.c.tenant_id == tenant,
    )  # fmt: skip
    return [to_struct(row, Run) for row in rows]


def _matching(found: Select[Any], tenant: str, wanted: RunFilter) -> Select[Any]:
    found = found.where(runs.c.tenant_id == tenant)
    for column, values in ((runs.c.agent_id, wanted.agent_ids), (runs.c.status, wanted.statuses)):
        if values is not None:
            found = found.where(column.in_(values))
    for column, value in ((runs.c.background, wanted.background), (runs.c.stop_reason, wanted.stop_reason)):
        if value is not None:
            found = found.where(column == value)
    if wanted.conversation_id == DEFAULT_CONVERSATION:
        return found.where(runs.c.conversation_id.in_(_DEFAULT_CONVERSATIONS))
    return found if wanted.conversation_id is None else found.where(runs.c.conversation_id == wanted.conversation_id)


def on_default(conn: Connection, found: Iterable[Run]) -> set[str]:
    """The ids of those runs that work on their agent's default conversation, which has no id outside."""
    ids = {run.conversation_id for run in found}
    default = set(conn.execute(_DEFAULT_CONVERSATIONS.where(conversations.c.id.in_(ids))).scalars())
    return {run.id for run in found if run.conversation_id in default}


def delete(conn: Connection, tenant: str, run_id: str) -> Run:
    """Delete a run with its steps and events; its messages stay. Raises NotFound, and Busy while it is under way."""
    run = get(conn, tenant, run_id)
    if run.status in ACTIVE:
        raise Busy(f"Run {run_id} is still under way. Cancel it first.", run_id=run_id)
    conn.execute(delete_rows(runs).where(runs.c.id == run_id))
    return run


def claim_untold(conn: Connection, server_id: str) -> list[str]:
    """Take over the callbacks that nobody alive is about to make: the ids of their ended runs, oldest first."""
    held = select(servers.c.id).where(servers.c.id == runs.c.owner).exists()
    found = select(runs.c.id).where(
        runs.c.callback_url.is_not(None), runs.c.callback_sent_at.is_(None), runs.c.completed_at.is_not(None), ~held
    )
    untold = list(
        conn.execute(found.order_by(runs.c.completed_at).with_for_update(skip_locked=True, of=runs)).scalars()
    )
    conn.execute(update(runs).where(runs.c.id.in_(untold)).values(owner=server_id))
    return untold


def record_callback(conn: Connection, run_id: str, *, sent_at: int, status_code: int | None, error: str | None) -> None:
    """Keep what came of a callback."""
    told = {"callback_sent_at": sent_at, "callback_status_code": status_code, "callback_error": error}
    conn.execute(update(runs).where(runs.c.id == run_id).values(told))


def stored(conn: Connection, run_id: str) -> tuple[str, Run, bytes]:
    """A run as (tenant, run, its request as `create` was given it). Raises NotFound."""
    found = find_stored(conn, run_id)
    if found is None:
        raise not_found("Run", run_id)
    return found


def find_stored(conn: Connection, run_id: str) -> tuple[str, Run, bytes] | None:
    """The same, or None where there is no such run any more."""
    found = select(runs.c.tenant_id, runs.c.request, *_RUN_COLUMNS).where(runs.c.id == run_id)
    row = conn.execute(found).one_or_none()
    if row is None:
        return None
    return row.tenant_id, msgspec.convert(row, Run, from_attributes=True), _ENCODER.encode(row.request)


def hold(conn: Connection, run_id: str, server_id: str) -> tuple[int, bool] | None:
    """Keep others from an unfinished run of a process until this unit ends.

    How often it has changed hands, and whether somebody asked to cancel it; None where the process has it no more.
    """
    found = select(runs.c.fence, runs.c.cancel_asked_at).where(
        runs.c.id == run_id, runs.c.owner == server_id, runs.c.status.in_(ACTIVE)
    )
    row = conn.execute(found.with_for_update()).one_or_none()
    return None if row is None else (row.fence, row.cancel_asked_at is not None)


def ask_to_cancel(
    conn: Connection,
    tenant: str,
    at: int,
    *,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    run_ids: Collection[str] | None = None,
    but: Collection[str] = (),
) -> list[str]:
    """Leave word for whoever holds the unfinished runs of an agent, a conversation or these ids that they are to end.

    Those in `but` are left out. Returns the ids of the others.
    """
    wanted = [runs.c.tenant_id == tenant, runs.c.status.in_(ACTIVE), runs.c.id.not_in(list(but))]
    for column, value in ((runs.c.agent_id, agent_id), (runs.c.conversation_id, conversation_id)):
        wanted += [] if value is None else [column == value]
    wanted += [] if run_ids is None else [runs.c.id.in_(list(run_ids))]
    asked = update(runs).where(*wanted).values(cancel_asked_at=at).returning(runs.c.id)
    return list(conn.execute(asked).scalars())


def under_way(conn: Connection, run_ids: Collection[str]) -> set[str]:
    """Those of these runs that are unfinished."""
    found = select(runs.c.id).where(runs.c.id.in_(list(run_ids)), runs.c.status.in_(ACTIVE))
    return set(conn.execute(found).scalars())


def record_step(conn: Connection, tenant: str, step: Step) -> None:
    """Store a step that ended."""
    _STEP.rows(
        conn, id=step.id, tenant_id=tenant, run_id=step.run_id, agent_id=step.agent_id, status=step.status,
        model=step.model, model_handle=step.model_handle, provider_name=step.provider_name,
        model_endpoint=step.model_endpoint, context_window_limit=step.context_window_limit,
        stop_reason=step.stop_reason, usage=_text(step.usage), error=None if step.error is None else _text(step.error),
        tags=_text(step.tags), ttft_ns=step.ttft_ns, model_ns=step.model_ns, tool_ns=step.tool_ns,
        created_at=step.created_at,
    )  # fmt: skip


def _text(value: object) -> str:
    return _ENCODER.encode(value).decode()
