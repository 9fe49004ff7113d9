"""Whom agents work with, as agent files hold it: groups, and MCP servers without their secrets."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from perdure.domain.errors import Invalid
from perdure.domain.groups import Group
from perdure.domain.ids import new_id, now
from perdure.domain.mcp_servers import McpServer, ServerType
from perdure.wire.filing import Names, body, listed
from perdure.wire.groups import CreateGroupBody
from perdure.wire.mcp_servers import ServerName
from perdure.wire.text import Body, Text

Wire = dict[str, Any]
R = TypeVar("R")


class FiledServerBody(Body):
    """An MCP server; how a command is started and what opens a server are not looked at."""

    server_name: ServerName
    server_type: ServerType
    server_url: Text | None = None

    def server(self) -> McpServer:
        """The server, which nobody has asked yet."""
        at = now()
        return McpServer(
            id=new_id("mcp_server"), name=self.server_name, server_type=self.server_type, created_at=at, updated_at=at,
            server_url=(self.server_url or "").strip(),
        )  # fmt: skip


def groups(written: Iterable[Group], blocks: Collection[str], name: Names) -> list[Wire]:
    """The groups of a file, with those of their blocks that are in it."""
    return [
        {
            "id": name("group", each.id),
            "agent_ids": [name("agent", member) for member in each.agent_ids],
            "shared_block_ids": [name("block", block) for block in each.shared_block_ids if block in blocks],
            "description": each.description,
            "manager_config": {
                **each.manager_config,
                "manager_type": each.manager_type,
                "manager_agent_id": each.manager_agent_id and name("agent", each.manager_agent_id),
            },
            "hidden": each.hidden,
            "project_id": None,
        }
        for each in written
    ]


def servers(written: Iterable[McpServer], name: Names) -> list[Wire]:
    """The MCP servers of a file: where they are, and nothing that opens them."""
    return [
        {
            "id": name("mcp_server", each.id),
            "server_type": each.server_type,
            "server_name": each.name,
            "server_url": each.server_url and _plain(each.server_url),
            "stdio_config": None,
            "metadata_": None,
        }
        for each in written
    ]


def _plain(url: str) -> str:
    """An address without the parts that people put keys in: user and password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def read_groups(file: Mapping[str, Any], left_out: list[str]) -> dict[str, Group]:
    """The groups in a file; they name agents and blocks as it does. What cannot be read is said in `left_out`."""

    def read(wire: Mapping[str, Any]) -> Group | None:
        given = {**wire, "description": wire.get("description") or "", "project_id": None}
        return _readable(lambda: body(CreateGroupBody, given).group(), "group", wire.get("id"), left_out)

    return {own: group for own, group in listed(file, "groups", read).items() if group is not None}


def read_servers(file: Mapping[str, Any], left_out: list[str]) -> tuple[McpServer, ...]:
    """The MCP servers in a file. What cannot be read is said in `left_out`."""

    def read(wire: Mapping[str, Any]) -> McpServer | None:
        return _readable(lambda: body(FiledServerBody, wire).server(), "MCP server", wire.get("server_name"), left_out)

    return tuple(server for server in listed(file, "mcp_servers", read).values() if server is not None)


def _readable(read: Callable[[], R], noun: str, name: Any, left_out: list[str]) -> R | None:
    """What is read, or None where it cannot be: agents can do without."""
    try:
        return read()
    except Invalid as error:
        left_out.append(f"the {noun} {str(name)[:60]!r} ({error.message})")
        return None
