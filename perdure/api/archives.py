"""Archives: by themselves, their passages, and which agents search them."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import archives as edits
from perdure.api.archive_queries import ArchiveQuery
from perdure.api.auth import Caller, CallerDep
from perdure.api.paths import AgentId, ArchiveId, PassageId
from perdure.api.reply import reply
from perdure.domain.archives import Archive
from perdure.domain.models import EmbeddingModel
from perdure.domain.passages import Passage
from perdure.memory import passages as memory
from perdure.store import archives as archive_store
from perdure.store import passages as passage_store
from perdure.wire.archives import CreateArchiveBody, UpdateArchiveBody, archive
from perdure.wire.passages import CreatePassageBody, CreatePassagesBody, passage


async def list_archives(caller: CallerDep, query: Annotated[ArchiveQuery, Depends()]) -> Response:
    """A page of the archives that match."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: archive_store.list_page(conn, caller.tenant, wanted, page))
    return reply([archive(each) for each in found])


async def create_archive(caller: CallerDep, body: CreateArchiveBody) -> Response:
    """Make an archive that no agent searches yet."""
    config = body.embedding_config or {}
    made = body.archive(await _embedding(caller, body.embedding or config.get("handle")))
    await caller.server.db.write(lambda conn: archive_store.create(conn, caller.tenant, made))
    return reply(archive(made))


async def retrieve_archive(caller: CallerDep, archive_id: ArchiveId) -> Response:
    """One archive."""
    return reply(archive(await caller.server.db.read(lambda conn: archive_store.get(conn, caller.tenant, archive_id))))


async def update_archive(caller: CallerDep, archive_id: ArchiveId, body: UpdateArchiveBody) -> Response:
    """Change an archive."""
    changes = body.changes()
    embedding = await _embedding(caller, body.embedding)

    def edit(conn: Connection) -> Archive:
        return memory.edit_archive(conn, caller.tenant, archive_id, changes, embedding)

    edited = await caller.server.db.write(edit)
    caller.server.jobs.wake()
    return reply(archive(edited))


async def delete_archive(caller: CallerDep, archive_id: ArchiveId) -> Response:
    """Delete an archive with its passages."""
    await caller.server.db.write(lambda conn: edits.delete_archive(conn, caller.tenant, archive_id))
    return reply({"message": f"Archive {archive_id} deleted"})


async def create_archive_passage(caller: CallerDep, archive_id: ArchiveId, body: CreatePassageBody) -> Response:
    """Add a passage to an archive."""
    (stored,) = await _add(caller, archive_id, [body])
    return reply(passage(stored))


async def create_archive_passages(caller: CallerDep, archive_id: ArchiveId, body: CreatePassagesBody) -> Response:
    """Add several passages to an archive, all or none."""
    return reply([passage(each) for each in await _add(caller, archive_id, body.passages)])


async def delete_archive_passage(caller: CallerDep, archive_id: ArchiveId, passage_id: PassageId) -> Response:
    """Delete a passage of an archive."""

    def delete(conn: Connection) -> None:
        found = archive_store.get(conn, caller.tenant, archive_id)
        passage_store.delete(conn, passage_store.get(conn, caller.tenant, [found.id], passage_id, held=True))

    await caller.server.db.write(delete)
    return reply({"message": f"Passage {passage_id} deleted"})


async def attach_archive(caller: CallerDep, agent_id: AgentId, archive_id: ArchiveId) -> Response:
    """Have an agent search an archive."""
    await caller.server.db.write(lambda conn: edits.attach_archive(conn, caller.tenant, agent_id, archive_id))
    return reply(None)


async def detach_archive(caller: CallerDep, agent_id: AgentId, archive_id: ArchiveId) -> Response:
    """Have an agent search an archive no more; the archive stays."""
    await caller.server.db.write(lambda conn: edits.detach_archive(conn, caller.tenant, agent_id, archive_id))
    return reply(None)


async def _add(caller: Caller, archive_id: str, bodies: list[CreatePassageBody]) -> list[Passage]:
    new = [
        memory.new_passage(each.text, tags=each.tags or (), created_at=each.at(), metadata=each.metadata)
        for each in bodies
    ]

    def add(conn: Connection) -> list[Passage]:
        found = archive_store.get(conn, caller.tenant, archive_id, held=True)
        return memory.insert(conn, caller.tenant, found, new)

    stored = await caller.server.db.write(add)
    caller.server.jobs.wake()
    return stored


async def _embedding(caller: Caller, handle: str | None) -> EmbeddingModel | None:
    return None if handle is None else await caller.server.catalog.resolve_embedding(caller.tenant, handle)
