"""Files as agents have them: those of the folders attached to them, and which they have open."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, exists, func, insert, select, update

from perdure.domain.files import AgentFile, Shelf
from perdure.domain.ids import now
from perdure.store import folders as folder_store
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import agents_files, agents_folders, files, folders

_SHOWN: Final = 50
"""Closed files of a folder that an agent is told of by name: a large folder must not fill its context."""
_OPEN: Final[ColumnElement[bool]] = func.coalesce(agents_files.c.is_open, False)
_COLUMNS: Final = (
    files.c.id.label("file_id"), files.c.file_name, files.c.file_type, files.c.folder_id,
    folders.c.name.label("folder_name"), files.c.created_at, _OPEN.label("is_open"), agents_files.c.start_line,
    agents_files.c.end_line, agents_files.c.view, agents_files.c.last_accessed_at.label("opened_at"),
)  # fmt: skip


def list_page(conn: Connection, tenant: str, agent_id: str, page: Page, *, is_open: bool | None) -> list[AgentFile]:
    """A page of an agent's files, by when they came. Raises NotFound for an unknown cursor."""
    found = _of(agent_id)
    if is_open is not None:
        found = found.where(_OPEN.is_(is_open))
    rows = select_page(
        conn, found, page,
        noun="File", sort=files.c.created_at, key=files.c.id, known=files.c.tenant_id == tenant,
    )  # fmt: skip
    return [_file(row) for row in rows]


def find(conn: Connection, agent_id: str, file_id: str) -> AgentFile | None:
    """One of an agent's files; None where it is not among them."""
    row = conn.execute(_of(agent_id).where(files.c.id == file_id)).mappings().one_or_none()
    return None if row is None else _file(row)


def named(conn: Connection, agent_id: str, names: Sequence[str]) -> dict[str, AgentFile]:
    """Those of these names, as the agent says them, that are its files."""
    name = folders.c.name + "/" + files.c.file_name
    rows = conn.execute(_of(agent_id).where(name.in_(list(names)))).mappings()
    return {file.name: file for file in map(_file, rows)}


def all_of(conn: Connection, agent_id: str) -> list[AgentFile]:
    """All of an agent's files that have been read, folder by folder."""
    order = (agents_folders.c.position, files.c.file_name, files.c.id)
    rows = conn.execute(_of(agent_id).where(files.c.status == "completed").order_by(*order)).mappings()
    return [_file(row) for row in rows]


def open_of(conn: Connection, agent_id: str) -> list[AgentFile]:
    """The files an agent has open, the one it asked for last first."""
    order = (agents_files.c.last_accessed_at.desc(), agents_files.c.position.desc(), files.c.id)
    return [_file(row) for row in conn.execute(_of(agent_id).where(_OPEN).order_by(*order)).mappings()]


def shelves(conn: Connection, agent_id: str) -> list[Shelf]:
    """An agent's folders with the files it is told of: all that are open, and the newest of the others."""
    found: list[Shelf] = []
    for folder in folder_store.of_agent(conn, agent_id):
        within = _of(agent_id).where(files.c.folder_id == folder.id)
        newest = conn.execute(within.where(~_OPEN).order_by(files.c.created_at.desc(), files.c.id).limit(_SHOWN + 1))
        closed = [_file(row) for row in newest.mappings()]
        held = [_file(row) for row in conn.execute(within.where(_OPEN)).mappings()]
        count = select(func.count()).where(files.c.folder_id == folder.id)
        more = conn.execute(count).scalar_one() - len(held) - _SHOWN if len(closed) > _SHOWN else 0
        shown = sorted([*held, *closed[:_SHOWN]], key=lambda file: (file.file_name, file.file_id))
        found.append(Shelf(folder=folder, files=tuple(shown), more=more))
    return found


def open_file(conn: Connection, agent_id: str, file_id: str, view: str, start: int, end: int) -> None:
    """Note that an agent has a file open, and what it sees of it."""
    last = conn.execute(select(func.max(agents_files.c.position)).where(agents_files.c.agent_id == agent_id)).scalar()
    fields = {
        "is_open": True, "view": view, "start_line": start, "end_line": end, "last_accessed_at": now(),
        # Several that are opened at once have one time; this tells which came last.
        "position": (last or 0) + 1,
    }  # fmt: skip
    same = (agents_files.c.agent_id == agent_id) & (agents_files.c.file_id == file_id)
    if not conn.execute(update(agents_files).where(same).values(**fields)).rowcount:
        conn.execute(insert(agents_files).values(agent_id=agent_id, file_id=file_id, **fields))


def leave_closed(conn: Connection, agent_id: str, file_ids: Iterable[str]) -> None:
    """Note of files that an agent has closed them, before they have been read: they do not open by themselves then."""
    rows = [
        {"agent_id": agent_id, "file_id": each, "is_open": False, "last_accessed_at": now(), "position": 0}
        for each in file_ids
    ]  # fmt: skip
    if rows:
        conn.execute(insert(agents_files), rows)


def close(conn: Connection, agent_id: str, file_ids: Iterable[str]) -> None:
    """Close files of an agent."""
    same = (agents_files.c.agent_id == agent_id) & agents_files.c.file_id.in_(list(file_ids))
    conn.execute(update(agents_files).where(same).values(is_open=False, view=None, start_line=None, end_line=None))


def forget(conn: Connection, agent_id: str) -> None:
    """Drop what is noted of files that are in none of the agent's folders any more."""
    own = select(agents_folders.c.folder_id).where(agents_folders.c.agent_id == agent_id)
    kept = exists(select(files.c.id).where(files.c.id == agents_files.c.file_id, files.c.folder_id.in_(own)))
    conn.execute(delete(agents_files).where(agents_files.c.agent_id == agent_id, ~kept))


def _of(agent_id: str) -> Any:
    noted = (agents_files.c.file_id == files.c.id) & (agents_files.c.agent_id == agent_id)
    return (
        select(*_COLUMNS)
        .join(folders, folders.c.id == files.c.folder_id)
        .join(agents_folders, agents_folders.c.folder_id == folders.c.id)
        .outerjoin(agents_files, noted)
        .where(agents_folders.c.agent_id == agent_id)
    )


def _file(row: RowMapping) -> AgentFile:
    return to_struct(row, AgentFile)
