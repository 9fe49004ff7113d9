"""Whom agents work with, as agent files hold it: groups, and MCP servers without their secrets."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from perdure.domain.groups import Group
from perdure.domain.ids import new_id, now
from perdure.domain.mcp_servers import McpServer, ServerType
from perdure.wire.filing import Names, body, listed
from perdure.wire.groups import CreateGroupBody
from perdure.wire.mcp_servers import ServerName
from perdure.wire.text import Body, Text

Wire = dict[str, Any]


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


def read_groups(file: Mapping[str, Any]) -> dict[str, Group]:
    """The groups in a file; they name agents and blocks as it does. Raises Invalid saying what is wrong with one."""
    return listed(file, "groups", lambda wire: body(CreateGroupBody, {**wire, "project_id": None}).group())


def read_servers(file: Mapping[str, Any]) -> tuple[McpServer, ...]:
    """The MCP servers in a file. Raises Invalid saying what is wrong with one."""
    return tuple(listed(file, "mcp_servers", lambda wire: body(FiledServerBody, wire).server()).values())
