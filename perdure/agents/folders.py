"""Folders given to agents and taken away, and what agents then have open of them.

An agent with a folder has the tools to read it. What it sees of a file is made outside of transactions, since texts
can be long, and stands in its system message once the edit is durable.
"""

import asyncio
from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from perdure.agents.tools import attach_tools, detach_tools
from perdure.domain.agents import Agent
from perdure.domain.errors import Conflict, not_found
from perdure.domain.files import AgentFile, File
from perdure.domain.folders import Folder
from perdure.loop.context import recompile
from perdure.memory import embedding
from perdure.memory import files as shown
from perdure.store import agent_files
from perdure.store import agents as agent_store
from perdure.store import chunks as chunk_store
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.store import jobs as job_store
from perdure.store import tools as tool_store
from perdure.store.database import Database
from perdure.tools.registry import FILE_TOOLS


def attach_folder(conn: Connection, tenant: str, agent_id: str, folder_id: str) -> None:
    """Attach a folder to an agent, if it is not, with the tools to read it. Raises NotFound for either."""
    agent = agent_store.hold(conn, tenant, agent_id)
    if folder_store.attach(conn, agent.id, folder_store.get(conn, tenant, folder_id).id):
        _settle(conn, tenant, agent.id)


def detach_folder(conn: Connection, tenant: str, agent_id: str, folder_id: str) -> None:
    """Detach a folder from an agent, if it is attached; with the last one its tools go. Raises NotFound for either."""
    agent = agent_store.hold(conn, tenant, agent_id)
    if folder_store.detach(conn, agent.id, folder_store.get(conn, tenant, folder_id).id):
        _settle(conn, tenant, agent.id)


def replace_folders(conn: Connection, tenant: str, agent_id: str, folder_ids: Iterable[str]) -> None:
    """Make these the folders of an agent. Raises NotFound for the agent, and for the first folder that is not there."""
    agent = agent_store.hold(conn, tenant, agent_id)
    wanted = folder_store.by_ids(conn, tenant, folder_ids)
    gone = {folder.id for folder in folder_store.of_agent(conn, agent.id)} - {folder.id for folder in wanted}
    changed = [folder_store.detach(conn, agent.id, folder_id) for folder_id in gone]
    changed += [folder_store.attach(conn, agent.id, folder.id) for folder in wanted]
    if any(changed):
        _settle(conn, tenant, agent.id)


def edit_folder(conn: Connection, tenant: str, before: Folder, after: Folder) -> Folder:
    """Change a folder, for every agent it is attached to; by another model its files are embedded anew.

    Raises Conflict where its new name is taken.
    """
    changed = folder_store.update(conn, tenant, before, after)
    if changed.embedding != before.embedding:
        embedding.ask(conn, tenant, embedding.FOLDERS, changed.id)
    for agent_id in folder_store.agents_of(conn, before.id):
        recompile(conn, tenant, agent_id)
    return changed


def delete_folder(conn: Connection, tenant: str, folder_id: str) -> None:
    """Delete a folder with its files, also from the agents it is attached to. Raises NotFound."""
    folder = folder_store.hold(conn, tenant, folder_id)
    attached = folder_store.agents_of(conn, folder.id)
    ids = file_store.ids_of(conn, folder.id)
    file_store.drop_pieces(conn, ids)
    chunk_store.forget(conn, folder_id=folder.id)
    job_store.drop_about(conn, [folder.id, *ids])
    folder_store.delete(conn, tenant, folder.id)
    for agent_id in attached:
        _settle(conn, tenant, agent_id)


def delete_file(conn: Connection, tenant: str, folder_id: str, file_id: str) -> None:
    """Delete a file of a folder, also from the agents that see it. Raises NotFound."""
    file = file_store.get(conn, tenant, file_id, folder_id)
    chunk_store.forget(conn, file_id=file.id)
    file_store.delete(conn, tenant, file.id)
    job_store.drop_about(conn, [file_id])
    for agent_id in folder_store.agents_of(conn, folder_id):
        recompile(conn, tenant, agent_id)


async def open_first(db: Database, tenant: str, agent_id: str) -> None:
    """Open the newest files of an agent's folders, as many as there is room for; what is open stays so."""

    def find(conn: Connection) -> tuple[Agent, list[tuple[AgentFile, str]]]:
        agent = agent_store.get(conn, tenant, agent_id)
        known = agent_files.all_of(conn, agent.id)
        room = max(0, shown.limits(agent)[0] - sum(file.is_open for file in known))
        fresh = [file for file in known if not file.is_open and file.opened_at is None]
        fresh = sorted(fresh, key=lambda file: file.created_at, reverse=True)[:room]
        texts = file_store.contents(conn, [file.file_id for file in fresh])
        return agent, [(file, texts[file.file_id]) for file in fresh if file.file_id in texts]

    agent, found = await db.read(find)
    if not found:
        return
    openings = await asyncio.to_thread(lambda: [shown.seen(agent, file, text) for file, text in found])

    def keep(conn: Connection) -> None:
        held = agent_store.hold(conn, tenant, agent_id)
        still = [opening for opening in openings if agent_files.find(conn, held.id, opening.file_id) is not None]
        shown.open_files(conn, held, still, make_room=False)
        recompile(conn, tenant, held.id)

    await db.write(keep)


async def open_file(db: Database, tenant: str, agent_id: str, file_id: str) -> list[str]:
    """Open a file for an agent from its first line, or say what it sees of it anew.

    Returns the names of those that had to be closed for it. Raises NotFound for either, Conflict for a file that has
    not been read yet.
    """

    def find(conn: Connection) -> tuple[Agent, AgentFile, str | None]:
        agent = agent_store.get(conn, tenant, agent_id)
        return agent, _get(conn, agent.id, file_id), file_store.content(conn, file_id)

    agent, file, text = await db.read(find)
    if text is None:
        raise Conflict(f"File {file.name} has not been read yet, or could not be. See its processing_status.")
    opening = await asyncio.to_thread(shown.seen, agent, file, text)

    def keep(conn: Connection) -> list[str]:
        held = agent_store.hold(conn, tenant, agent_id)
        _get(conn, held.id, file_id)
        closed = shown.open_files(conn, held, [opening])
        recompile(conn, tenant, held.id)
        return closed

    return await db.write(keep)


def close_files(conn: Connection, tenant: str, agent_id: str, file_id: str | None = None) -> list[str]:
    """Close a file of an agent, or all. Returns the names of those that were open. Raises NotFound for either."""
    agent = agent_store.hold(conn, tenant, agent_id)
    if file_id is not None:
        _get(conn, agent.id, file_id)
    closed = [file for file in agent_files.open_of(conn, agent.id) if file_id in (None, file.file_id)]
    agent_files.close(conn, agent.id, [file.file_id for file in closed])
    if closed:
        recompile(conn, tenant, agent.id)
    return [file.name for file in closed]


async def announced(db: Database, tenant: str, file: File, text: str) -> Callable[[Connection], None]:
    """What opens a file that has been read for the agents that see its folder, and closes what that leaves no room for.

    To be called in the transaction that says the file is read. Agents that come in between see it closed, and so do
    those that have closed it where they came from.
    """

    def find(conn: Connection) -> list[tuple[Agent, AgentFile]]:
        ids = folder_store.agents_of(conn, file.folder_id)
        pairs = ((agent_store.get(conn, tenant, each), agent_files.find(conn, each, file.id)) for each in ids)
        return [(agent, own) for agent, own in pairs if own is not None and own.opened_at is None]

    found = await db.read(find)
    openings = await asyncio.to_thread(lambda: {agent.id: shown.seen(agent, own, text) for agent, own in found})

    def tell(conn: Connection) -> None:
        for agent_id in folder_store.agents_of(conn, file.folder_id):
            agent = agent_store.hold(conn, tenant, agent_id)
            if agent_id in openings:
                shown.open_files(conn, agent, [openings[agent_id]])
            recompile(conn, tenant, agent_id)

    return tell


def _get(conn: Connection, agent_id: str, file_id: str) -> AgentFile:
    found = agent_files.find(conn, agent_id, file_id)
    if found is None:
        raise not_found("File", file_id)
    return found


def _settle(conn: Connection, tenant: str, agent_id: str) -> None:
    """Bring an agent's tools, open files and system messages up to the folders it has now."""
    agent_files.forget(conn, agent_id)
    names = FILE_TOOLS if folder_store.of_agent(conn, agent_id) else ()
    held = [tool for tool in tool_store.of_agent(conn, agent_id) if tool.tool_type == "letta_files_core"]
    if names:
        attach_tools(conn, tenant, agent_id, tool_store.by_names(conn, tenant, names))
    else:
        detach_tools(conn, tenant, agent_id, held)
    recompile(conn, tenant, agent_id)
