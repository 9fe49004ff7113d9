"""Taking files in: what was sent is durable before it is acknowledged, and read afterwards (`ingestion.py`)."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from perdure.agents.folders import delete_file
from perdure.agents.ingestion import KIND
from perdure.domain.errors import Conflict, TooLarge, Unprocessable, Unsupported
from perdure.domain.files import DuplicateHandling, File, form_of, numbered_name, safe_name, type_of
from perdure.domain.ids import new_id, now
from perdure.domain.jobs import Job
from perdure.loop.context import recompile
from perdure.providers.text import storable
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.store.database import Database
from perdure.store.files import PIECE_BYTES


class Background(Protocol):
    """Whoever works jobs."""

    def submit(self, conn: Connection, tenant: str, job: Job) -> None:
        """Store a job in this unit."""
        ...

    def wake(self) -> None:
        """There is a new one."""
        ...


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is sent. `read` gives its next so many bytes, none at its end; `most` is how many it may have."""

    file_name: str
    content_type: str | None
    duplicates: DuplicateHandling
    most: int
    read: Callable[[int], Awaitable[bytes]]


async def take_in(db: Database, jobs: Background, tenant: str, folder_id: str, upload: Upload) -> File:
    """Keep a file that is sent to a folder, and have it read; or give the one that has its name already.

    Raises NotFound for the folder, Unprocessable for a name of which nothing is left, Unsupported for a type that
    nothing here reads, TooLarge, and Conflict where the name is taken and that is to be an error.
    """
    name = safe_name(upload.file_name)
    if not name:
        raise Unprocessable("The file needs a name with at least one letter or digit.", ("body", "file"))
    if form_of(name, upload.content_type) is None:
        raise Unsupported(
            f"Nothing here can read {name!r} ({upload.content_type or 'no type given'}). Send text, Markdown, HTML, "
            "code, JSON, CSV, PDF, DOCX, PPTX or XLSX, with the ending that says so."
        )
    if (known := await db.read(lambda conn: _known(conn, tenant, folder_id, name, upload.duplicates))) is not None:
        return known
    file_id, at = new_id("file"), now()
    size = await _keep_pieces(db, file_id, upload)
    file = File(
        id=file_id, folder_id=folder_id, file_name=name, original_file_name=storable(upload.file_name)[:1000],
        file_type=type_of(name, upload.content_type), file_size=size, status="parsing", created_at=at, updated_at=at,
    )  # fmt: skip
    stored = await db.write(lambda conn: _enter(conn, jobs, tenant, file, upload.duplicates))
    jobs.wake()
    return stored


async def _keep_pieces(db: Database, file_id: str, upload: Upload) -> int:
    """Store what is sent piece by piece, so that no single write keeps others waiting; returns its bytes."""
    size = 0
    for position in count():
        data = await upload.read(PIECE_BYTES)
        if not data:
            return size
        size += len(data)
        if size > upload.most:
            await db.write(lambda conn: file_store.drop_pieces(conn, [file_id]))
            raise TooLarge(
                f"The file is longer than the {upload.most} bytes this server takes. Send it in parts, or raise "
                "PERDURE_MAX_FILE (and PERDURE_MAX_BODY)."
            )
        await db.write(lambda conn, at=position, piece=data: file_store.add_piece(conn, file_id, at, piece))
    raise AssertionError


def enter(conn: Connection, jobs: Background, tenant: str, file: File, text: str) -> None:
    """Put a file whose text is known into its folder, under a name that is free, and have it made searchable."""
    stored = _enter(conn, jobs, tenant, file, "suffix")
    file_store.change(conn, stored.id, content=text)


def _enter(conn: Connection, jobs: Background, tenant: str, file: File, duplicates: DuplicateHandling) -> File:
    """Make a file of the pieces that are kept, under a name that is free, and the job that reads it."""
    folder = folder_store.hold(conn, tenant, file.folder_id)
    if (known := _known(conn, tenant, folder.id, file.file_name, duplicates)) is not None:
        file_store.drop_pieces(conn, [file.id])
        return known
    taken = file_store.named(conn, folder.id, file.file_name)
    if taken is not None and duplicates == "replace":
        delete_file(conn, tenant, folder.id, taken.id)
    elif taken is not None:
        file = msgspec.structs.replace(file, file_name=_free_name(conn, folder.id, file.file_name))
    file_store.create(conn, tenant, file)
    about = {"source_id": folder.id, "folder_id": folder.id, "file_id": file.id, "filename": file.file_name}
    jobs.submit(
        conn, tenant,
        Job(id=new_id("job"), kind=KIND, subject=file.id, metadata=about, created_at=now(), updated_at=now()),
    )  # fmt: skip
    for agent_id in folder_store.agents_of(conn, folder.id):
        recompile(conn, tenant, agent_id)
    return file


def _known(conn: Connection, tenant: str, folder_id: str, name: str, duplicates: DuplicateHandling) -> File | None:
    """The file of that name, where it is to be left as it is. Raises NotFound for the folder, and Conflict."""
    found = file_store.named(conn, folder_store.get(conn, tenant, folder_id).id, name)
    if found is not None and duplicates == "error":
        raise Conflict(
            f"The folder has a file named {name!r} already. Choose another name, or send duplicate_handling=replace, "
            "suffix or skip."
        )
    return found if duplicates == "skip" else None


def _free_name(conn: Connection, folder_id: str, name: str) -> str:
    tried = (numbered_name(name, number) for number in count(1))
    return next(each for each in tried if file_store.named(conn, folder_id, each) is None)
