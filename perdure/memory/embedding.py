"""Giving texts their vectors in the background: asked for where a text or a model changes, worked by a job."""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.archives import Archive
from perdure.domain.folders import Folder
from perdure.domain.ids import new_id, now
from perdure.domain.jobs import Job
from perdure.store import archives as archive_store
from perdure.store import embedding as embedding_store
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.store import jobs as job_store
from perdure.store import signals
from perdure.store.chunk_search import CHUNKS
from perdure.store.passage_search import PASSAGES
from perdure.store.search import Corpus

Find = Callable[[Connection, str, str], Archive | Folder]
"""One of a tenant, by its id. Raises NotFound."""


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of thing whose texts a model of its own embeds. `kind` is that of the jobs, which name it under `key`.

    What is found by `hold` is held until the unit ends; `done` is told once no text of a holder lacks a vector.
    """

    kind: str
    key: str
    corpus: Corpus
    get: Find
    hold: Find
    done: Callable[[Connection, str], None] | None = None


ARCHIVES: Final = Holding(
    kind="archive_embedding", key="archive_id", corpus=PASSAGES, get=archive_store.get,
    hold=partial(archive_store.get, held=True),
)  # fmt: skip
FOLDERS: Final = Holding(
    kind="folder_embedding", key="folder_id", corpus=CHUNKS, get=folder_store.get, hold=folder_store.hold,
    done=file_store.clear_troubles,
)  # fmt: skip


def ask(conn: Connection, tenant: str, holding: Holding, holder_id: str) -> None:
    """Have the texts embedded that lack a vector by the model of their holder, unless that is under way already.

    Raises NotFound.
    """
    model = holding.get(conn, tenant, holder_id).embedding
    if model is None:
        return
    # Held, so that a job which is just ending either sees what this unit stores or is over before it looks.
    holding.hold(conn, tenant, holder_id)
    if job_store.is_asked(conn, holding.kind, holder_id):
        return
    at = now()
    job = Job(
        id=new_id("job"), kind=holding.kind, subject=holder_id, created_at=at, updated_at=at,
        metadata={holding.key: holder_id, "embedding": model.handle},
    )  # fmt: skip
    job_store.create(conn, tenant, job)
    signals.notify(conn, "job")


def some_lacking(conn: Connection, holding: Holding, holder: Archive | Folder) -> bool:
    """Whether there are texts without a vector by the model of their holder."""
    model = holder.embedding
    return model is not None and bool(embedding_store.unembedded(conn, holding.corpus, holder.id, model.handle, -1, 1))
