"""Passages get their vectors in the background, anew where the model changes, and whoever takes over goes on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec
import pytest
from sqlalchemy import Connection, select

from perdure.agents import embedding as work
from perdure.agents.embedding import Embedding as EmbeddingWork
from perdure.agents.folders import edit_folder
from perdure.agents.ingestion import KIND as INGESTION
from perdure.agents.ingestion import Ingestion
from perdure.domain.archives import Archive
from perdure.domain.errors import ModelError
from perdure.domain.files import File, Form
from perdure.domain.folders import Folder
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.jobs import Job
from perdure.domain.models import Embedding, EmbeddingModel
from perdure.memory import embedding, passages
from perdure.memory.embedding import ARCHIVES, FOLDERS, Holding
from perdure.store import archives, chunks, files, folders
from perdure.store import embedding as embedding_store
from perdure.store import jobs as job_store
from perdure.store.chunks import NewChunk
from perdure.store.jobs import JobFilter
from perdure.store.pages import Page
from perdure.store.passage_search import PASSAGES
from perdure.store.tables import file_chunks
from perdure.store.tables import passages as passage_table
from tests.memory.home import Home
from tests.rig.stores import Place


def model(name: str, size: int) -> EmbeddingModel:
    return EmbeddingModel(
        handle=f"some/{name}", name=name, provider_name="some", provider_type="openai", endpoint_type="openai",
        dimensions=size,
    )  # fmt: skip


SMALL, LARGE = model("small", 3), model("large", 5)


class Vendor:
    """An embedding model that fails after so many requests."""

    def __init__(self, good_for: int = 1000) -> None:
        self.left = good_for
        self.texts = 0

    async def embed(self, tenant: str, model: EmbeddingModel | str, texts: Sequence[str]) -> list[Embedding]:
        assert isinstance(model, EmbeddingModel)
        if not self.left:
            raise ModelError("llm_error", "It is away.")
        self.left -= 1
        self.texts += len(texts)
        return [Embedding(model.handle, [1.0] * model.dimensions) for _ in texts]


class Hand:
    """A job in the hands of this process."""

    def __init__(self, job: Job) -> None:
        self.tenant, self.job = DEFAULT_TENANT, job

    def check(self, conn: Connection) -> None: ...


def jobs(home: Home) -> list[Job]:
    return home.read(lambda conn: job_store.list_page(conn, DEFAULT_TENANT, JobFilter(active=True), Page()))


def end(home: Home, vendor: Vendor, holding: Holding = ARCHIVES) -> Job:
    """Work the one job there is to its end."""
    (job,) = jobs(home)
    finish = home.run(EmbeddingWork(home.db, vendor.embed, holding).work(Hand(job)))

    def finished(conn: Connection) -> None:
        finish(conn)
        job_store.end(conn, job.id, "completed")

    home.write(finished)
    return home.read(lambda conn: job_store.get(conn, DEFAULT_TENANT, job.id))


def models_of(home: Home, archive: Archive) -> set[tuple[str | None, int]]:
    """The models of an archive's vectors, and how many numbers these have."""
    columns = (passage_table.c.embedding_model, passage_table.c.embedding)
    rows = home.read(lambda conn: conn.execute(select(*columns).where(passage_table.c.archive_id == archive.id)).all())
    return {(name, len(vector or ())) for name, vector in rows}


def test_reembedding_is_resumed_where_it_ended_and_follows_the_model(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "BATCH", 4)
    archive = Archive(id=new_id("archive"), name="a", embedding=SMALL, created_at=1, updated_at=1)
    with Home(place) as home:
        home.write(lambda conn: archives.create(conn, DEFAULT_TENANT, archive))
        for number in range(10):
            new = [passages.new_passage(f"text {number}")]
            home.write(lambda conn, new=new: passages.insert(conn, DEFAULT_TENANT, archive, new))
        assert models_of(home, archive) == {(None, 0)}
        assert [job.metadata for job in jobs(home)] == [{"archive_id": archive.id, "embedding": SMALL.handle}]
        # The process ends after two batches; the next one asks for the rest alone.
        with pytest.raises(ModelError):
            end(home, Vendor(good_for=2))
        (job,) = jobs(home)
        assert (job.metadata["embedded"], job.metadata["left"]) == (8, 2)
        vendor = Vendor()
        assert end(home, vendor).status == "completed"
        assert (vendor.texts, models_of(home, archive)) == (2, {(SMALL.handle, 3)})
        assert jobs(home) == []

        home.write(lambda conn: passages.edit_archive(conn, DEFAULT_TENANT, archive.id, {}, LARGE))
        vendor = Vendor()
        end(home, vendor)
        assert (vendor.texts, models_of(home, archive)) == (10, {(LARGE.handle, 5)})


def test_what_comes_in_while_a_job_ends_gets_another(place: Place) -> None:
    archive = Archive(id=new_id("archive"), name="a", embedding=SMALL, created_at=1, updated_at=1)
    with Home(place) as home:
        home.write(lambda conn: archives.create(conn, DEFAULT_TENANT, archive))
        home.write(lambda conn: embedding.ask(conn, DEFAULT_TENANT, ARCHIVES, archive.id))
        (job,) = jobs(home)
        finish = home.run(EmbeddingWork(home.db, Vendor().embed, ARCHIVES).work(Hand(job)))
        new = [passages.new_passage("late")]
        (late,) = home.write(lambda conn: passages.insert(conn, DEFAULT_TENANT, archive, new))
        assert [each.id for each in jobs(home)] == [job.id]
        home.write(finish)
        assert [each.id for each in jobs(home)] != [job.id]
        end(home, Vendor())
        assert models_of(home, archive) == {(SMALL.handle, 3)}
        # A text that changes has no vector, and one that was made of the old text is not kept.
        behind = home.read(lambda conn: embedding_store.unembedded(conn, PASSAGES, archive.id, "none", -1, 1))
        home.write(lambda conn: passages.edit(conn, DEFAULT_TENANT, late, {"text": "later"}))
        stale = [(behind[0], Embedding(SMALL.handle, [1.0, 0.0, 0.0]))]
        home.write(lambda conn: embedding_store.embed(conn, PASSAGES, stale))
        assert models_of(home, archive) == {(None, 0)}


def test_passages_that_come_in_at_once_are_not_in_each_others_way(place: Place) -> None:
    """Whoever stored first and then asked for a job waited on PostgreSQL for another who had done the same."""
    archive = Archive(id=new_id("archive"), name="a", embedding=SMALL, created_at=1, updated_at=1)
    begun: list[str] = []

    def insert(conn: Connection, text: str) -> None:
        begun.append(text)
        passages.insert(conn, DEFAULT_TENANT, archive, [passages.new_passage(text)])

    with Home(place) as home:
        home.write(lambda conn: archives.create(conn, DEFAULT_TENANT, archive))

        async def together() -> None:
            await asyncio.gather(*(home.db.write(partial(insert, text=f"text {n}")) for n in range(20)))

        home.run(together())
        assert sorted(begun) == sorted(f"text {n}" for n in range(20)), "none had to run again"
        assert len(jobs(home)) == 1


def test_the_files_of_a_folder_are_embedded_anew_where_its_model_changes(place: Place) -> None:
    folder = Folder(id=new_id("source"), name="papers", embedding=SMALL, created_at=1, updated_at=1)
    file = File(
        id=new_id("file"), folder_id=folder.id, file_name="a.txt", status="completed", created_at=1, updated_at=1
    )
    old = [NewChunk("one", Embedding(SMALL.handle, [1.0] * 3)), NewChunk("two"), NewChunk("three")]
    with Home(place) as home:

        def fill(conn: Connection) -> None:
            folders.create(conn, DEFAULT_TENANT, folder)
            files.create(conn, DEFAULT_TENANT, file)
            chunks.add(conn, DEFAULT_TENANT, file, 0, old)
            files.change(conn, file.id, error_message="Found by words alone.")
            edit_folder(conn, DEFAULT_TENANT, folder, msgspec.structs.replace(folder, name="letters"))

        home.write(fill)
        assert jobs(home) == []
        larger = msgspec.structs.replace(folder, embedding=LARGE)
        home.write(lambda conn: edit_folder(conn, DEFAULT_TENANT, folder, larger))
        vendor = Vendor()
        assert end(home, vendor, FOLDERS).metadata == {
            "folder_id": folder.id, "embedding": LARGE.handle, "embedded": 3, "left": 0,
        }  # fmt: skip
        rows = home.read(lambda conn: conn.execute(select(file_chunks.c.embedding_model)).scalars().all())
        assert (vendor.texts, rows) == (3, [LARGE.handle] * 3)
        assert home.read(lambda conn: files.get(conn, DEFAULT_TENANT, file.id)).error_message is None
        assert jobs(home) == []


def test_files_that_had_to_do_without_vectors_get_them_once_the_model_answers(place: Place) -> None:
    folder = Folder(id=new_id("source"), name="papers", embedding=SMALL, created_at=1, updated_at=1)

    async def words(form: Form, pieces: AsyncIterator[bytes]) -> str:
        return "Some words."

    with Home(place) as home:
        home.write(lambda conn: folders.create(conn, DEFAULT_TENANT, folder))

        def taken_in(name: str, vendor: Vendor) -> str | None:
            """Why a file that is read is not found by its meaning."""
            file = File(id=new_id("file"), folder_id=folder.id, file_name=name, created_at=1, updated_at=1)
            home.write(lambda conn: files.create(conn, DEFAULT_TENANT, file))
            job = Job(id=new_id("job"), kind=INGESTION, subject=file.id, created_at=1, updated_at=1)
            home.write(home.run(Ingestion(home.db, vendor.embed, words).work(Hand(job))))
            return home.read(lambda conn: files.get(conn, DEFAULT_TENANT, file.id)).error_message

        assert "Found by words alone" in (taken_in("a.txt", Vendor(good_for=0)) or "")
        assert jobs(home) == []
        assert taken_in("b.txt", Vendor()) is None
        assert end(home, Vendor(), FOLDERS).metadata["embedded"] == 1
        assert not home.read(lambda conn: files.some_trouble(conn, folder.id))
