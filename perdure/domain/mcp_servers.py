"""MCP servers, where tools of others are found, and what they say of those tools."""

import re
from typing import Any, Final, Literal

import msgspec

ServerType = Literal["streamable_http", "sse", "stdio"]
"""How a server is spoken to. `stdio` is a command of the operator's, which no caller can name."""

SECRETS: Final = ("token", "headers")
"""The fields that are sealed before they are stored, and opened only to ask the server."""

Health = Literal["STRICT_COMPLIANT", "NON_STRICT_ONLY", "INVALID"]
"""What a tool's schema is good for: with strict calling, without, or for nothing."""


class McpServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server as stored. Times are microseconds UTC; `updated_at` rises with every change of how it is reached.

    `token` and `headers` (a JSON object) are sealed. `metadata` has the name of the header that carries the token as
    `auth_header`, and as `tools` what came of reading the server's tools last.
    """

    id: str
    name: str
    server_type: ServerType
    created_at: int
    updated_at: int
    server_url: str | None = None
    token: bytes | None = None
    headers: bytes | None = None
    metadata: dict[str, Any] = {}


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that a server has, as it describes it. `parameters` is what models may be shown: empty where INVALID.

    `digest` is that of the description, to see by that it has become another one.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    health: Health
    digest: str
    reasons: tuple[str, ...] = ()


def name_here(name: str) -> str:
    """What models can call a tool or a server of this name: they take letters, digits, `_` and `-`, up to 64."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading a server's tools again: names of tools, as they are called here.

    `left_out` are those that cannot be used, by the server's names, with the reasons.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    left_out: tuple[dict[str, Any], ...] = ()
