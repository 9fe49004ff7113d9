"""Folders: their rows, which agents they are attached to, and how much they hold."""

from collections.abc import Iterable, Sequence
from itertools import chain
from itertools import count as numbers
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, Select, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows
from sqlalchemy.exc import IntegrityError

from perdure.domain.errors import Conflict, NotFound, not_found
from perdure.domain.folders import Folder
from perdure.domain.ids import now
from perdure.store.database import Savepoint
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import agents_folders, folders

_FIELDS: Final = Folder.__struct_fields__
COLUMNS: Final = tuple(folders.c[name] for name in _FIELDS)


class FolderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which folders of a tenant are meant; None means any."""

    name: str | None = None
    agent_id: str | None = None


def create(conn: Connection, tenant: str, folder: Folder) -> None:
    """Store a new folder. Raises Conflict where its name is taken."""
    fields = {name: getattr(folder, name) for name in _FIELDS}
    try:
        with Savepoint(conn):
            conn.execute(insert(folders).values(tenant_id=tenant, **fields))
    except IntegrityError as error:
        raise _taken(folder.name) from error


def get(conn: Connection, tenant: str, folder_id: str) -> Folder:
    """One folder. Raises NotFound."""
    return _get(conn, tenant, folder_id, _all())


def hold(conn: Connection, tenant: str, folder_id: str) -> Folder:
    """The same, held until the unit ends: nobody else changes what it holds meanwhile."""
    return _get(conn, tenant, folder_id, _all().with_for_update())


def free_name(conn: Connection, tenant: str, name: str) -> str:
    """The name itself, or where it is taken, with a number."""
    alike = select(folders.c.name).where(
        folders.c.tenant_id == tenant, folders.c.name.startswith(name, autoescape=True)
    )
    taken = set(conn.execute(alike).scalars())
    return next(each for each in chain((name,), (f"{name} {n}" for n in numbers(2))) if each not in taken)


def by_name(conn: Connection, tenant: str, name: str) -> Folder:
    """The folder of that name. Raises NotFound."""
    row = conn.execute(_all().where(folders.c.tenant_id == tenant, folders.c.name == name)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"Folder with name {name!r} not found")
    return from_row(row)


def by_ids(conn: Connection, tenant: str, ids: Iterable[str]) -> list[Folder]:
    """The folders with these ids, in their order, each once. Raises NotFound for the first that does not exist."""
    wanted = list(dict.fromkeys(ids))
    rows = conn.execute(_all().where(folders.c.tenant_id == tenant, folders.c.id.in_(wanted))).mappings()
    found = {row["id"]: from_row(row) for row in rows}
    for folder_id in wanted:
        if folder_id not in found:
            raise not_found("Folder", folder_id)
    return [found[folder_id] for folder_id in wanted]


def list_page(conn: Connection, tenant: str, wanted: FolderFilter, page: Page) -> list[Folder]:
    """A page of the folders that match, by when they were made. Raises NotFound for an unknown cursor."""
    found = _all().where(folders.c.tenant_id == tenant)
    if wanted.name is not None:
        found = found.where(folders.c.name == wanted.name)
    if wanted.agent_id is not None:
        link = agents_folders.c
        found = found.where(folders.c.id.in_(select(link.folder_id).where(link.agent_id == wanted.agent_id)))
    rows = select_page(
        conn, found, page,
        noun="Folder", sort=folders.c.created_at, key=folders.c.id, known=folders.c.tenant_id == tenant,
    )  # fmt: skip
    return [from_row(row) for row in rows]


def count(conn: Connection, tenant: str) -> int:
    """How many folders there are."""
    return conn.execute(select(func.count()).select_from(folders).where(folders.c.tenant_id == tenant)).scalar_one()


def update(conn: Connection, tenant: str, before: Folder, after: Folder) -> Folder:
    """Store the fields in which `after` differs from `before`; returns the folder as stored.

    Raises Conflict where its new name is taken.
    """
    fields: dict[str, Any] = {
        name: getattr(after, name) for name in _FIELDS if getattr(after, name) != getattr(before, name)
    }
    if not fields:
        return before
    fields["updated_at"] = now()
    same = (folders.c.id == before.id) & (folders.c.tenant_id == tenant)
    try:
        with Savepoint(conn):
            conn.execute(update_rows(folders).where(same).values(**fields))
    except IntegrityError as error:
        raise _taken(after.name) from error
    return get(conn, tenant, before.id)


def delete(conn: Connection, tenant: str, folder_id: str) -> None:
    """Delete a folder with its files. Raises NotFound."""
    if not conn.execute(delete_rows(folders).where(folders.c.id == folder_id, folders.c.tenant_id == tenant)).rowcount:
        raise not_found("Folder", folder_id)


def of_agent(conn: Connection, agent_id: str) -> list[Folder]:
    """The folders attached to an agent, in the order in which they were."""
    return of_agents(conn, (agent_id,)).get(agent_id, [])


def of_agents(conn: Connection, agent_ids: Iterable[str]) -> dict[str, list[Folder]]:
    """The folders of several agents, with one query."""
    link = agents_folders.c
    rows = conn.execute(
        select(link.agent_id, *COLUMNS)
        .join(agents_folders, link.folder_id == folders.c.id)
        .where(link.agent_id.in_(list(agent_ids)))
        .order_by(link.position, folders.c.created_at, folders.c.id)
    ).mappings()
    found: dict[str, list[Folder]] = {}
    for row in rows:
        found.setdefault(row["agent_id"], []).append(from_row(row))
    return found


def agents_of(conn: Connection, folder_id: str) -> Sequence[str]:
    """The ids, in order, of the agents a folder is attached to."""
    link = agents_folders.c
    return (
        conn.execute(select(link.agent_id).where(link.folder_id == folder_id).order_by(link.agent_id)).scalars().all()
    )


def attach(conn: Connection, agent_id: str, folder_id: str) -> bool:
    """Attach a folder to an agent; false where it was. The caller has checked that both are the tenant's."""
    link = agents_folders.c
    if conn.execute(select(link.folder_id).where(link.agent_id == agent_id, link.folder_id == folder_id)).first():
        return False
    last = conn.execute(select(func.max(link.position)).where(link.agent_id == agent_id)).scalar_one()
    position = 0 if last is None else last + 1
    conn.execute(insert(agents_folders).values(agent_id=agent_id, folder_id=folder_id, position=position))
    return True


def detach(conn: Connection, agent_id: str, folder_id: str) -> bool:
    """Detach a folder from an agent; false where it was not attached."""
    link = agents_folders.c
    gone = delete_rows(agents_folders).where(link.agent_id == agent_id, link.folder_id == folder_id)
    return conn.execute(gone).rowcount > 0


def from_row(row: RowMapping) -> Folder:
    """The folder in a row of `COLUMNS`."""
    return to_struct(row, Folder)


def _all() -> Select[Any]:
    return select(*COLUMNS)


def _get(conn: Connection, tenant: str, folder_id: str, found: Select[Any]) -> Folder:
    wanted = found.where(folders.c.id == folder_id, folders.c.tenant_id == tenant)
    row = conn.execute(wanted).mappings().one_or_none()
    if row is None:
        raise not_found("Folder", folder_id)
    return from_row(row)


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a folder named {name!r} already. Use that one, or choose another name.")
