"""What is done to an agent's archives: whatever a model is told of them is in its system message when it is durable."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from perdure.domain.passages import Passage
from perdure.loop.context import recompile
from perdure.memory import passages as memory
from perdure.store import agents as agent_store
from perdure.store import archives as archive_store
from perdure.store import passages as passage_store


def attach_archive(conn: Connection, tenant: str, agent_id: str, archive_id: str) -> None:
    """Have an agent search an archive. Raises NotFound for either."""
    agent = agent_store.hold(conn, tenant, agent_id)
    if archive_store.attach(conn, agent.id, archive_store.get(conn, tenant, archive_id).id):
        recompile(conn, tenant, agent.id)


def detach_archive(conn: Connection, tenant: str, agent_id: str, archive_id: str) -> None:
    """Have an agent search an archive no more; it stays. Raises NotFound for either, and where it was not attached."""
    agent = agent_store.hold(conn, tenant, agent_id)
    archive_store.detach(conn, agent.id, archive_store.get(conn, tenant, archive_id).id)
    recompile(conn, tenant, agent.id)


def delete_archive(conn: Connection, tenant: str, archive_id: str) -> None:
    """Delete an archive with its passages. Raises NotFound."""
    archive = archive_store.get(conn, tenant, archive_id, held=True)
    attached = archive_store.agents_of(conn, archive.id)
    archive_store.delete(conn, archive.id)
    for agent_id in attached:
        recompile(conn, tenant, agent_id)


def insert(conn: Connection, tenant: str, agent_id: str, new: Sequence[Passage]) -> list[Passage]:
    """Put passages into the archive an agent writes to. Raises NotFound."""
    agent = agent_store.get(conn, tenant, agent_id)
    stored = memory.insert(conn, tenant, memory.archive_of(conn, tenant, agent), new)
    recompile(conn, tenant, agent.id)
    return stored


def edit(conn: Connection, tenant: str, agent_id: str, passage_id: str, changes: dict[str, Any]) -> Passage:
    """Change a passage that an agent can find. Raises NotFound and Invalid."""
    passage = _passage(conn, tenant, agent_id, passage_id)
    edited = memory.edit(conn, tenant, passage, changes)
    if edited.tags != passage.tags:
        recompile(conn, tenant, agent_id)
    return edited


def delete(conn: Connection, tenant: str, agent_id: str, passage_id: str) -> None:
    """Delete a passage that an agent can find. Raises NotFound."""
    passage_store.delete(conn, _passage(conn, tenant, agent_id, passage_id))
    recompile(conn, tenant, agent_id)


def _passage(conn: Connection, tenant: str, agent_id: str, passage_id: str) -> Passage:
    agent = agent_store.get(conn, tenant, agent_id)
    ids = [each.id for each in archive_store.of_agent(conn, agent.id)]
    return passage_store.get(conn, tenant, ids, passage_id, held=True)
