"""MCP servers that are commands. Only the operator names them, in a file: whoever names a command can run anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from perdure.domain.errors import Invalid

NOT_OVER_THE_API = (
    "An MCP server that is started as a command cannot be added or changed here, since that would let callers run "
    "anything on this machine. The operator of this server names it in the file of PERDURE_MCP_CONFIG."
)


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What starts a server. Arguments and variables may hold `{{ NAME }}`, filled from the secrets of an agent."""

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}


class _File(msgspec.Struct):
    servers: dict[str, Command] = msgspec.field(name="mcpServers")


def read_commands(file: Path | None) -> Mapping[str, Command]:
    """The servers in a file of the form that other MCP clients have, too. Raises Invalid, saying what is wrong."""
    if file is None:
        return {}
    try:
        servers = msgspec.json.decode(file.read_bytes(), type=_File).servers
    except OSError as error:
        raise Invalid(f"The file {file} of PERDURE_MCP_CONFIG cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(
            f"The file {file} of PERDURE_MCP_CONFIG is not understood: {error}. It has to look like "
            '{"mcpServers": {"name": {"command": "…", "args": ["…"], "env": {"NAME": "…"}}}}.'
        ) from error
    for name, server in servers.items():
        if not name.strip() or not server.command.strip():
            raise Invalid(f"The server {name!r} in {file} needs a name and a command.")
    return servers


def shown(command: Command | None) -> dict[str, Any]:
    """What callers may see of a command: its arguments and variables may be secret."""
    return {"command": "" if command is None else Path(command.command).name, "args": [], "env": None}
