"""Searching the files of an agent: by their words, and where a model has made vectors of them, by their meaning."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from perdure.domain.files import Chunk
from perdure.memory.recall import recall
from perdure.store import chunks as chunk_store
from perdure.store.chunk_search import CHUNKS, among, nearest_to


def search_files(
    conn: Connection,
    tenant: str,
    folder_ids: Sequence[str],
    query: str,
    vectors: Mapping[str, Sequence[float]],
    limit: int,
) -> list[Chunk]:
    """The chunks in these folders that answer `query`, best first.

    `vectors` are what models, by their handles, make of the query. What words find stays in its order; what only
    vectors find takes the last third, so that it adds and never takes the best away.
    """
    wanted = among(tenant, folder_ids)
    by_words = [seq for seq, _ in recall(conn, CHUNKS, folder_ids, query, wanted, limit) or ()]
    by_meaning = nearest_to(conn, wanted, vectors, limit)
    kept = by_words[: limit - limit // 3] if by_meaning else by_words
    return chunk_store.by_seqs(conn, list(dict.fromkeys((*kept, *by_meaning, *by_words)))[:limit])
