"""The MCP servers of tenants: reached on behalf of agents, their tools taken over and run.

What a server says of a tool counts when it is taken over, and again when somebody asks for a refresh. If the server
says something else meanwhile, agents go on with what was taken over, and everybody is told.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.errors import Conflict, Invalid, NotFound, PerdureError
from perdure.domain.mcp_servers import McpServer, Offer, Refreshed, name_here
from perdure.domain.tools import EXTERNAL_MCP, Tool
from perdure.providers import outbound
from perdure.store import mcp_servers as server_store
from perdure.store.database import Database
from perdure.store.secrets import Vault
from perdure.tools import arguments as call_arguments
from perdure.tools.implementation import Acts, Arguments, Returned, ToolContext
from perdure.tools.mcp.commands import Command
from perdure.tools.mcp.links import Called, Limits, Links
from perdure.tools.mcp.reach import Reach
from perdure.tools.mcp.results import result_images, result_text
from perdure.tools.mcp.schemas import digest, vet
from perdure.tools.mcp.templates import fill, is_template
from perdure.tools.secrets import Secrets

AGENT_HEADER: Final = "x-agent-id"
AUTHORIZATION: Final = "Authorization"
MOST_REPORTED: Final = 100
"""Tools that are left out, and problems with the others, that are remembered."""


class McpServers:
    """All that is done with MCP servers. `commands` are those that the operator names."""

    def __init__(
        self, db: Database, vault: Vault, secrets: Secrets, limits: Limits, commands: Mapping[str, Command],
        *, allow_private: bool,
    ) -> None:  # fmt: skip
        self._db = db
        self._vault = vault
        self._secrets = secrets
        self._limits = limits
        self._allow_private = allow_private
        self.commands = commands
        self.links = Links(limits, allow_private=allow_private)

    def vet(self, url: str) -> None:
        """Raises Invalid for an address that may not be called."""
        outbound.read_target(url, allow_private=self._allow_private, setting=outbound.MCP)

    async def offers(self, server: McpServer) -> list[Offer]:
        """The tools a server has now. Raises Unavailable and Invalid."""
        return (await self._listed(server, None))[0]

    async def try_out(self, server: McpServer, secrets: Mapping[str, str]) -> list[Offer]:
        """The tools of a server that is not stored, with these secrets. Raises Unavailable and Invalid."""
        try:
            return (await self._listed(server, None, secrets))[0]
        finally:
            self.links.forget(server.id)

    async def refresh(self, tenant: str, server: McpServer, agent_id: str | None = None) -> Refreshed:
        """Take over all tools of a server as they are now, asked for the agent where one is named.

        Raises Unavailable and Invalid, and remembers why.
        """
        try:
            offers, problems = await self._listed(server, agent_id)
        except PerdureError as error:
            why = error.message
            await self._db.write(
                lambda conn: server_store.report(conn, tenant, _again(conn, tenant, server), {"error": why})
            )
            raise
        bad = tuple({"name": each.name, "reasons": list(each.reasons)} for each in offers if each.health == "INVALID")

        def keep(conn: Connection) -> Refreshed:
            current = _again(conn, tenant, server)
            good = [_tool(each) for each in offers if each.health != "INVALID"]
            made = server_store.keep_tools(conn, tenant, current, good, listed=[each.name for each in offers])
            made = msgspec.structs.replace(made, left_out=(*bad, *made.left_out))
            left_out = made.left_out[:MOST_REPORTED]
            said = {"error": None, "offered": len(offers), "left_out": left_out, "problems": problems[:MOST_REPORTED]}
            server_store.report(conn, tenant, current, said)
            return made

        return await self._db.write(keep)

    async def take(self, tenant: str, server: McpServer, name: str) -> Tool:
        """Take over one tool of a server. Raises NotFound where it has none such, Invalid for one of no use."""
        found = next((each for each in (await self._listed(server, None))[0] if each.name == name), None)
        if found is None:
            raise NotFound(f"The MCP server {server.name!r} has no tool {name!r}.")
        if found.health == "INVALID":
            raise Invalid(f"The tool {name!r} of {server.name!r} cannot be used: {' '.join(found.reasons)}")
        tool = _tool(found)

        def keep(conn: Connection) -> Tool:
            current = _again(conn, tenant, server)
            made = server_store.keep_tools(conn, tenant, current, [tool])
            if made.left_out:
                raise Conflict(f"The tool {name!r} cannot be added: {made.left_out[0]['reasons'][0]}")
            stored = server_store.tools_of(conn, server.id)
            return next(each for each in stored if server_store.name_there(each) == name)

        return await self._db.write(keep)

    def runner(self, tool: Tool) -> Acts:
        """What runs a tool of an MCP server's when an agent calls it."""

        async def run(context: ToolContext, arguments: Arguments) -> Returned:
            return await self._run(context.tenant, tool, arguments, context.agent.id)

        parameters = tool.json_schema.get("parameters")
        return Acts(
            parameters=parameters if isinstance(parameters, dict) else {}, run=run, seconds=self._limits.call + 5
        )

    async def run(self, tenant: str, tool: Tool, arguments: Arguments) -> Returned:
        """Run a tool for nobody but the caller. Raises Invalid for arguments that do not fit."""
        acts = self.runner(tool)
        returned = await self._run(tenant, tool, call_arguments.check(arguments, acts.parameters), None)
        if (keep := returned.keep) is not None:
            await self._db.write(keep)
        return returned

    async def close(self) -> None:
        """Hang up on all servers."""
        await self.links.close()

    async def _run(self, tenant: str, tool: Tool, arguments: Arguments, agent_id: str | None) -> Returned:
        server = await self._db.read(lambda conn: server_store.server_of(conn, tenant, tool.id))
        reach = await self._reach(server, agent_id)
        called = await self.links.call(reach, server_store.name_there(tool), arguments)
        text, images = result_text(called.content, called.structured), result_images(called.content)
        changed = _changed(tool, called)
        if not changed:
            return Returned(text=text, images=images, status="error" if called.is_error else "success")

        def keep(conn: Connection) -> bool:
            server_store.note_change(conn, tenant, tool.id, changed)
            return False

        told = f"{changed} What was taken over is kept until the server is refreshed."
        return Returned(
            text=text, images=images, status="error" if called.is_error else "success", stderr=(told,), keep=keep
        )

    async def _listed(
        self, server: McpServer, agent_id: str | None, secrets: Mapping[str, str] | None = None
    ) -> tuple[list[Offer], list[str]]:
        definitions = await self.links.definitions(await self._reach(server, agent_id, secrets))
        # Ten thousand bad schemas take a moment.
        return await asyncio.to_thread(vet, definitions)

    async def _reach(self, server: McpServer, agent_id: str | None, secrets: Mapping[str, str] | None = None) -> Reach:
        """How a server is reached for an agent. Raises Invalid where that takes a secret which the agent has not."""
        of_agent = None if agent_id is None else await self._secrets(agent_id)
        base = Reach(
            server_id=server.id, version=server.updated_at, name=server.name, server_type=server.server_type,
            url=server.server_url or "",
        )  # fmt: skip
        if server.server_type == "stdio":
            return msgspec.structs.replace(base, **_started(server, self.commands.get(server.name), of_agent))
        if secrets is None:
            sealed = {name: blob for name in ("token", "headers") if (blob := getattr(server, name))}
            secrets = {name: await asyncio.to_thread(self._vault.open, blob) for name, blob in sealed.items()}
        headers: dict[str, str] = msgspec.json.decode(secrets["headers"]) if secrets.get("headers") else {}
        if token := secrets.get("token"):
            name = server.metadata.get("auth_header") or AUTHORIZATION
            bare = name.lower() == AUTHORIZATION.lower() and " " not in token.strip() and not is_template(token)
            headers[name] = f"Bearer {token}" if bare else token
        filled = {name: value for name, each in headers.items() if (value := _filled(each, of_agent, name)) is not None}
        if agent_id is not None:
            filled[AGENT_HEADER] = agent_id
        return msgspec.structs.replace(base, headers=tuple(filled.items()))


def _started(server: McpServer, command: Command | None, secrets: Mapping[str, str] | None) -> dict[str, Any]:
    if command is None:
        raise Invalid(
            f"The MCP server {server.name!r} is not in the file of PERDURE_MCP_CONFIG any more. The operator can put "
            "it back, or it can be deleted here."
        )
    known = secrets or {}
    return {
        "command": command.command,
        "arguments": tuple(fill(each, known, f"The MCP server {server.name!r}") for each in command.args),
        "variables": tuple(
            (name, fill(each, known, f"The variable {name} of the MCP server {server.name!r}"))
            for name, each in command.env.items()
        ),
    }


def _filled(value: str, secrets: Mapping[str, str] | None, name: str) -> str | None:
    """A header's value; None where it takes an agent's secrets and nobody's are known."""
    if secrets is None and is_template(value):
        return None
    value = fill(value, secrets or {}, f"The header {name} of this MCP server").strip()
    if not value.isprintable() or not value.isascii():
        raise Invalid(f"The header {name} of this MCP server would hold other than visible ASCII characters.")
    return value


def _again(conn: Connection, tenant: str, server: McpServer) -> McpServer:
    """The server as it is now. Raises Conflict where it became another one while it was asked."""
    current = server_store.get(conn, tenant, server.id)
    if current.updated_at != server.updated_at:
        raise Conflict(f"The MCP server {server.name!r} was changed meanwhile. Try again.")
    return current


def _tool(offer: Offer) -> Tool:
    name = name_here(offer.name)
    description = offer.description or f"The tool {offer.name}."
    return Tool(
        id="", name=name, tool_type=EXTERNAL_MCP, description=description,
        json_schema={"name": name, "description": description, "parameters": offer.parameters},
        metadata={"mcp": {"tool_name": offer.name, "health": offer.health, "digest": offer.digest}},
    )  # fmt: skip


def _changed(tool: Tool, called: Called) -> str:
    """What the server says of a tool that it did not say when it was taken over; empty where that is nothing."""
    if called.definition is None:
        return f"The MCP server does not list the tool {server_store.name_there(tool)!r} any more."
    approved = tool.metadata.get("mcp", {}).get("digest")
    if approved in (None, digest(called.definition)):
        return ""
    return f"The MCP server describes the tool {server_store.name_there(tool)!r} otherwise than when it was taken over."
