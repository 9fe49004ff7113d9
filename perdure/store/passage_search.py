"""Passages as they are searched: how they are indexed, and which are meant."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_

from perdure.domain.passages import Passage
from perdure.store import search
from perdure.store.pages import has_tags
from perdure.store.search import Corpus
from perdure.store.tables import passage_tags, passages

PASSAGES: Final = Corpus(
    index="passage_search",
    table=passages,
    scope=passages.c.archive_id,
    line=passages.c.archive_id,
    place=(passages.c.created_at, passages.c.seq),
)


def index(conn: Connection, archive_id: str, stored: Iterable[Passage]) -> None:
    """Make passages of one archive findable."""
    search.add(conn, PASSAGES, archive_id, [(each.seq, each.text, each.created_at) for each in stored])


def reindex(conn: Connection, passage: Passage) -> None:
    """Index a passage anew, since its text or date changed."""
    search.remove(conn, PASSAGES, [passage.seq])
    index(conn, passage.archive_id, [passage])


def indexed(passage: Passage) -> str:
    """What the index has to hold of a passage."""
    return search.indexed(passage.archive_id, passage.text, passage.created_at)


def among(
    tenant: str,
    archive_ids: Collection[str],
    *,
    tags: Sequence[str] = (),
    every_tag: bool = False,
    start: int | None = None,
    end: int | None = None,
) -> ColumnElement[bool]:
    """Which passages are meant. `start` (included) and `end` (not) are microseconds UTC."""
    wanted = [passages.c.tenant_id == tenant, passages.c.archive_id.in_(list(archive_ids))]
    if tags:
        wanted.append(has_tags(passages.c.id, passage_tags, tags, every=every_tag))
    if start is not None:
        wanted.append(passages.c.created_at >= start)
    if end is not None:
        wanted.append(passages.c.created_at < end)
    return and_(*wanted)
