"""MCP servers that tenants added or the operator named, their secrets sealed, and the tools taken over from them."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows
from sqlalchemy.exc import IntegrityError

from perdure.domain.errors import Conflict, NotFound, not_found
from perdure.domain.ids import new_id, now
from perdure.domain.mcp_servers import McpServer, Refreshed, name_here
from perdure.domain.tools import Tool
from perdure.store import tools as tool_store
from perdure.store.database import Savepoint
from perdure.store.rows import to_struct
from perdure.store.secrets import Vault
from perdure.store.tables import mcp_servers, mcp_tools, tools

MOST: Final = 100
"""Servers of one tenant."""

_COLUMNS: Final = tuple(mcp_servers.c[name] for name in McpServer.__struct_fields__)
_TOOL_COLUMNS: Final = tuple(tools.c[name] for name in Tool.__struct_fields__)


def create(conn: Connection, tenant: str, server: McpServer, secrets: Mapping[str, str], vault: Vault) -> McpServer:
    """Store a server with these `domain.mcp_servers.SECRETS`. Raises Conflict for a name that another one has."""
    count = select(func.count()).select_from(mcp_servers).where(mcp_servers.c.tenant_id == tenant)
    if conn.execute(count).scalar_one() >= MOST:
        raise Conflict(f"There are {MOST} MCP servers already, the most there can be. Delete one of them first.")
    made = msgspec.structs.replace(server, **sealed(secrets, vault))
    with _named(conn, server.name):
        conn.execute(insert(mcp_servers).values(tenant_id=tenant, **msgspec.structs.asdict(made)))
    return made


def get(conn: Connection, tenant: str, server_id: str) -> McpServer:
    """One server. Raises NotFound."""
    found = _find(conn, tenant, mcp_servers.c.id == server_id)
    if not found:
        raise not_found("MCP server", server_id)
    return found[0]


def by_name(conn: Connection, tenant: str, name: str) -> McpServer:
    """The server of this name. Raises NotFound."""
    found = _find(conn, tenant, mcp_servers.c.name == name)
    if not found:
        raise NotFound(f"MCP server with name {name} not found")
    return found[0]


def all_of(conn: Connection, tenant: str) -> list[McpServer]:
    """All servers of a tenant, oldest first."""
    return _find(conn, tenant)


def update(
    conn: Connection,
    tenant: str,
    before: McpServer,
    fields: Mapping[str, Any],
    secrets: Mapping[str, str],
    vault: Vault,
) -> McpServer:
    """Replace fields and secrets of a server; secrets that are not named stay. Its tools follow its name.

    The caller has read it just now. Raises Conflict for a name that another one has.
    """
    after = msgspec.structs.replace(
        before, **fields, **sealed(secrets, vault), updated_at=max(now(), before.updated_at + 1)
    )
    with _named(conn, after.name):
        _write(conn, tenant, after)
    if after.name != before.name:
        for tool in tools_of(conn, before.id):
            _rewrite(conn, tenant, msgspec.structs.replace(tool, tags=tags(after), metadata=_origin(after, tool)))
    return after


def report(conn: Connection, tenant: str, server: McpServer, said: Mapping[str, Any]) -> None:
    """Keep what came of reading a server's tools. That does not make it another server."""
    _write(conn, tenant, msgspec.structs.replace(server, metadata={**server.metadata, "tools": dict(said)}))


def delete(conn: Connection, tenant: str, server_id: str) -> None:
    """Delete a server with its secrets, and its tools with it. Raises NotFound."""
    get(conn, tenant, server_id)
    for tool in tools_of(conn, server_id):
        tool_store.remove(conn, tenant, tool.id)
    conn.execute(delete_rows(mcp_servers).where(mcp_servers.c.tenant_id == tenant, mcp_servers.c.id == server_id))


def seed(conn: Connection, tenant: str, names: Iterable[str]) -> None:
    """Store the servers that the operator names, where they are missing. Safe to repeat. Raises Conflict."""
    stored = {server.name: server.server_type for server in all_of(conn, tenant)}
    for name in names:
        if name not in stored:
            at = now()
            server = McpServer(
                id=new_id("mcp_server"), name=name, server_type="stdio", created_at=at, updated_at=at, metadata={}
            )
            conn.execute(insert(mcp_servers).values(tenant_id=tenant, **msgspec.structs.asdict(server)))
        elif stored[name] != "stdio":
            raise Conflict(
                f"PERDURE_MCP_CONFIG names a server {name!r}, and callers have added one of that name. Choose another."
            )


def tools_of(conn: Connection, server_id: str) -> list[Tool]:
    """The tools that were taken over from a server, in the order it has them."""
    link = mcp_tools.c
    found = select(*_TOOL_COLUMNS).join(mcp_tools, link.tool_id == tools.c.id).where(link.mcp_server_id == server_id)
    return [to_struct(row, Tool) for row in conn.execute(found.order_by(link.position, tools.c.id)).mappings()]


def tool_of(conn: Connection, tenant: str, server_id: str, tool_id: str) -> Tool:
    """One tool of a server. Raises NotFound for either."""
    get(conn, tenant, server_id)
    for tool in tools_of(conn, server_id):
        if tool.id == tool_id:
            return tool
    raise not_found("Tool", tool_id)


def server_of(conn: Connection, tenant: str, tool_id: str) -> McpServer:
    """The server that a tool is of. Raises NotFound."""
    link = mcp_tools.c
    having = select(link.mcp_server_id).where(link.tool_id == tool_id)
    found = _find(conn, tenant, mcp_servers.c.id.in_(having))
    if not found:
        raise NotFound("The MCP server of this tool is not known any more.")
    return found[0]


def keep_tools(
    conn: Connection, tenant: str, server: McpServer, offered: Sequence[Tool], *, listed: Sequence[str] | None = None
) -> Refreshed:
    """Take over what a server offers. With `listed`, its names of all it has, tools that it has no more are deleted.

    A tool that was there before keeps its id and its name, and agents that have one that changed get a new version.
    Where a name is taken, the server's is put before it; where that is taken, too, the tool is left out.
    """
    before = {name_there(tool): tool for tool in tools_of(conn, server.id)}
    added: list[str] = []
    updated: list[str] = []
    left_out: list[dict[str, Any]] = []
    for position, tool in enumerate(offered):
        tool = msgspec.structs.replace(tool, tags=tags(server), metadata=_origin(server, tool))
        known = before.get(name_there(tool))
        if known is not None:
            if _bring_up_to_date(conn, tenant, known, tool):
                updated.append(known.name)
        elif (name := _insert(conn, tenant, server, tool, position)) is not None:
            added.append(name)
        else:
            left_out.append(
                {"name": name_there(tool), "reasons": ["Other tools have its name, with the server's too."]}
            )
    lost = [] if listed is None else [tool for name, tool in before.items() if name not in listed]
    for tool in lost:
        tool_store.remove(conn, tenant, tool.id)
    return Refreshed(
        added=tuple(added), updated=tuple(updated), deleted=tuple(tool.name for tool in lost), left_out=tuple(left_out)
    )


def note_change(conn: Connection, tenant: str, tool_id: str, what: str) -> None:
    """Remember that a server describes a tool otherwise by now than when it was taken over."""
    with suppress(NotFound):
        tool = tool_store.get(conn, tenant, tool_id)
        origin: dict[str, Any] = tool.metadata.get("mcp") or {}
        if origin.get("changed") != what:
            metadata = {**tool.metadata, "mcp": {**origin, "changed": what}}
            conn.execute(update_rows(tools).where(tools.c.id == tool_id).values(metadata=metadata))


def tags(server: McpServer) -> tuple[str, ...]:
    """The tags of a server's tools."""
    return (f"mcp:{server.name}",)


def name_there(tool: Tool) -> str:
    """What its server calls a tool."""
    origin = tool.metadata.get("mcp")
    return str(origin.get("tool_name", tool.name)) if isinstance(origin, Mapping) else tool.name


def sealed(secrets: Mapping[str, str], vault: Vault) -> dict[str, bytes | None]:
    """An empty secret is none."""
    return {name: vault.seal(value) if value else None for name, value in secrets.items()}


@contextmanager
def _named(conn: Connection, name: str) -> Generator[None]:
    """A part of a unit that fails where the name is taken."""
    try:
        with Savepoint(conn):
            yield
    except IntegrityError as error:
        raise Conflict(f"There is an MCP server named {name!r} already. Change that one, or choose another.") from error


def _find(conn: Connection, tenant: str, *conditions: ColumnElement[bool]) -> list[McpServer]:
    found = select(*_COLUMNS).where(mcp_servers.c.tenant_id == tenant, *conditions)
    rows = conn.execute(found.order_by(mcp_servers.c.created_at, mcp_servers.c.id)).mappings()
    return [to_struct(row, McpServer) for row in rows]


def _write(conn: Connection, tenant: str, server: McpServer) -> None:
    of_this = (mcp_servers.c.tenant_id == tenant, mcp_servers.c.id == server.id)
    conn.execute(update_rows(mcp_servers).where(*of_this).values(**msgspec.structs.asdict(server)))


def _origin(server: McpServer, tool: Tool) -> dict[str, Any]:
    """The metadata of a tool of this server, who says of it what `tool` says."""
    known: dict[str, Any] = tool.metadata.get("mcp") or {}
    return {
        **tool.metadata,
        "mcp": {**known, "server_name": server.name, "server_id": server.id, "tool_name": name_there(tool)},
    }


def _bring_up_to_date(conn: Connection, tenant: str, known: Tool, tool: Tool) -> bool:
    """Give a tool what its server says of it now; whether that is anything new to models."""
    schema = {**tool.json_schema, "name": known.name}
    metadata = {**known.metadata, **tool.metadata}
    after = msgspec.structs.replace(
        known, description=tool.description, json_schema=schema, tags=tool.tags, metadata=metadata
    )
    if after != known:
        _rewrite(conn, tenant, after)
    return (after.description, after.json_schema) != (known.description, known.json_schema)


def _rewrite(conn: Connection, tenant: str, tool: Tool) -> None:
    tool_store.change(conn, tenant, msgspec.structs.replace(tool, updated_at=max(now(), tool.updated_at + 1)))


def _insert(conn: Connection, tenant: str, server: McpServer, tool: Tool, position: int) -> str | None:
    """Store a tool under a name that is free, and return that; None where there is none."""
    at = now()
    for name in (tool.name, f"{name_here(server.name)}_{tool.name}"[:64]):
        if tool_store.find_named(conn, tenant, name) is not None:
            continue
        made = msgspec.structs.replace(
            tool, id=new_id("tool"), name=name, json_schema={**tool.json_schema, "name": name},
            created_at=at + position, updated_at=at + position,
        )  # fmt: skip
        tool_store.create(conn, tenant, made)
        conn.execute(insert(mcp_tools).values(mcp_server_id=server.id, tool_id=made.id, position=position))
        return name
    return None
