"""Works the jobs that give the passages of an archive their vectors, from wherever an earlier process left off.

What still lacks a vector by the archive's model is all it goes by, so it may be begun anew at any time, and does not
mind that passages and even the model change meanwhile.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from perdure.agents.ingestion import Task
from perdure.domain.archives import Archive
from perdure.domain.errors import NotFound
from perdure.domain.jobs import Job
from perdure.memory import embedding
from perdure.memory.passages import Embed
from perdure.store import archives as archive_store
from perdure.store import jobs as job_store
from perdure.store import passages as passage_store
from perdure.store.database import Database
from perdure.store.passages import Unembedded

BATCH: Final = 100
"""Passages that are embedded and stored together."""


class ArchiveEmbedding:
    """The handler of those jobs. Raises ModelError where the model cannot be asked: what is done by then stays."""

    def __init__(self, db: Database, embed: Embed) -> None:
        self._db = db
        self._embed = embed

    async def work(self, task: Task) -> Callable[[Connection], None]:
        """Embed what lacks a vector. What it returns sees to what came in while the job was ending."""
        tenant, archive_id = task.tenant, task.job.subject or ""
        done, after = 0, -1
        while True:
            found = await self._db.read(lambda conn, at=after: _next(conn, tenant, archive_id, at))
            if found is None:
                break
            archive, lacking, left = found
            if archive.embedding is None or not lacking:
                break
            made = await self._embed(tenant, archive.embedding, [each.text for each in lacking])
            done, after = done + len(lacking), lacking[-1].seq

            def keep(conn: Connection) -> None:
                task.check(conn)
                passage_store.embed(conn, zip(lacking, made, strict=True))  # noqa: B023 - run before the next batch
                progress = {"embedded": done, "left": max(0, left - len(lacking))}  # noqa: B023
                job_store.note(conn, task.job.id, {**task.job.metadata, **progress})

            await self._db.write(keep)
        return lambda conn: _begin_again(conn, tenant, task.job)

    def failed(self, conn: Connection, tenant: str, job: Job, reason: str) -> None:
        """Words go on finding the passages, and the next one that is added has them tried again."""


def _next(conn: Connection, tenant: str, archive_id: str, after: int) -> tuple[Archive, list[Unembedded], int] | None:
    """An archive with the next of its passages to embed, and how many there are; None where it is gone."""
    try:
        archive = archive_store.get(conn, tenant, archive_id)
    except NotFound:
        return None
    if archive.embedding is None:
        return archive, [], 0
    handle = archive.embedding.handle
    lacking = passage_store.unembedded(conn, archive.id, handle, after, BATCH)
    return archive, lacking, passage_store.count_unembedded(conn, archive.id, handle) if lacking else 0


def _begin_again(conn: Connection, tenant: str, job: Job) -> None:
    """Ask for another job where passages were added or changed behind this one, or the model was."""
    try:
        archive = archive_store.get(conn, tenant, job.subject or "", held=True)
    except NotFound:
        return
    if archive.embedding and passage_store.unembedded(conn, archive.id, archive.embedding.handle, -1, 1):
        job_store.end(conn, job.id, "completed")
        embedding.ask(conn, tenant, archive)
