"""Groups and MCP servers on their way into files and out of them. Secrets stay behind, and nothing is connected to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec
from sqlalchemy import Connection

from perdure.agents.groups import create_group
from perdure.domain.agent_file import Contents, Packed
from perdure.domain.errors import Invalid, NotFound, Unprocessable
from perdure.domain.groups import Group
from perdure.domain.mcp_servers import McpServer
from perdure.domain.tools import EXTERNAL_MCP, Tool
from perdure.store import groups as group_store
from perdure.store import mcp_servers as server_store
from perdure.store import tools as tool_store
from perdure.store.secrets import Vault

Vet = Callable[[str], None]
"""Raises Invalid for an address that may not be called."""


def company(conn: Connection, agent_id: str, *, groups: bool) -> tuple[list[str], tuple[Group, ...]]:
    """Who goes with an agent, by their ids, and what binds them: those who look after its memory and after theirs.

    With `groups` all those of its groups go with it, too.
    """
    ids, bound = [agent_id], {each.id: each for each in (group_store.involving(conn, agent_id) if groups else ())}
    for each in bound.values():
        ids += [member for member in (each.manager_agent_id, *each.agent_ids) if member and member not in ids]
    for each in tuple(ids):
        if (tending := group_store.asleep(conn, each)) is not None:
            bound[tending.id] = tending
            ids += [member for member in tending.agent_ids if member not in ids]
    return ids[1:], tuple(bound.values())


def pack_servers(conn: Connection, tenant: str, agents: Iterable[Packed]) -> tuple[McpServer, ...]:
    """The MCP servers of agents' tools."""
    tools = {tool.id for each in agents for tool in each.details.tools if tool.tool_type == EXTERNAL_MCP}
    found: dict[str, McpServer] = {}
    for tool_id in tools:
        with suppress(NotFound):
            server = server_store.server_of(conn, tenant, tool_id)
            found[server.id] = server
    return tuple(sorted(found.values(), key=lambda server: server.name))


def store_servers(conn: Connection, tenant: str, vault: Vault, vet: Vet, contents: Contents, told: list[str]) -> None:
    """Add the MCP servers of a file that are missing here, with its tools of theirs that are.

    A server that is here gets no tools from a file: they would be called with its secrets.
    """
    here = {server.name: server for server in server_store.all_of(conn, tenant)}
    for server in contents.servers:
        known = here.get(server.name)
        if server.server_type == "stdio":
            told.append(
                f"Left out: the MCP server {server.name}, which is a command. Only whoever runs this server can add "
                "one, in PERDURE_MCP_CONFIG."
            )
        elif known is not None:
            told.append(f"Kept: the MCP server {known.name} that is here; the one in the file was not looked at.")
        else:
            _add(conn, tenant, vault, vet, server, contents.tools.values(), told)


def _add(
    conn: Connection, tenant: str, vault: Vault, vet: Vet, server: McpServer, tools: Iterable[Tool], told: list[str]
) -> None:
    try:
        vet(server.server_url or "")
    except Invalid as error:
        told.append(f"Left out: the MCP server {server.name}. {error.message}")
        return
    made = server_store.create(conn, tenant, server, {}, vault)
    missing = [
        tool for tool in tools if _is_of(tool, made) and tool_store.find_named(conn, tenant, tool.name) is None
    ]  # fmt: skip
    server_store.keep_tools(conn, tenant, made, missing)
    told.append(
        f"Added: the MCP server {made.name} at {made.server_url}, which was not asked for anything. Give it its token "
        "or headers if it needs them, and refresh its tools."
    )


def _is_of(tool: Tool, server: McpServer) -> bool:
    """Whether a tool in a file says that it is of this server."""
    origin = tool.metadata.get("mcp")
    named = origin.get("server_name") if isinstance(origin, Mapping) else None
    return tool.tool_type == EXTERNAL_MCP and (named == server.name or server_store.tags(server)[0] in tool.tags)


def store_groups(
    conn: Connection,
    tenant: str,
    groups: Iterable[Group],
    ids: Mapping[str, str],
    project_id: str | None,
    told: list[str],
) -> None:
    """Make the groups of a file, whose agents and blocks have these `ids` here."""

    def here(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(ids[name] for name in names)

    for group in groups:
        manager = () if group.manager_agent_id is None else (group.manager_agent_id,)
        if not ids.keys() >= {*group.agent_ids, *group.shared_block_ids, *manager}:
            told.append(f"Left out: the group {group.description!r}, not all of which is in the file.")
            continue
        placed = msgspec.structs.replace(
            group, agent_ids=here(group.agent_ids), shared_block_ids=here(group.shared_block_ids),
            manager_agent_id=next(iter(here(manager)), None), project_id=project_id,
        )  # fmt: skip
        try:
            create_group(conn, tenant, placed)
        except Unprocessable as error:
            told.append(f"Left out: the group {group.description!r}. {error.message}")
