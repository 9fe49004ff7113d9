"""Folders: made, found, changed, deleted, and given to agents. 0.1.x knows them as sources, too."""

from typing import Annotated

import msgspec
from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import folders as changes
from perdure.agents.model_choice import resolve_embedding
from perdure.api.agents import details_of
from perdure.api.auth import CallerDep
from perdure.api.file_queries import FolderQuery
from perdure.api.paths import AgentId, FolderId
from perdure.api.queries import AgentPageQuery, PageQuery
from perdure.api.reply import reply
from perdure.domain.files import FolderStats
from perdure.domain.folders import Folder
from perdure.store import agents as agent_store
from perdure.store import chunks as chunk_store
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.store.agents import AgentFilter
from perdure.store.folders import FolderFilter
from perdure.store.pages import MAX_LIMIT, Page
from perdure.wire.agents import agent_state
from perdure.wire.files import chunk
from perdure.wire.folders import CreateFolderBody, UpdateFolderBody, folder, folder_stats


async def list_folders(caller: CallerDep, query: Annotated[FolderQuery, Depends()]) -> Response:
    """A page of the folders that match."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: folder_store.list_page(conn, caller.tenant, wanted, page))
    return reply([folder(each) for each in found])


async def count_folders(caller: CallerDep) -> Response:
    """How many folders there are."""
    return reply(await caller.server.db.read(lambda conn: folder_store.count(conn, caller.tenant)))


async def sum_up_folders(caller: CallerDep, include_detailed_per_source_metadata: bool = False) -> Response:
    """How many files all folders hold and how large they are; folder by folder where that is asked for."""

    def find(conn: Connection) -> list[FolderStats]:
        everything = Page(limit=MAX_LIMIT, ascending=True)
        found = folder_store.list_page(conn, caller.tenant, FolderFilter(), everything)
        files = file_store.of_folders(conn, caller.tenant)
        return [FolderStats(folder=each, files=tuple(files.get(each.id, ()))) for each in found]

    return reply(folder_stats(await caller.server.db.read(find), detailed=include_detailed_per_source_metadata))


async def find_folder(caller: CallerDep, folder_name: str) -> Response:
    """The id of the folder of a name."""
    found = await caller.server.db.read(lambda conn: folder_store.by_name(conn, caller.tenant, folder_name))
    return reply(found.id)


async def create_folder(caller: CallerDep, body: CreateFolderBody) -> Response:
    """Make a folder that is attached to no agent yet."""
    server, choice = caller.server, body.choice()
    model = await resolve_embedding(server.catalog, caller.tenant, choice)
    if model is None and choice.embedding is None and body.embedding_config is None:
        default = server.catalog.default_embedding()
        model = None if default is None else await server.catalog.resolve_embedding(caller.tenant, default)
    made = msgspec.structs.replace(body.folder(), embedding=model)
    await server.db.write(lambda conn: folder_store.create(conn, caller.tenant, made))
    return reply(folder(made))


async def retrieve_folder(caller: CallerDep, folder_id: FolderId) -> Response:
    """One folder."""
    return reply(folder(await caller.server.db.read(lambda conn: folder_store.get(conn, caller.tenant, folder_id))))


async def update_folder(caller: CallerDep, folder_id: FolderId, body: UpdateFolderBody) -> Response:
    """Change a folder, for every agent it is attached to. By another embedding model its files are embedded anew."""
    fields = body.changes()
    model = await resolve_embedding(caller.server.catalog, caller.tenant, body.choice())
    if model is not None:
        fields["embedding"] = model

    def edit(conn: Connection) -> Folder:
        before = folder_store.hold(conn, caller.tenant, folder_id)
        return changes.edit_folder(conn, caller.tenant, before, msgspec.structs.replace(before, **fields))

    edited = await caller.server.db.write(edit)
    caller.server.jobs.wake()
    return reply(folder(edited))


async def delete_folder(caller: CallerDep, folder_id: FolderId) -> Response:
    """Delete a folder with its files, also from the agents it is attached to."""
    await caller.server.db.write(lambda conn: changes.delete_folder(conn, caller.tenant, folder_id))
    return reply({"message": f"Folder {folder_id} deleted"})


async def list_folder_agents(
    caller: CallerDep, folder_id: FolderId, query: Annotated[AgentPageQuery, Depends()]
) -> Response:
    """The ids of the agents a folder is attached to, a page of them."""
    page = query.page()

    def find(conn: Connection) -> list[str]:
        folder_store.get(conn, caller.tenant, folder_id)
        wanted = AgentFilter(folder_id=folder_id, show_hidden=True)
        return [agent.id for agent in agent_store.list_page(conn, caller.tenant, wanted, page, query.sort())]

    return reply(await caller.server.db.read(find))


async def list_folder_passages(
    caller: CallerDep, folder_id: FolderId, query: Annotated[FolderQuery, Depends()]
) -> Response:
    """A page of the pieces that a folder's files are cut into, as passages."""
    page = query.page(ascending=True)

    def find(conn: Connection) -> list[dict[str, object]]:
        folder_store.get(conn, caller.tenant, folder_id)
        return [chunk(each) for each in chunk_store.list_page(conn, caller.tenant, folder_id, page)]

    return reply(await caller.server.db.read(find))


async def list_agent_folders(caller: CallerDep, agent_id: AgentId, query: Annotated[PageQuery, Depends()]) -> Response:
    """A page of an agent's folders."""
    page = query.page()

    def find(conn: Connection) -> list[Folder]:
        agent_store.get(conn, caller.tenant, agent_id)
        return folder_store.list_page(conn, caller.tenant, FolderFilter(agent_id=agent_id), page)

    return reply([folder(each) for each in await caller.server.db.read(find)])


async def attach_folder(caller: CallerDep, agent_id: AgentId, folder_id: FolderId) -> Response:
    """Attach a folder to an agent, with the tools to read it; its newest files are opened, as many as fit."""
    db = caller.server.db
    await db.write(lambda conn: changes.attach_folder(conn, caller.tenant, agent_id, folder_id))
    await changes.open_first(db, caller.tenant, agent_id)
    return reply(agent_state(await details_of(caller, agent_id)))


async def detach_folder(caller: CallerDep, agent_id: AgentId, folder_id: FolderId) -> Response:
    """Detach a folder from an agent; the folder stays. With the last one the tools to read files go."""
    await caller.server.db.write(lambda conn: changes.detach_folder(conn, caller.tenant, agent_id, folder_id))
    return reply(agent_state(await details_of(caller, agent_id)))
