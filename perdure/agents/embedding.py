"""Works the jobs that give the texts of an archive or of a folder their vectors, from wherever an earlier one left off.

What still lacks a vector by its holder's model is all it goes by, so it may be begun anew at any time, and does not
mind that texts and even the model change meanwhile.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from perdure.agents.ingestion import Task
from perdure.domain.errors import NotFound
from perdure.domain.jobs import Job
from perdure.domain.models import EmbeddingModel
from perdure.memory import embedding
from perdure.memory.embedding import Holding
from perdure.memory.passages import Embed
from perdure.store import embedding as embedding_store
from perdure.store import jobs as job_store
from perdure.store.database import Database
from perdure.store.embedding import Unembedded

BATCH: Final = 100
"""Texts that are embedded and stored together."""


class Embedding:
    """The handler of the jobs of one kind. Raises ModelError where a model cannot be asked: what is done stays."""

    def __init__(self, db: Database, embed: Embed, holding: Holding) -> None:
        self._db = db
        self._embed = embed
        self._holding = holding

    async def work(self, task: Task) -> Callable[[Connection], None]:
        """Embed what lacks a vector. What it returns sees to what came in while the job was ending."""
        holder_id = task.job.subject or ""
        done, after = 0, -1
        while True:
            found = await self._db.read(lambda conn, at=after: self._next(conn, task.tenant, holder_id, at))
            if found is None:
                break
            model, lacking, left = found
            made = await self._embed(task.tenant, model, [each.text for each in lacking])
            done, after = done + len(lacking), lacking[-1].seq

            def keep(conn: Connection) -> None:
                task.check(conn)
                embedding_store.embed(conn, self._holding.corpus, zip(lacking, made, strict=True))  # noqa: B023 - run before the next batch
                progress = {"embedded": done, "left": max(0, left - len(lacking))}  # noqa: B023
                job_store.note(conn, task.job.id, {**task.job.metadata, **progress})

            await self._db.write(keep)
        return lambda conn: self._begin_again(conn, task.tenant, task.job)

    def failed(self, conn: Connection, tenant: str, job: Job, reason: str) -> None:
        """Words go on finding the texts, and the next one that is added has them tried again."""

    def _next(
        self, conn: Connection, tenant: str, holder_id: str, after: int
    ) -> tuple[EmbeddingModel, list[Unembedded], int] | None:
        """The model and the next texts to embed, with how many there are; None where there is nothing to do."""
        corpus = self._holding.corpus
        try:
            model = self._holding.get(conn, tenant, holder_id).embedding
        except NotFound:
            return None
        lacking = model and embedding_store.unembedded(conn, corpus, holder_id, model.handle, after, BATCH)
        if not (model and lacking):
            return None
        return model, lacking, embedding_store.count_unembedded(conn, corpus, holder_id, model.handle)

    def _begin_again(self, conn: Connection, tenant: str, job: Job) -> None:
        """Ask for another job where texts were added or changed behind this one, or the model was."""
        try:
            holder = self._holding.hold(conn, tenant, job.subject or "")
        except NotFound:
            return
        if embedding.some_lacking(conn, self._holding, holder):
            job_store.end(conn, job.id, "completed")
            embedding.ask(conn, tenant, self._holding, holder.id)
        elif self._holding.done is not None:
            self._holding.done(conn, holder.id)
