"""Reading files in the background, each exactly once, whatever ends in the middle of it.

A file goes through `parsing` (its text is got out of it) and `embedding` (its chunks are stored, with vectors where its
folder has a model), to `completed` or `error`. Each step is stored before the next begins, so that whoever takes the
job up goes on from there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Final, Protocol

from sqlalchemy import Connection

from perdure.agents.folders import announced
from perdure.domain.errors import Invalid, ModelError, NotFound
from perdure.domain.files import MAX_TEXT, File, Form, form_of
from perdure.domain.folders import Folder
from perdure.domain.jobs import Job
from perdure.domain.models import Embedding
from perdure.logs import Log
from perdure.loop.context import recompile
from perdure.memory import embedding
from perdure.memory.chunking import chunks
from perdure.memory.passages import Embed
from perdure.providers.text import storable
from perdure.store import chunks as chunk_store
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.store.chunks import NewChunk
from perdure.store.database import Database

KIND: Final = "file_ingestion"
BATCH: Final = 100
"""Chunks that are embedded and stored together."""

Read = Callable[[Form, AsyncIterator[bytes]], Awaitable[str]]
"""Gets the text out of a file. Raises Invalid where that cannot be done."""

log: Final = Log(__name__)


class Task(Protocol):
    """A job in the hands of this process."""

    @property
    def tenant(self) -> str: ...

    @property
    def job(self) -> Job: ...

    def check(self, conn: Connection) -> None:
        """Raises where it is this process's no more; to be called first in every unit that stores something of it."""
        ...


class Ingestion:
    """Works the jobs that read files."""

    def __init__(self, db: Database, embed: Embed, read: Read) -> None:
        self._db = db
        self._embed = embed
        self._read = read

    async def work(self, task: Task) -> Callable[[Connection], None]:
        """Read a file. Returns what tells the agents that see it. Raises Invalid where it cannot be read."""
        file_id = task.job.subject or ""

        def find(conn: Connection) -> tuple[File, Folder, str | None]:
            file = file_store.get(conn, task.tenant, file_id)
            return file, folder_store.get(conn, task.tenant, file.folder_id), file_store.content(conn, file_id)

        try:
            file, folder, text = await self._db.read(find)
        except NotFound as error:
            raise Invalid("The file was deleted before it was read.") from error
        form = form_of(file.file_name, file.file_type) or "text"
        if text is None:
            text = storable(await self._read(form, self._pieces(file.id)))
            if len(text) > MAX_TEXT:
                raise Invalid(
                    f"It holds {len(text)} characters of text, more than the {MAX_TEXT} that a file may have."
                )
        pieces = await asyncio.to_thread(chunks, text, form, folder.chunk_tokens)
        await self._keep_text(task, file, text, len(pieces))
        trouble = await self._keep_chunks(task, file, folder, pieces)
        tell = await announced(self._db, task.tenant, file, text)

        def finish(conn: Connection) -> None:
            file_store.change(conn, file.id, status="completed", error_message=trouble)
            tell(conn)
            # The model may have become another one meanwhile, or can be asked again for files that had to do without.
            changed = folder_store.get(conn, task.tenant, folder.id).embedding != folder.embedding
            if trouble is None and (changed or file_store.some_trouble(conn, folder.id)):
                embedding.ask(conn, task.tenant, embedding.FOLDERS, folder.id)

        return finish

    def failed(self, conn: Connection, tenant: str, job: Job, reason: str) -> None:
        """Say of a file that it could not be read, and why."""
        found = file_store.find(conn, tenant, job.subject or "")
        if found is not None:
            file_store.change(conn, found.id, status="error", error_message=reason)
            file_store.drop_pieces(conn, [found.id])
            for agent_id in folder_store.agents_of(conn, found.folder_id):
                recompile(conn, tenant, agent_id)

    async def _pieces(self, file_id: str) -> AsyncIterator[bytes]:
        for position in count():
            piece = await self._db.read(lambda conn, at=position: file_store.piece(conn, file_id, at))
            if piece is None:
                return
            yield piece

    async def _keep_text(self, task: Task, file: File, text: str, total: int) -> None:
        if file.status == "embedding":
            return

        def keep(conn: Connection) -> None:
            task.check(conn)
            file_store.change(conn, file.id, status="embedding", content=text, total_chunks=total, chunks_embedded=0)
            file_store.drop_pieces(conn, [file.id])

        await self._db.write(keep)

    async def _keep_chunks(self, task: Task, file: File, folder: Folder, pieces: Sequence[str]) -> str | None:
        """Store what is not stored yet. Returns why there are chunks without vectors that should have them."""
        done = await self._db.read(lambda conn: chunk_store.count(conn, file.id))
        model, trouble = folder.embedding, None
        for first in range(done, len(pieces), BATCH):
            texts = pieces[first : first + BATCH]
            vectors: Sequence[Embedding | None] = [None] * len(texts)
            if model is not None and trouble is None:
                try:
                    vectors = await self._embed(task.tenant, model, texts)
                except (ModelError, NotFound) as error:
                    # Words find them all the same, and so the file is of use.
                    trouble = f"Found by words alone from chunk {first + 1} on: {model.handle} could not be asked."
                    log.warning("file_not_embedded", file=file.id, model=model.handle, reason=error.message)
            new = [NewChunk(text, vector) for text, vector in zip(texts, vectors, strict=True)]

            def keep(conn: Connection, at: int = first, new: Sequence[NewChunk] = new) -> None:
                task.check(conn)
                chunk_store.add(conn, task.tenant, file, at, new)
                file_store.change(conn, file.id, chunks_embedded=at + len(new))

            await self._db.write(keep)
        return trouble
