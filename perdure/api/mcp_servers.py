"""MCP servers in the newer SDKs' words: by their ids."""

from contextlib import suppress

import msgspec
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.paths import AgentId, McpServerId, ToolId
from perdure.api.reply import reply
from perdure.domain.errors import Conflict, Invalid, NotBuilt, Unavailable
from perdure.domain.mcp_servers import McpServer
from perdure.domain.messages import ToolReturnPart
from perdure.store import agents as agent_store
from perdure.store import mcp_servers as server_store
from perdure.tools.implementation import Returned
from perdure.tools.mcp.commands import NOT_OVER_THE_API, shown
from perdure.tools.returns import cut
from perdure.wire.mcp_servers import (
    CreateServerBody,
    ServerConfig,
    UpdateServerBody,
    Wire,
    mcp_server,
    refreshed,
)
from perdure.wire.tools import RunToolBody, tool, tool_run


async def list_mcp_servers(caller: CallerDep) -> Response:
    """All MCP servers, oldest first."""
    found = await caller.server.db.read(lambda conn: server_store.all_of(conn, caller.tenant))
    return reply([said(caller, each) for each in found])


async def create_mcp_server(caller: CallerDep, body: CreateServerBody) -> Response:
    """Add an MCP server and take over its tools. One that cannot be reached is added all the same, and says why."""
    return reply(said(caller, await added(caller, body.server_name, body.config)))


async def retrieve_mcp_server(caller: CallerDep, mcp_server_id: McpServerId) -> Response:
    """One MCP server."""
    return reply(said(caller, await found(caller, mcp_server_id)))


async def update_mcp_server(caller: CallerDep, mcp_server_id: McpServerId, body: UpdateServerBody) -> Response:
    """Change an MCP server."""
    return reply(said(caller, await changed(caller, mcp_server_id, body.config, body.server_name)))


async def delete_mcp_server(caller: CallerDep, mcp_server_id: McpServerId) -> Response:
    """Remove an MCP server, its secrets and its tools; agents lose those."""
    await removed(caller, await found(caller, mcp_server_id))
    return reply({"message": f"MCP server {mcp_server_id} deleted"})


async def refresh_mcp_server(
    caller: CallerDep, mcp_server_id: McpServerId, agent_id: AgentId | None = None
) -> Response:
    """Take over an MCP server's tools as they are now, asked for an agent where one is named, and say what changed."""
    if agent_id is not None:
        await caller.server.db.read(lambda conn: agent_store.get(conn, caller.tenant, agent_id))
    server = await found(caller, mcp_server_id)
    return reply(refreshed(await caller.server.mcp.refresh(caller.tenant, server, agent_id)))


async def list_mcp_server_tools(caller: CallerDep, mcp_server_id: McpServerId) -> Response:
    """The tools that were taken over from an MCP server."""
    server = await found(caller, mcp_server_id)
    return reply(
        [tool(each) for each in await caller.server.db.read(lambda conn: server_store.tools_of(conn, server.id))]
    )


async def retrieve_mcp_server_tool(caller: CallerDep, mcp_server_id: McpServerId, tool_id: ToolId) -> Response:
    """One tool of an MCP server."""
    known = await caller.server.db.read(lambda conn: server_store.tool_of(conn, caller.tenant, mcp_server_id, tool_id))
    return reply(tool(known))


async def run_mcp_server_tool(
    caller: CallerDep, mcp_server_id: McpServerId, tool_id: ToolId, body: RunToolBody | None = None
) -> Response:
    """Run a tool of an MCP server. That a server fails is a result too, since nobody must run the tool again for it."""
    known = await caller.server.db.read(lambda conn: server_store.tool_of(conn, caller.tenant, mcp_server_id, tool_id))
    try:
        done = await caller.server.mcp.run(caller.tenant, known, body.args if body else {})
    except Unavailable as error:
        done = Returned(text=error.message, status="error", stderr=(error.message,))
    text = cut(done.text, known.return_char_limit)
    part = ToolReturnPart(call_id="", name=known.name, status=done.status, text=text, stderr=done.stderr or None)
    return reply(tool_run(part))


def said(caller: Caller, server: McpServer) -> Wire:
    """A server as callers are shown it."""
    mcp = caller.server.mcp
    pause = mcp.links.state(server.id)
    left_alone = (
        None if pause is None else f"It failed {pause.failures} times in a row; the last time it {pause.reason}."
    )
    return mcp_server(server, shown(mcp.commands.get(server.name)), left_alone)


async def found(caller: Caller, server_id: str) -> McpServer:
    """A server by its id. Raises NotFound."""
    return await caller.server.db.read(lambda conn: server_store.get(conn, caller.tenant, server_id))


def checked(caller: Caller, server: McpServer, config: ServerConfig) -> McpServer:
    """The server, if callers may add such a one. Raises Invalid."""
    if config.is_command or server.server_type == "stdio":
        raise Invalid(NOT_OVER_THE_API)
    if not server.server_url:
        raise Invalid("An MCP server needs a server_url: where it is, such as https://example.com/mcp.")
    caller.server.mcp.vet(server.server_url)
    return server


async def added(caller: Caller, name: str, config: ServerConfig) -> McpServer:
    """A server that is stored, with its tools where it can be reached. Raises Invalid and Conflict."""
    server, new = caller.server, checked(caller, config.server(name), config)
    made = await server.db.write(
        lambda conn: server_store.create(conn, caller.tenant, new, config.secrets(), server.vault)
    )
    with suppress(Unavailable, Invalid, Conflict, NotBuilt):
        await server.mcp.refresh(caller.tenant, made)
    return await found(caller, made.id)


async def changed(caller: Caller, server_id: str, config: ServerConfig, name: str | None = None) -> McpServer:
    """A server with its changes stored. Raises Invalid and Conflict."""
    server, secrets = caller.server, config.secrets()

    def change(conn: Connection) -> McpServer:
        before = server_store.get(conn, caller.tenant, server_id)
        fields = config.changes(before) | ({} if name is None else {"name": name})
        checked(caller, msgspec.structs.replace(before, **fields), config)
        # Whoever may change a server but does not know its token could have it sent to a server of their own.
        kept = [name for name in ("token", "headers") if getattr(before, name) and name not in secrets]
        if kept and fields.get("server_url", before.server_url) != before.server_url:
            raise Invalid(
                "Send auth_token and custom_headers along with a new server_url: those that are stored are not sent to "
                "another address."
            )
        return server_store.update(conn, caller.tenant, before, fields, secrets, server.vault)

    made = await server.db.write(change)
    server.mcp.links.forget(server_id)
    return made


async def removed(caller: Caller, server: McpServer) -> None:
    """Delete a server with its tools. Raises Conflict for one that the operator names."""
    if server.server_type == "stdio" and server.name in caller.server.mcp.commands:
        raise Conflict(NOT_OVER_THE_API)
    await caller.server.db.write(lambda conn: server_store.delete(conn, caller.tenant, server.id))
    caller.server.mcp.links.forget(server.id)
