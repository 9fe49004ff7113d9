"""MCP servers in the older SDKs' words: by their names, and their tools added one by one."""

from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.mcp_servers import added, changed, checked, removed, said
from perdure.api.reply import reply
from perdure.domain.errors import PerdureError
from perdure.domain.mcp_servers import McpServer
from perdure.store import mcp_servers as server_store
from perdure.wire.mcp_servers import NamedConfig, ServerConfig, Wire, attempt, mcp_tool
from perdure.wire.sse import HEADERS
from perdure.wire.tools import tool


async def list_servers_by_name(caller: CallerDep) -> Response:
    """All MCP servers, by their names."""
    return reply({each["server_name"]: each for each in await _all(caller)})


async def add_server_by_name(caller: CallerDep, body: NamedConfig) -> Response:
    """Add an MCP server, and list all."""
    await added(caller, body.server_name, body)
    return reply(await _all(caller))


async def update_server_by_name(caller: CallerDep, mcp_server_name: str, body: ServerConfig) -> Response:
    """Change an MCP server."""
    return reply(said(caller, await changed(caller, (await _found(caller, mcp_server_name)).id, body)))


async def delete_server_by_name(caller: CallerDep, mcp_server_name: str) -> Response:
    """Remove an MCP server, its secrets and its tools, and list those that are left."""
    await removed(caller, await _found(caller, mcp_server_name))
    return reply(await _all(caller))


async def list_tools_by_server_name(caller: CallerDep, mcp_server_name: str) -> Response:
    """The tools that an MCP server has now, those that cannot be used included."""
    offers = await caller.server.mcp.offers(await _found(caller, mcp_server_name))
    return reply([mcp_tool(each) for each in offers])


async def add_tool_by_name(caller: CallerDep, mcp_server_name: str, mcp_tool_name: str) -> Response:
    """Take over a tool of an MCP server as it is now."""
    server = await _found(caller, mcp_server_name)
    return reply(tool(await caller.server.mcp.take(caller.tenant, server, mcp_tool_name)))


async def test_server(caller: CallerDep, body: NamedConfig) -> Response:
    """Whether an MCP server can be used: its tools. Nothing is stored."""
    server = checked(caller, body.server(body.server_name), body)
    return reply([mcp_tool(each) for each in await caller.server.mcp.try_out(server, body.secrets())])


async def connect_server(caller: CallerDep, body: NamedConfig) -> Response:
    """Try an MCP server and tell how it went as a stream. Nothing is stored."""
    server = checked(caller, body.server(body.server_name), body)
    events: list[Wire] = [{"event": "connection_attempt", "server_name": server.name}]
    try:
        offers = await caller.server.mcp.try_out(server, body.secrets())
        events.append({"event": "success", "message": None, "tools": [mcp_tool(each) for each in offers]})
    except PerdureError as error:
        events.append({"event": "error", "message": error.message})
    return Response(attempt(events), headers=HEADERS)


async def _all(caller: Caller) -> list[Wire]:
    found = await caller.server.db.read(lambda conn: server_store.all_of(conn, caller.tenant))
    return [said(caller, each) for each in found]


async def _found(caller: Caller, name: str) -> McpServer:
    return await caller.server.db.read(lambda conn: server_store.by_name(conn, caller.tenant, name))
