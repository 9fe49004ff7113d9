"""Chunks of files as they are searched: how they are indexed, and which are meant."""

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, select

from perdure.domain.models import Embedding
from perdure.store.nearest import nearest
from perdure.store.search import Corpus
from perdure.store.tables import file_chunks, files

# Each chunk is a line of its own: unlike what is said in a conversation, it means the same whatever stands round it.
CHUNKS: Final = Corpus(
    index="chunk_search",
    table=file_chunks,
    scope=file_chunks.c.folder_id,
    line=file_chunks.c.id,
    place=(file_chunks.c.position,),
)


def among(tenant: str, folder_ids: Collection[str]) -> ColumnElement[bool]:
    """Which chunks are meant: those of files that have been read to their end."""
    read = select(files.c.id).where(files.c.folder_id.in_(list(folder_ids)), files.c.status == "completed")
    return and_(
        file_chunks.c.tenant_id == tenant,
        file_chunks.c.folder_id.in_(list(folder_ids)),
        file_chunks.c.file_id.in_(read),
    )


def nearest_to(
    conn: Connection, wanted: ColumnElement[bool], vectors: Iterable[Embedding], limit: int
) -> list[tuple[int, float]]:
    """The chunks meant that are nearest to one of these vectors, each among those of its model, as (seq, cosine)."""
    found: list[tuple[int, float]] = []
    for each in vectors:
        same = wanted & (file_chunks.c.embedding_model == each.model)
        found += nearest(conn, file_chunks, same, each.vector, limit)
    return sorted(found, key=lambda near: (-near[1], near[0]))[:limit]
