"""Vectors of stored texts, passages and chunks alike: which of them lack one by a model, and keeping those made."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select, update

from perdure.domain.models import Embedding
from perdure.store.search import Corpus


class Unembedded(msgspec.Struct, frozen=True):
    """A text that still needs a vector."""

    seq: int
    text: str


def unembedded(conn: Connection, corpus: Corpus, scope: str, handle: str, after: int, most: int) -> list[Unembedded]:
    """Texts of a scope without a vector by the model `handle`, in order of their seq, those after `after`."""
    row = corpus.table.c
    found = select(row.seq, row.text).where(_lacking(corpus, scope, handle), row.seq > after)
    return [Unembedded(*each) for each in conn.execute(found.order_by(row.seq).limit(most))]


def count_unembedded(conn: Connection, corpus: Corpus, scope: str, handle: str) -> int:
    """How many texts of a scope have no vector by the model `handle`."""
    return conn.execute(select(func.count()).where(_lacking(corpus, scope, handle))).scalar_one()


def embed(conn: Connection, corpus: Corpus, made: Iterable[tuple[Unembedded, Embedding]]) -> None:
    """Store the vectors of texts; one that has changed meanwhile is left for later."""
    row = corpus.table.c
    for each, embedding in made:
        same = (row.seq == each.seq) & (row.text == each.text)
        fields = {"embedding": embedding.vector, "embedding_model": embedding.model}
        conn.execute(update(corpus.table).where(same).values(**fields))


def _lacking(corpus: Corpus, scope: str, handle: str) -> ColumnElement[bool]:
    return (corpus.scope == scope) & corpus.table.c.embedding_model.is_distinct_from(handle)
