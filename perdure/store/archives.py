"""Archives, and which agents search them."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows

from perdure.domain.archives import Archive
from perdure.domain.errors import NotFound, not_found
from perdure.store import search
from perdure.store.pages import Page, select_page
from perdure.store.passage_search import PASSAGES
from perdure.store.rows import to_struct
from perdure.store.tables import agents_archives, archives

_FIELDS: Final = Archive.__struct_fields__
_COLUMNS: Final = tuple(archives.c[name] for name in _FIELDS)


class ArchiveFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which archives of a tenant are meant; None means any."""

    name: str | None = None
    agent_id: str | None = None


def create(conn: Connection, tenant: str, archive: Archive) -> None:
    """Store a new archive."""
    conn.execute(insert(archives).values(tenant_id=tenant, **{name: getattr(archive, name) for name in _FIELDS}))


def get(conn: Connection, tenant: str, archive_id: str, *, held: bool = False) -> Archive:
    """One archive, `held` until the unit ends. Raises NotFound."""
    found = select(*_COLUMNS).where(archives.c.id == archive_id, archives.c.tenant_id == tenant)
    row = conn.execute(found.with_for_update() if held else found).mappings().one_or_none()
    if row is None:
        raise not_found("Archive", archive_id)
    return to_struct(row, Archive)


def list_page(conn: Connection, tenant: str, wanted: ArchiveFilter, page: Page) -> list[Archive]:
    """A page of the archives that match, by when they were made. Raises NotFound for an unknown cursor."""
    own = archives.c.tenant_id == tenant
    found = select(*_COLUMNS).where(own)
    if wanted.name is not None:
        found = found.where(archives.c.name == wanted.name)
    if wanted.agent_id is not None:
        found = found.where(archives.c.id.in_(select(agents_archives.c.archive_id).where(_of(wanted.agent_id))))
    rows = select_page(
        conn, found, page, noun="Archive", sort=archives.c.created_at, key=archives.c.id, known=own
    )  # fmt: skip
    return [to_struct(row, Archive) for row in rows]


def all_of(conn: Connection, tenant: str) -> list[Archive]:
    """All archives of a tenant."""
    found = select(*_COLUMNS).where(archives.c.tenant_id == tenant).order_by(archives.c.created_at, archives.c.id)
    return [to_struct(row, Archive) for row in conn.execute(found).mappings()]


def of_agent(conn: Connection, agent_id: str) -> list[Archive]:
    """The archives an agent searches, its own first; the first is the one it writes to."""
    link = agents_archives.c
    found = (
        select(*_COLUMNS)
        .join(agents_archives, link.archive_id == archives.c.id)
        .where(_of(agent_id))
        .order_by(link.is_owner.desc(), link.position, archives.c.id)
    )
    return [to_struct(row, Archive) for row in conn.execute(found).mappings()]


def agents_of(conn: Connection, archive_id: str) -> list[str]:
    """The ids of the agents that search an archive."""
    link = agents_archives.c
    return list(
        conn.execute(select(link.agent_id).where(link.archive_id == archive_id).order_by(link.agent_id)).scalars()
    )


def attach(conn: Connection, agent_id: str, archive_id: str, *, is_owner: bool = False) -> bool:
    """Have an agent search an archive; false where it does already."""
    link = agents_archives.c
    if conn.execute(select(link.agent_id).where(_of(agent_id), link.archive_id == archive_id)).first() is not None:
        return False
    last = conn.execute(select(func.max(link.position)).where(_of(agent_id))).scalar()
    row = {"agent_id": agent_id, "archive_id": archive_id, "position": 0 if last is None else last + 1}
    conn.execute(insert(agents_archives).values(is_owner=is_owner, **row))
    return True


def detach(conn: Connection, agent_id: str, archive_id: str) -> None:
    """Have an agent search an archive no more; the archive stays. Raises NotFound where it did not."""
    gone = delete_rows(agents_archives).where(_of(agent_id), agents_archives.c.archive_id == archive_id)
    if not conn.execute(gone).rowcount:
        raise NotFound(f"Archive {archive_id} is not attached to agent {agent_id}.")


def update(conn: Connection, archive: Archive) -> None:
    """Store what changed of an archive."""
    fields = {name: getattr(archive, name) for name in _FIELDS if name != "id"}
    conn.execute(update_rows(archives).where(archives.c.id == archive.id).values(**fields))


def delete(conn: Connection, archive_id: str) -> None:
    """Delete an archive with its passages, also from what is searched."""
    search.forget(conn, PASSAGES, archive_id)
    conn.execute(delete_rows(archives).where(archives.c.id == archive_id))


def owned(conn: Connection, agent_id: str) -> Sequence[str]:
    """The ids of the archives that were made for an agent."""
    return (
        conn.execute(select(agents_archives.c.archive_id).where(_of(agent_id), agents_archives.c.is_owner))
        .scalars()
        .all()
    )


def _of(agent_id: str) -> ColumnElement[bool]:
    return agents_archives.c.agent_id == agent_id
