"""Folders and archives on their way into files and out of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.agents.uploads import Background, enter
from perdure.domain.agent_file import Library, Shelved, Stock
from perdure.domain.folders import Folder
from perdure.domain.models import EmbeddingModel
from perdure.memory import passages as memory
from perdure.store import archives as archive_store
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.store import passages as passage_store
from perdure.store.pages import MAX_LIMIT, Page

MOST_PASSAGES: Final = 10_000
"""Passages that are written of an agent, the newest of each archive first."""
MOST_TEXT: Final = 50_000_000
"""Characters of files that are written; of what is beyond, only the names are."""

Models = Mapping[str, EmbeddingModel]
"""Embedding models that are here, by their handles."""


def pack_folders(conn: Connection, tenant: str, folders: Iterable[Folder]) -> tuple[Library, ...]:
    """Folders with their files and the texts of these."""
    left = MOST_TEXT
    packed: list[Library] = []
    for folder in folders:
        shelved: list[Shelved] = []
        for file in file_store.list_page(conn, tenant, folder.id, Page(limit=MAX_LIMIT, ascending=True)):
            text = file_store.content(conn, file.id) if left > 0 else None
            text = text if text is not None and len(text) <= left else None
            left -= len(text or "")
            shelved.append(Shelved(file, text))
        packed.append(Library(folder=folder, files=tuple(shelved)))
    return tuple(packed)


def pack_archives(conn: Connection, tenant: str, agent_id: str) -> tuple[Stock, ...]:
    """The archives that an agent searches, with their passages."""
    left = MOST_PASSAGES
    packed: list[Stock] = []
    for archive in archive_store.of_agent(conn, agent_id):
        found = passage_store.list_page(conn, tenant, [archive.id], Page(limit=left)) if left else []
        left -= len(found)
        packed.append(Stock(archive=archive, passages=tuple(found[::-1])))
    return tuple(packed)


def store_folder(
    conn: Connection, jobs: Background, tenant: str, library: Library, models: Models, told: list[str]
) -> str:
    """Make a folder under a name that is free, with its files, which are cut and searched as if sent anew; its id."""
    name = folder_store.free_name(conn, tenant, library.folder.name)
    embedding = models.get(library.embedding or "")
    folder = msgspec.structs.replace(library.folder, name=name, embedding=embedding)
    folder_store.create(conn, tenant, folder)
    for shelved in library.files:
        if shelved.text is None:
            told.append(f"Left out: the file {shelved.file.file_name} of the folder {name}, of which there is no text.")
        else:
            enter(conn, jobs, tenant, msgspec.structs.replace(shelved.file, folder_id=folder.id), shelved.text)
    return folder.id


def store_archives(conn: Connection, tenant: str, agent_id: str, stocks: Sequence[Stock], models: Models) -> None:
    """Give an agent archives of its own with these passages; the first is the one it writes to."""
    for number, stock in enumerate(stocks):
        archive = msgspec.structs.replace(stock.archive, embedding=models.get(stock.embedding or ""))
        archive_store.create(conn, tenant, archive)
        archive_store.attach(conn, agent_id, archive.id, is_owner=not number)
        memory.insert(conn, tenant, archive, stock.passages)
