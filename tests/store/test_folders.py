"""Folders, files, chunks and jobs as they are kept: nobody reaches another tenant's, and nothing is left behind."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select

from perdure.domain.errors import NotFound
from perdure.domain.files import Chunk, File
from perdure.domain.folders import Folder
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.jobs import Job
from perdure.domain.models import Embedding
from perdure.memory.file_search import search_files
from perdure.store import agent_files, check_search, chunks, files, folders, jobs, search, servers, tenants
from perdure.store.chunk_search import CHUNKS, among
from perdure.store.chunks import NewChunk
from perdure.store.folders import FolderFilter
from perdure.store.jobs import JobFilter
from perdure.store.pages import Page
from perdure.store.tables import file_chunks, file_pieces
from tests.memory.home import Home
from tests.rig.stores import Place

OTHER = "org-11111111-1111-4111-8111-111111111111"
EVERYTHING = Page(limit=100, ascending=True)


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        home.write(lambda conn: tenants.ensure(conn, OTHER, OTHER))
        yield home


def new_folder(home: Home, name: str = "docs", tenant: str = DEFAULT_TENANT) -> Folder:
    folder = Folder(id=new_id("source"), name=name, created_at=1, updated_at=1)
    home.write(lambda conn: folders.create(conn, tenant, folder))
    return folder


def new_file(home: Home, folder: Folder, *texts: str, tenant: str = DEFAULT_TENANT) -> File:
    """A file that has been read, cut into these pieces."""
    file = File(
        id=new_id("file"), folder_id=folder.id, file_name=f"{len(texts)}.txt", status="completed",
        total_chunks=len(texts), created_at=1, updated_at=1,
    )  # fmt: skip

    def store(conn: Connection) -> None:
        files.add_piece(conn, file.id, 0, b"sent")
        files.create(conn, tenant, file)
        files.change(conn, file.id, content="\n".join(texts))
        chunks.add(conn, tenant, file, 0, [NewChunk(text, Embedding("m", [1.0, float(len(text))])) for text in texts])

    home.write(store)
    return file


def test_nobody_reaches_what_is_another_tenants(home: Home) -> None:
    folder = new_folder(home)
    file = new_file(home, folder, "a secret")
    job = Job(id=new_id("job"), kind="k", subject=file.id, created_at=1, updated_at=1)
    home.write(lambda conn: jobs.create(conn, DEFAULT_TENANT, job))
    missing: list[Callable[[Connection], Any]] = [
        lambda conn: folders.get(conn, OTHER, folder.id),
        lambda conn: folders.hold(conn, OTHER, folder.id),
        lambda conn: folders.by_name(conn, OTHER, folder.name),
        lambda conn: folders.by_ids(conn, OTHER, [folder.id]),
        lambda conn: folders.delete(conn, OTHER, folder.id),
        lambda conn: folders.list_page(conn, OTHER, FolderFilter(), Page(after=folder.id)),
        lambda conn: files.get(conn, OTHER, file.id),
        lambda conn: files.delete(conn, OTHER, file.id),
        lambda conn: files.list_page(conn, OTHER, folder.id, Page(after=file.id)),
        lambda conn: jobs.get(conn, OTHER, job.id),
        lambda conn: jobs.delete(conn, OTHER, job.id),
    ]
    for attempt in missing:
        with pytest.raises(NotFound):
            home.write(attempt)
    found = [
        home.read(lambda conn: folders.list_page(conn, OTHER, FolderFilter(), EVERYTHING)),
        home.read(lambda conn: files.list_page(conn, OTHER, folder.id, EVERYTHING)),
        home.read(lambda conn: files.of_folders(conn, OTHER)),
        home.read(lambda conn: chunks.list_page(conn, OTHER, folder.id, EVERYTHING)),
        home.read(lambda conn: jobs.list_page(conn, OTHER, JobFilter(), EVERYTHING)),
        home.read(lambda conn: files.find(conn, OTHER, file.id)),
        home.write(lambda conn: jobs.cancel(conn, OTHER, job.id)),
        searched(home, OTHER, folder),
    ]
    assert not any(found), found
    assert [chunk.text for chunk in searched(home, DEFAULT_TENANT, folder)] == ["a secret"]
    new_folder(home, folder.name, OTHER)


def searched(home: Home, tenant: str, folder: Folder, query: str = "secret") -> list[Chunk]:
    async def embed(*_: Any) -> list[Embedding]:
        raise AssertionError("the folder has no model")

    return home.run(search_files(home.db, embed, tenant, [folder], query, 5))


def test_what_is_deleted_is_found_no_more(home: Home) -> None:
    folder = new_folder(home)
    kept, gone = new_file(home, folder, "secret one"), new_file(home, folder, "secret two", "secret three")

    def drop(conn: Connection) -> None:
        chunks.forget(conn, file_id=gone.id)
        files.delete(conn, DEFAULT_TENANT, gone.id)

    home.write(drop)
    assert [chunk.file_id for chunk in searched(home, DEFAULT_TENANT, folder)] == [kept.id]
    assert home.read(lambda conn: len(search.held(conn, CHUNKS, 0, None))) == 1

    def drop_all(conn: Connection) -> None:
        chunks.forget(conn, folder_id=folder.id)
        files.drop_pieces(conn, files.ids_of(conn, folder.id))
        folders.delete(conn, DEFAULT_TENANT, folder.id)

    home.write(drop_all)
    for table in (file_chunks, file_pieces):
        assert home.read(lambda conn, each=table: conn.execute(select(func.count()).select_from(each)).scalar()) == 0
    assert home.read(lambda conn: search.held(conn, CHUNKS, 0, None)) == {}


def test_what_is_not_read_to_its_end_is_not_found(home: Home) -> None:
    folder = new_folder(home)
    file = new_file(home, folder, "secret")
    home.write(lambda conn: files.change(conn, file.id, status="embedding"))
    assert searched(home, DEFAULT_TENANT, folder) == []
    assert (
        home.read(lambda conn: conn.execute(select(file_chunks.c.id).where(among(DEFAULT_TENANT, [folder.id]))).all())
        == []
    )


def test_pieces_of_files_that_never_came_to_be_are_forgotten(home: Home) -> None:
    file = new_file(home, new_folder(home), "x")
    home.write(lambda conn: files.add_piece(conn, "file-lost", 0, b"lost"))
    home.write(lambda conn: files.drop_stray_pieces(conn, 2**60))
    assert home.read(lambda conn: files.piece(conn, "file-lost", 0)) is None
    assert home.read(lambda conn: files.piece(conn, file.id, 0)) == b"sent"


def test_a_job_belongs_to_one_process_as_long_as_that_lives(home: Home) -> None:
    job = Job(id=new_id("job"), kind="k", created_at=1, updated_at=1)

    def enter(conn: Connection) -> None:
        jobs.create(conn, DEFAULT_TENANT, job)
        for name in ("one", "two"):
            servers.register(conn, name, name, 10**9)

    home.write(enter)
    (claimed,) = home.write(lambda conn: jobs.claim(conn, "one", 5))
    assert (claimed.tenant, claimed.job.status, claimed.job.attempts) == (DEFAULT_TENANT, "running", 1)
    assert home.write(lambda conn: jobs.claim(conn, "two", 5)) == []
    assert home.write(lambda conn: jobs.hold(conn, job.id, "one"))
    home.write(lambda conn: servers.remove(conn, ["one"]))
    assert not home.write(lambda conn: jobs.hold(conn, job.id, "one"))
    assert [each.job.attempts for each in home.write(lambda conn: jobs.claim(conn, "two", 5))] == [2]
    assert home.write(lambda conn: jobs.cancel(conn, DEFAULT_TENANT, job.id))
    assert not home.write(lambda conn: jobs.hold(conn, job.id, "two"))
    assert not home.write(lambda conn: jobs.cancel(conn, DEFAULT_TENANT, job.id))
    assert not home.read(jobs.some_free)


def test_an_agent_without_folders_has_no_files(home: Home) -> None:
    new_file(home, new_folder(home), "x")
    assert home.read(lambda conn: agent_files.all_of(conn, "agent-1")) == []
    assert home.read(lambda conn: agent_files.shelves(conn, "agent-1")) == []


def test_a_check_finds_and_mends_what_search_lost(home: Home) -> None:
    new_file(home, new_folder(home), "secret one", "secret two")
    assert (
        home.read(lambda conn: [*check_search.search_index(conn, False), *check_search.chunk_counts(conn, False)]) == []
    )
    first = home.read(lambda conn: min(search.held(conn, CHUNKS, 0, None)))
    home.write(lambda conn: search.remove(conn, CHUNKS, [first]))
    (found,) = home.read(lambda conn: list(check_search.search_index(conn, False)))
    assert str(first) in str(found)
    home.write(lambda conn: list(check_search.search_index(conn, True)))
    assert home.read(lambda conn: list(check_search.search_index(conn, False))) == []
    home.write(lambda conn: conn.execute(delete(file_chunks).where(file_chunks.c.position == 1)))
    assert len(home.read(lambda conn: list(check_search.chunk_counts(conn, False)))) == 1
