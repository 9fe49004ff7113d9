"""Jobs: what is worked in the background, by which process, and how it went.

A job belongs to the process whose id is its `owner`, for as long as that process has a row (`store/servers.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, exists, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows

from perdure.domain.errors import not_found
from perdure.domain.ids import now
from perdure.domain.jobs import UNFINISHED, Job, JobStatus
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import files, jobs, servers

_FIELDS: Final = Job.__struct_fields__
_COLUMNS: Final = tuple(jobs.c[name] for name in _FIELDS)


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs of a tenant are meant; None means any. `folder_id` leaves those about it and its files."""

    active: bool = False
    folder_id: str | None = None


class Claimed(msgspec.Struct, frozen=True):
    """A job that a process has taken on."""

    tenant: str
    job: Job


def create(conn: Connection, tenant: str, job: Job) -> None:
    """Store a new job, for any process to take on."""
    conn.execute(insert(jobs).values(tenant_id=tenant, **{name: getattr(job, name) for name in _FIELDS}))


def get(conn: Connection, tenant: str, job_id: str) -> Job:
    """One job. Raises NotFound."""
    row = conn.execute(_all(tenant).where(jobs.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise not_found("Job", job_id)
    return to_struct(row, Job)


def list_page(conn: Connection, tenant: str, wanted: JobFilter, page: Page) -> list[Job]:
    """A page of the jobs that match, by when they were asked for. Raises NotFound for an unknown cursor."""
    found = _all(tenant)
    if wanted.active:
        found = found.where(jobs.c.status.in_(UNFINISHED))
    if wanted.folder_id is not None:
        own = jobs.c.subject.in_(select(files.c.id).where(files.c.folder_id == wanted.folder_id))
        found = found.where(own | (jobs.c.subject == wanted.folder_id))
    rows = select_page(
        conn, found, page, noun="Job", sort=jobs.c.created_at, key=jobs.c.id, known=jobs.c.tenant_id == tenant
    )
    return [to_struct(row, Job) for row in rows]


def delete(conn: Connection, tenant: str, job_id: str) -> None:
    """Delete a job's record. Raises NotFound."""
    if not conn.execute(delete_rows(jobs).where(jobs.c.id == job_id, jobs.c.tenant_id == tenant)).rowcount:
        raise not_found("Job", job_id)


def cancel(conn: Connection, tenant: str, job_id: str) -> bool:
    """Cancel a job; false where it had ended. Whoever works it finds out by itself."""
    fields = {"status": "cancelled", "completed_at": now(), "updated_at": now()}
    same = (jobs.c.id == job_id) & (jobs.c.tenant_id == tenant) & jobs.c.status.in_(UNFINISHED)
    return conn.execute(update_rows(jobs).where(same).values(**fields)).rowcount == 1


def drop_about(conn: Connection, subjects: Iterable[str]) -> None:
    """Cancel what is still to be done about things that are gone."""
    fields = {"status": "cancelled", "completed_at": now(), "updated_at": now()}
    about = jobs.c.subject.in_(list(subjects)) & jobs.c.status.in_(UNFINISHED)
    conn.execute(update_rows(jobs).where(about).values(**fields))


def is_asked(conn: Connection, kind: str, subject: str) -> bool:
    """Whether there is an unfinished job of a kind about a thing."""
    same = (jobs.c.subject == subject) & (jobs.c.kind == kind) & jobs.c.status.in_(UNFINISHED)
    return conn.execute(select(jobs.c.id).where(same).limit(1)).first() is not None


def note(conn: Connection, job_id: str, metadata: dict[str, Any]) -> None:
    """Note how far a job has come."""
    conn.execute(update_rows(jobs).where(jobs.c.id == job_id).values(metadata=metadata, updated_at=now()))


def some_free(conn: Connection) -> bool:
    """Whether there is a job that nobody works."""
    return conn.execute(_free().limit(1)).first() is not None


def claim(conn: Connection, server_id: str, most: int) -> list[Claimed]:
    """Give unfinished jobs that nobody works to a process, the oldest first, at most so many."""
    free = _free().order_by(jobs.c.created_at, jobs.c.id).limit(most).with_for_update(skip_locked=True, of=jobs)
    ids = list(conn.execute(free).scalars())
    if not ids:
        return []
    fields = {"owner": server_id, "status": "running", "attempts": jobs.c.attempts + 1, "updated_at": now()}
    conn.execute(update_rows(jobs).where(jobs.c.id.in_(ids)).values(**fields))
    found = select(jobs.c.tenant_id, *_COLUMNS).where(jobs.c.id.in_(ids)).order_by(jobs.c.created_at, jobs.c.id)
    return [Claimed(row["tenant_id"], to_struct(row, Job)) for row in conn.execute(found).mappings()]


def held(conn: Connection, server_id: str) -> Sequence[str]:
    """The ids of the jobs that a process still has to work."""
    return conn.execute(select(jobs.c.id).where(_is_held(server_id))).scalars().all()


def hold(conn: Connection, job_id: str, server_id: str) -> bool:
    """Whether a process still works a job, which then nobody takes from it until the unit ends."""
    alive = exists(select(servers.c.id).where(servers.c.id == server_id))
    mine = select(jobs.c.id).where(jobs.c.id == job_id, _is_held(server_id), alive)
    return conn.execute(mine.with_for_update(of=jobs)).first() is not None


def end(conn: Connection, job_id: str, status: JobStatus, *, error: str | None = None) -> None:
    """Note how a job ended."""
    fields: dict[str, Any] = {"status": status, "error": error, "completed_at": now(), "updated_at": now()}
    conn.execute(update_rows(jobs).where(jobs.c.id == job_id).values(**fields))


def _free() -> Select[Any]:
    held = exists(select(servers.c.id).where(servers.c.id == jobs.c.owner))
    return select(jobs.c.id).where(jobs.c.status.in_(UNFINISHED), ~held)


def _is_held(server_id: str) -> Any:
    return (jobs.c.owner == server_id) & jobs.c.status.in_(UNFINISHED)


def _all(tenant: str) -> Select[Any]:
    return select(*_COLUMNS).where(jobs.c.tenant_id == tenant)
