"""Giving passages their vectors in the background: asked for where a passage or a model changes, worked by a job."""

from typing import Final

from sqlalchemy import Connection

from perdure.domain.archives import Archive
from perdure.domain.ids import new_id, now
from perdure.domain.jobs import Job
from perdure.store import archives as archive_store
from perdure.store import jobs as job_store
from perdure.store import signals

KIND: Final = "archive_embedding"


def ask(conn: Connection, tenant: str, archive: Archive) -> None:
    """Have the passages of an archive embedded that lack a vector by its model, unless that is under way already."""
    if archive.embedding is None:
        return
    # Held, so that a job which is just ending either sees what this unit stores or is over before it looks.
    archive_store.get(conn, tenant, archive.id, held=True)
    if job_store.is_asked(conn, KIND, archive.id):
        return
    at = now()
    job = Job(
        id=new_id("job"), kind=KIND, subject=archive.id, created_at=at, updated_at=at,
        metadata={"archive_id": archive.id, "embedding": archive.embedding.handle},
    )  # fmt: skip
    job_store.create(conn, tenant, job)
    signals.notify(conn, "job")
