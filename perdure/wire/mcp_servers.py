"""MCP servers and their tools as the API says them, in both generations' words. Tokens come in and never go out."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import AfterValidator, Field

from perdure.domain.ids import new_id, now
from perdure.domain.mcp_servers import McpServer, Offer, Refreshed, ServerType
from perdure.wire.json import ascii_json
from perdure.wire.sse import DONE
from perdure.wire.text import Body, Text

Wire = dict[str, Any]

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_OURS: Final = frozenset({
    "accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host", "keep-alive",
    "mcp-protocol-version", "mcp-session-id", "te", "trailer", "transfer-encoding", "upgrade", "x-agent-id",
})  # fmt: skip
"""Headers that this server sets itself."""


def _server_name(name: str) -> str:
    # It stands in paths and tags.
    if not name.strip() or "/" in name or not name.isprintable():
        raise ValueError("An MCP server's name needs at least one character, and no slash, line break or the like.")
    return name.strip()


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name) or name.lower() in _OURS:
        raise ValueError(f"{name[:60]!r} cannot be used as the name of a header here.")
    return name


def _value(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("What is sent in a header is made of visible ASCII characters.")
    return value


ServerName = Annotated[Text, AfterValidator(_server_name), Field(max_length=255)]
HeaderName = Annotated[str, AfterValidator(_header)]
Value = Annotated[str, AfterValidator(_value), Field(max_length=8192)]


class ServerConfig(Body):
    """How a server is reached; null leaves a field as it is. The older SDKs say `type`, the newer `mcp_server_type`."""

    mcp_server_type: ServerType | None = None
    type: ServerType | None = None
    server_url: Annotated[Text, Field(max_length=2048)] | None = None
    auth_header: HeaderName | None = None
    auth_token: Value | None = None
    token: Value | None = None
    custom_headers: Annotated[dict[HeaderName, Value | None], Field(max_length=50)] | None = None
    command: str | None = None

    @property
    def is_command(self) -> bool:
        """Whether it is to be started, which no caller may ask for."""
        return self.command is not None or "stdio" in (self.mcp_server_type, self.type)

    def changes(self, before: McpServer) -> dict[str, Any]:
        """The fields of `before` to replace."""
        fields: dict[str, Any] = {}
        if (kind := self.mcp_server_type or self.type) is not None:
            fields["server_type"] = kind
        if self.server_url is not None:
            fields["server_url"] = self.server_url.strip()
        if "auth_header" in self.model_fields_set:
            fields["metadata"] = {**before.metadata, "auth_header": self.auth_header}
        return fields

    def secrets(self) -> dict[str, str]:
        """What is to be sealed; an empty one is none."""
        found: dict[str, str] = {}
        if (token := self.auth_token if self.auth_token is not None else self.token) is not None:
            found["token"] = token
        if self.custom_headers is not None:
            headers = {name: value for name, value in self.custom_headers.items() if value is not None}
            found["headers"] = msgspec.json.encode(headers).decode() if headers else ""
        return found

    def server(self, name: str) -> McpServer:
        """The server, without its secrets."""
        at = now()
        blank = McpServer(
            id=new_id("mcp_server"), name=name, server_type="streamable_http", created_at=at, updated_at=at,
            metadata={},
        )  # fmt: skip
        return msgspec.structs.replace(blank, **self.changes(blank))


class NamedConfig(ServerConfig):
    """A server as the older SDKs write it, all in one."""

    server_name: ServerName


class CreateServerBody(Body):
    """A server as the newer SDKs write it."""

    server_name: ServerName
    config: ServerConfig


class UpdateServerBody(Body):
    """Changes of a server; null leaves a field as it is."""

    server_name: ServerName | None = None
    config: ServerConfig


def mcp_server(shown: McpServer, command: Mapping[str, Any], left_alone: str | None = None) -> Wire:
    """A server without its secrets. `command` is said of one that is started, `left_alone` of one that keeps failing.

    Its `metadata` says what came of reading its tools last: an error, or how many it has and which are left out.
    """
    told: Wire = {
        "id": shown.id, "server_name": shown.name, "mcp_server_type": shown.server_type, "type": shown.server_type,
    }  # fmt: skip
    if shown.server_type == "stdio":
        told |= command
    else:
        told |= {
            "server_url": shown.server_url, "auth_header": shown.metadata.get("auth_header"), "auth_token": None,
            "custom_headers": None, "has_auth_token": shown.token is not None,
            "has_custom_headers": shown.headers is not None,
        }  # fmt: skip
    return {**told, "metadata": {"tools": shown.metadata.get("tools"), "left_alone": left_alone}}


def mcp_tool(offer: Offer) -> Wire:
    """A tool that a server has."""
    return {
        "name": offer.name, "title": None, "description": offer.description, "inputSchema": offer.parameters,
        "outputSchema": None, "annotations": None, "_meta": None,
        "health": {"status": offer.health, "reasons": list(offer.reasons)},
    }  # fmt: skip


def refreshed(made: Refreshed) -> Wire:
    """What a refresh changed."""
    return {
        "added": made.added, "updated": made.updated, "deleted": made.deleted, "left_out": made.left_out,
    }  # fmt: skip


def attempt(events: Iterable[Wire]) -> bytes:
    """Frames that tell how connecting went."""
    return b"".join(f"data: {ascii_json(event)}\n\n".encode("ascii") for event in events) + DONE
