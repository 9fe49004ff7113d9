"""Passages: their texts, their tags, and the index by which they are found."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows

from perdure.domain.errors import not_found
from perdure.domain.passages import Passage
from perdure.store import passage_search, search
from perdure.store.pages import Page, select_page
from perdure.store.passage_search import PASSAGES
from perdure.store.rows import to_struct
from perdure.store.tables import passage_tags, passages

_FIELDS: Final = tuple(name for name in Passage.__struct_fields__ if name != "tags")
_COLUMNS: Final = tuple(passages.c[name] for name in _FIELDS)


def add(conn: Connection, tenant: str, archive_id: str, new: Sequence[Passage]) -> list[Passage]:
    """Store passages of one archive and make them findable; returns them with their seqs."""
    if not new:
        return []
    rows = [
        {name: getattr(each, name) for name in _FIELDS if name != "seq"} | {"tenant_id": tenant} for each in new
    ]  # fmt: skip
    made = insert(passages).returning(passages.c.seq, sort_by_parameter_order=True)
    seqs = conn.execute(made, rows).scalars().all()
    stored = [msgspec.structs.replace(each, seq=seq) for each, seq in zip(new, seqs, strict=True)]
    _add_tags(conn, stored)
    passage_search.index(conn, archive_id, stored)
    return stored


def get(conn: Connection, tenant: str, archive_ids: Sequence[str], passage_id: str, *, held: bool = False) -> Passage:
    """One passage of these archives, `held` until the unit ends. Raises NotFound."""
    found = select(*_COLUMNS).where(
        passages.c.id == passage_id, passages.c.tenant_id == tenant, passages.c.archive_id.in_(list(archive_ids))
    )
    row = conn.execute(found.with_for_update() if held else found).mappings().one_or_none()
    if row is None:
        raise not_found("Passage", passage_id)
    return _passages(conn, [row])[0]


def by_seqs(conn: Connection, seqs: Sequence[int]) -> list[Passage]:
    """The passages of these seqs, in their order."""
    rows = conn.execute(select(*_COLUMNS).where(passages.c.seq.in_(seqs))).mappings().all()
    found = {each.seq: each for each in _passages(conn, rows)}
    return [found[seq] for seq in seqs]


def list_page(
    conn: Connection, tenant: str, archive_ids: Sequence[str], page: Page, *, part: str | None = None
) -> list[Passage]:
    """A page of the passages of these archives, by when they were written; with `part`, of those that hold it.

    Raises NotFound for an unknown cursor.
    """
    own = passages.c.tenant_id == tenant
    found = select(*_COLUMNS).where(own, passages.c.archive_id.in_(list(archive_ids)))
    if part:
        found = found.where(passages.c.text.icontains(part, autoescape=True))
    rows = select_page(
        conn, found, page, noun="Passage", sort=passages.c.created_at, key=passages.c.id, known=own, then=passages.c.seq
    )
    return _passages(conn, rows)


def newest(conn: Connection, wanted: ColumnElement[bool], limit: int) -> list[Passage]:
    """The newest of those that are wanted, newest first."""
    order = (passages.c.created_at.desc(), passages.c.seq.desc())
    rows = conn.execute(select(*_COLUMNS).where(wanted).order_by(*order).limit(limit)).mappings().all()
    return _passages(conn, rows)


def update(conn: Connection, before: Passage, after: Passage) -> None:
    """Store what changed of a passage; one whose text did has no vector until it gets its new one."""
    fields = {name: getattr(after, name) for name in ("text", "metadata", "created_at", "updated_at")}
    if after.text != before.text:
        fields |= {"embedding": None, "embedding_model": None}
    conn.execute(update_rows(passages).where(passages.c.seq == before.seq).values(**fields))
    if after.tags != before.tags:
        conn.execute(delete_rows(passage_tags).where(passage_tags.c.passage_id == before.id))
        _add_tags(conn, [after])
    if (after.text, after.created_at) != (before.text, before.created_at):
        passage_search.reindex(conn, after)


def delete(conn: Connection, passage: Passage) -> None:
    """Delete a passage, also from what is searched."""
    search.remove(conn, PASSAGES, [passage.seq])
    conn.execute(delete_rows(passages).where(passages.c.seq == passage.seq))


def count(conn: Connection, archive_ids: Sequence[str], most: int | None = None) -> int:
    """How many passages these archives hold, counted up to `most`."""
    found = select(passages.c.seq).where(passages.c.archive_id.in_(list(archive_ids)))
    return conn.execute(select(func.count()).select_from(found.limit(most).subquery())).scalar_one()


def tags_of(conn: Connection, archive_ids: Sequence[str], among: int, most: int) -> list[str]:
    """The tags of the newest `among` passages of these archives, in order, at most so many."""
    newest = select(passages.c.id).where(passages.c.archive_id.in_(list(archive_ids)))
    newest = newest.order_by(passages.c.created_at.desc(), passages.c.seq.desc()).limit(among)
    tag = passage_tags.c.tag
    found = select(tag).where(passage_tags.c.passage_id.in_(newest)).distinct().order_by(tag).limit(most)
    return list(conn.execute(found).scalars())


def _add_tags(conn: Connection, stored: Iterable[Passage]) -> None:
    rows = [{"passage_id": each.id, "tag": tag} for each in stored for tag in each.tags]
    if rows:
        conn.execute(insert(passage_tags), rows)


def _passages(conn: Connection, rows: Sequence[RowMapping]) -> list[Passage]:
    """The passages in rows of `_COLUMNS`, with their tags."""
    link = passage_tags.c
    wanted = [row["id"] for row in rows]
    tags: dict[str, list[str]] = {}
    for passage_id, tag in conn.execute(
        select(link.passage_id, link.tag).where(link.passage_id.in_(wanted)).order_by(link.tag)
    ):
        tags.setdefault(passage_id, []).append(tag)
    return [to_struct(row, Passage, tags=tuple(tags.get(row["id"], ()))) for row in rows]
