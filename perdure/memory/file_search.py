"""Searching the files of an agent: by their words, and where a model has made vectors of them, by their meaning."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from perdure.domain.files import Chunk
from perdure.domain.folders import Folder
from perdure.domain.models import Embedding
from perdure.memory.fusion import fused
from perdure.memory.passages import NEAR, Embed, query_vectors
from perdure.memory.recall import recall
from perdure.store import chunks as chunk_store
from perdure.store.chunk_search import CHUNKS, among, nearest_to
from perdure.store.database import Database


async def search_files(
    db: Database, embed: Embed, tenant: str, folders: Sequence[Folder], query: str, limit: int
) -> list[Chunk]:
    """The chunks in these folders that answer `query`, best first. None for a query without a word."""
    vectors = await query_vectors(embed, tenant, [folder.embedding for folder in folders], query)
    ids = [folder.id for folder in folders]
    return await db.read(lambda conn: _found(conn, tenant, ids, query, vectors, limit))


def _found(
    conn: Connection, tenant: str, ids: Sequence[str], query: str, vectors: Mapping[str, Embedding], limit: int
) -> list[Chunk]:
    wanted, most = among(tenant, ids), max(limit, NEAR)
    by_words = recall(conn, CHUNKS, ids, query, wanted, most) or []
    near = nearest_to(conn, wanted, vectors.values(), most)
    best = fused(by_words, near, limit, chunk_store.count_in(conn, ids))
    return chunk_store.by_seqs(conn, [seq for seq, _ in best])
