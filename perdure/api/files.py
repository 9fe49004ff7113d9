"""Files: sent to folders, looked at, deleted, and opened for agents."""

from typing import Annotated, Any

from fastapi import Depends, UploadFile
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import folders as changes
from perdure.agents.uploads import Upload, take_in
from perdure.api.auth import CallerDep
from perdure.api.file_queries import AgentFileQuery, FileQuery
from perdure.api.paths import AgentId, FileId, FolderId
from perdure.api.reply import reply
from perdure.domain.files import AgentFile, DuplicateHandling
from perdure.store import agent_files
from perdure.store import agents as agent_store
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.wire import files as wire


async def upload_file(
    caller: CallerDep,
    folder_id: FolderId,
    file: UploadFile,
    duplicate_handling: DuplicateHandling = "suffix",
    name: str | None = None,
) -> Response:
    """Put a file into a folder. It is read in the background: its `processing_status` says how far that is.

    `name` takes the place of the file's own. Where that is taken, the new one gets a number (`suffix`), is refused
    (`error`), takes the place of the old one (`replace`), or is not needed (`skip`).
    """
    server = caller.server
    upload = Upload(
        file_name=name or file.filename or "", content_type=file.content_type, duplicates=duplicate_handling,
        most=server.max_file, read=file.read,
    )  # fmt: skip
    return reply(wire.file(await take_in(server.db, server.jobs, caller.tenant, folder_id, upload)))


async def list_files(caller: CallerDep, folder_id: FolderId, query: Annotated[FileQuery, Depends()]) -> Response:
    """A page of a folder's files; with their texts where that is asked for."""
    page = query.page()

    def find(conn: Connection) -> list[dict[str, Any]]:
        folder = folder_store.get(conn, caller.tenant, folder_id)
        found = file_store.list_page(conn, caller.tenant, folder.id, page)
        texts = file_store.contents(conn, [each.id for each in found]) if query.include_content else {}
        return [wire.file(each, texts.get(each.id)) for each in found]

    return reply(await caller.server.db.read(find))


async def retrieve_file(
    caller: CallerDep, folder_id: FolderId, file_id: FileId, include_content: bool = False
) -> Response:
    """One file of a folder."""

    def find(conn: Connection) -> dict[str, Any]:
        found = file_store.get(conn, caller.tenant, file_id, folder_id)
        return wire.file(found, file_store.content(conn, found.id) if include_content else None)

    return reply(await caller.server.db.read(find))


async def delete_file(caller: CallerDep, folder_id: FolderId, file_id: FileId) -> Response:
    """Delete a file of a folder, also from the agents that see it."""
    await caller.server.db.write(lambda conn: changes.delete_file(conn, caller.tenant, folder_id, file_id))
    return Response(status_code=204)


async def list_agent_files(
    caller: CallerDep, agent_id: AgentId, query: Annotated[AgentFileQuery, Depends()]
) -> Response:
    """A page of an agent's files, and which of them it has open."""
    page = query.page_by_file()

    def find(conn: Connection) -> list[AgentFile]:
        agent = agent_store.get(conn, caller.tenant, agent_id)
        return agent_files.list_page(conn, caller.tenant, agent.id, page, is_open=query.is_open)

    found = await caller.server.db.read(find)
    return reply(wire.agent_files(found[: query.limit], more=len(found) > query.limit))


async def open_file(caller: CallerDep, agent_id: AgentId, file_id: FileId) -> Response:
    """Open a file for an agent. The answer names the files that had to be closed for it."""
    return reply(await changes.open_file(caller.server.db, caller.tenant, agent_id, file_id))


async def close_file(caller: CallerDep, agent_id: AgentId, file_id: FileId) -> Response:
    """Close a file for an agent."""
    await caller.server.db.write(lambda conn: changes.close_files(conn, caller.tenant, agent_id, file_id))
    return reply({"message": f"File {file_id} closed"})


async def close_all_files(caller: CallerDep, agent_id: AgentId) -> Response:
    """Close all files of an agent. The answer names them."""
    return reply(await caller.server.db.write(lambda conn: changes.close_files(conn, caller.tenant, agent_id)))
