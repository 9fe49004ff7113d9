"""Chunks: the pieces of a file's text that search finds."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, insert, select

from perdure.domain.files import Chunk, File
from perdure.domain.ids import new_id, now
from perdure.domain.models import Embedding
from perdure.store import search
from perdure.store.chunk_search import CHUNKS
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import file_chunks, files

_COLUMNS: Final = (
    file_chunks.c.id, file_chunks.c.file_id, files.c.file_name, files.c.folder_id, file_chunks.c.position,
    file_chunks.c.text, file_chunks.c.created_at,
)  # fmt: skip


class NewChunk(msgspec.Struct, frozen=True):
    """A chunk to be stored, with what a model made of it, where one was asked."""

    text: str
    embedding: Embedding | None = None


def add(conn: Connection, tenant: str, file: File, first: int, new: Sequence[NewChunk]) -> None:
    """Store chunks of a file, the first of them at position `first`, and make them findable."""
    if not new:
        return
    at = now()
    rows = [
        {
            "id": new_id("passage"),
            "tenant_id": tenant,
            "folder_id": file.folder_id,
            "file_id": file.id,
            "position": first + index,
            "text": chunk.text,
            "created_at": at,
            "embedding": None if chunk.embedding is None else chunk.embedding.vector,
            "embedding_model": None if chunk.embedding is None else chunk.embedding.model,
        }
        for index, chunk in enumerate(new)
    ]
    conn.execute(insert(file_chunks), rows)
    stored = select(file_chunks.c.seq, file_chunks.c.text).where(
        file_chunks.c.file_id == file.id, file_chunks.c.position.between(first, first + len(new) - 1)
    )
    search.add(conn, CHUNKS, file.folder_id, [(seq, text, at) for seq, text in conn.execute(stored)])


def forget(conn: Connection, *, file_id: str | None = None, folder_id: str | None = None) -> None:
    """Take the chunks of a file, or of a folder, out of the index. To be done while they are still there."""
    own = file_chunks.c.file_id == file_id if folder_id is None else file_chunks.c.folder_id == folder_id
    search.remove(conn, CHUNKS, conn.execute(select(file_chunks.c.seq).where(own)).scalars().all())


def by_seqs(conn: Connection, seqs: Sequence[int]) -> list[Chunk]:
    """The chunks of these numbers, in their order, those that are gone left out."""
    rows = conn.execute(_all().add_columns(file_chunks.c.seq).where(file_chunks.c.seq.in_(list(seqs)))).mappings()
    found = {row["seq"]: to_struct(row, Chunk) for row in rows}
    return [found[seq] for seq in seqs if seq in found]


def count(conn: Connection, file_id: str) -> int:
    """How many chunks of a file are stored."""
    return conn.execute(select(func.count()).where(file_chunks.c.file_id == file_id)).scalar_one()


def count_in(conn: Connection, folder_ids: Sequence[str]) -> int:
    """How many chunks the files of some folders have."""
    own = file_chunks.c.folder_id.in_(list(folder_ids))
    return conn.execute(select(func.count()).select_from(file_chunks).where(own)).scalar_one()


def list_page(conn: Connection, tenant: str, folder_id: str, page: Page) -> list[Chunk]:
    """A page of the chunks of a folder's files, in the order in which they were stored."""
    own = file_chunks.c.tenant_id == tenant
    found = _all().where(own, file_chunks.c.folder_id == folder_id)
    rows = select_page(conn, found, page, noun="Passage", sort=file_chunks.c.seq, key=file_chunks.c.id, known=own)
    return [to_struct(row, Chunk) for row in rows]


def _all() -> Any:
    return select(*_COLUMNS).join(files, files.c.id == file_chunks.c.file_id)
