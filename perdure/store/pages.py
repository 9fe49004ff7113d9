"""Pages of a list, by keyset: a page costs the same wherever it lies, and rows added meanwhile move nothing."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, exists, func, select, tuple_

from perdure.domain.errors import not_found
from perdure.store.tables import identities

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 10_000


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted.

    `after` and `before` are ids of items and mean further on and further back in the order asked for; `limit` is 1 to
    `MAX_LIMIT`. With `before` alone the page is the one that ends right before it.
    """

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    before: str | None = None
    ascending: bool = False


def select_page(
    conn: Connection,
    found: Select[Any],
    page: Page,
    *,
    noun: str,
    sort: ColumnElement[Any],
    key: ColumnElement[str],
    known: ColumnElement[bool],
    then: ColumnElement[Any] | None = None,
) -> list[RowMapping]:
    """The rows of `found` on a page, in the order of (`sort`, `key`), or of (`sort`, `then`).

    These must not be null; `known` says which rows a cursor may name (those of the tenant). Raises NotFound, with
    `noun`, for a cursor that names none of them.
    """
    then = key if then is None else then
    place = tuple_(sort, then)
    for cursor, further_on in ((page.after, True), (page.before, False)):
        if cursor is None:
            continue
        at = conn.execute(select(sort, then).where(key == cursor, known)).one_or_none()
        if at is None:
            raise not_found(noun, cursor)
        found = found.where(place > tuple(at) if further_on == page.ascending else place < tuple(at))
    backwards = page.before is not None and page.after is None
    ascending = page.ascending != backwards
    order = (sort.asc(), then.asc()) if ascending else (sort.desc(), then.desc())
    rows = list(conn.execute(found.order_by(*order).limit(page.limit)).mappings())
    return rows[::-1] if backwards else rows


def has_tags(owner: ColumnElement[str], link: Table, tags: Sequence[str], *, every: bool) -> ColumnElement[bool]:
    """Whether `owner` carries one of the tags, or all of them. `link` holds (owner, tag) rows."""
    own, tag = link.primary_key.columns
    wanted = sorted(set(tags))
    if every:
        held = select(func.count()).where(own == owner, tag.in_(wanted)).scalar_subquery()
        return held == len(wanted)
    return exists(select(own).where(own == owner, tag.in_(wanted)))


def has_identity(
    owner: ColumnElement[str], link: Table, identity_id: str | None, keys: Sequence[str]
) -> ColumnElement[bool]:
    """Whether `owner` is linked to an identity with this id (if given) and one of these identifier keys (if any)."""
    own, identity = link.primary_key.columns
    found = select(own).join(identities, identities.c.id == identity).where(own == owner)
    if identity_id is not None:
        found = found.where(identity == identity_id)
    if keys:
        found = found.where(identities.c.identifier_key.in_(list(keys)))
    return exists(found)
