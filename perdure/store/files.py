"""Files: their rows, what was sent of them until it is read, and their text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, exists, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows

from perdure.domain.errors import not_found
from perdure.domain.files import File
from perdure.domain.ids import now
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import file_pieces, files

_FIELDS: Final = File.__struct_fields__
_COLUMNS: Final = tuple(files.c[name] for name in _FIELDS)

PIECE_BYTES: Final = 1 << 20
"""How much of a file one row of `file_pieces` holds, so that no single write keeps others waiting."""


def create(conn: Connection, tenant: str, file: File) -> None:
    """Store a new file; what was sent of it is there already, in pieces. Its name must be free."""
    conn.execute(insert(files).values(tenant_id=tenant, **{name: getattr(file, name) for name in _FIELDS}))


def get(conn: Connection, tenant: str, file_id: str, folder_id: str | None = None) -> File:
    """One file, of that folder where one is named. Raises NotFound."""
    row = conn.execute(_of(tenant, file_id, folder_id)).mappings().one_or_none()
    if row is None:
        raise not_found("File", file_id)
    return to_struct(row, File)


def find(conn: Connection, tenant: str, file_id: str) -> File | None:
    """The same, or None where it is gone."""
    row = conn.execute(_of(tenant, file_id, None)).mappings().one_or_none()
    return None if row is None else to_struct(row, File)


def named(conn: Connection, folder_id: str, file_name: str) -> File | None:
    """The file of that name in a folder."""
    found = select(*_COLUMNS).where(files.c.folder_id == folder_id, files.c.file_name == file_name)
    row = conn.execute(found).mappings().one_or_none()
    return None if row is None else to_struct(row, File)


def list_page(conn: Connection, tenant: str, folder_id: str, page: Page) -> list[File]:
    """A page of a folder's files, by when they came. Raises NotFound for an unknown cursor."""
    own = files.c.tenant_id == tenant
    rows = select_page(
        conn, select(*_COLUMNS).where(own, files.c.folder_id == folder_id), page,
        noun="File", sort=files.c.created_at, key=files.c.id, known=own,
    )  # fmt: skip
    return [to_struct(row, File) for row in rows]


def some_trouble(conn: Connection, folder_id: str) -> bool:
    """Whether something is amiss with files of a folder that have been read."""
    return conn.execute(select(files.c.id).where(_troubled(folder_id)).limit(1)).first() is not None


def clear_troubles(conn: Connection, folder_id: str) -> None:
    """Note that nothing is amiss with them any more."""
    conn.execute(update_rows(files).where(_troubled(folder_id)).values(error_message=None))


def ids_of(conn: Connection, folder_id: str) -> Sequence[str]:
    """The ids of all files of a folder."""
    return conn.execute(select(files.c.id).where(files.c.folder_id == folder_id)).scalars().all()


def of_folders(conn: Connection, tenant: str) -> dict[str, list[File]]:
    """All files of a tenant, by folder."""
    found: dict[str, list[File]] = {}
    rows = conn.execute(select(*_COLUMNS).where(files.c.tenant_id == tenant).order_by(files.c.created_at, files.c.id))
    for row in rows.mappings():
        found.setdefault(row["folder_id"], []).append(to_struct(row, File))
    return found


def contents(conn: Connection, ids: Iterable[str]) -> Mapping[str, str]:
    """The texts of those of these files that have been read."""
    found = select(files.c.id, files.c.content).where(files.c.id.in_(list(ids)), files.c.content.is_not(None))
    return {row.id: row.content for row in conn.execute(found)}


def content(conn: Connection, file_id: str) -> str | None:
    """The text of one file; None where it has not been read, or is gone."""
    return contents(conn, [file_id]).get(file_id)


def change(conn: Connection, file_id: str, **fields: Any) -> None:
    """Set fields of a file, `content` among them."""
    conn.execute(update_rows(files).where(files.c.id == file_id).values(updated_at=now(), **fields))


def delete(conn: Connection, tenant: str, file_id: str) -> None:
    """Delete a file with its chunks. Raises NotFound."""
    if not conn.execute(delete_rows(files).where(files.c.id == file_id, files.c.tenant_id == tenant)).rowcount:
        raise not_found("File", file_id)
    drop_pieces(conn, [file_id])


# ---- what was sent


def add_piece(conn: Connection, file_id: str, position: int, data: bytes) -> None:
    """Keep a piece of what was sent; the same one again changes nothing."""
    row = {"file_id": file_id, "position": position, "data": data, "created_at": now()}
    drop = delete_rows(file_pieces).where(file_pieces.c.file_id == file_id, file_pieces.c.position == position)
    conn.execute(drop)
    conn.execute(insert(file_pieces).values(**row))


def piece(conn: Connection, file_id: str, position: int) -> bytes | None:
    """One piece; None after the last."""
    wanted = (file_pieces.c.file_id == file_id, file_pieces.c.position == position)
    return conn.execute(select(file_pieces.c.data).where(*wanted)).scalar_one_or_none()


def drop_pieces(conn: Connection, file_ids: Iterable[str]) -> None:
    """Forget what was sent of these files."""
    conn.execute(delete_rows(file_pieces).where(file_pieces.c.file_id.in_(list(file_ids))))


def drop_stray_pieces(conn: Connection, before: int) -> None:
    """Forget what was sent before that moment of files that never came to be, or are gone."""
    known = exists(select(files.c.id).where(files.c.id == file_pieces.c.file_id))
    conn.execute(delete_rows(file_pieces).where(~known, file_pieces.c.created_at < before))


def _of(tenant: str, file_id: str, folder_id: str | None) -> Select[Any]:
    found = select(*_COLUMNS).where(files.c.id == file_id, files.c.tenant_id == tenant)
    return found if folder_id is None else found.where(files.c.folder_id == folder_id)


def _troubled(folder_id: str) -> ColumnElement[bool]:
    read = (files.c.folder_id == folder_id) & (files.c.status == "completed")
    return read & files.c.error_message.is_not(None)
