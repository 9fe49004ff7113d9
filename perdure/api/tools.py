"""Tools: which there are, and which agent has which."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import tools as changes
from perdure.api.auth import CallerDep
from perdure.api.paths import AgentId, ToolId
from perdure.api.queries import PageQuery, ToolQuery
from perdure.api.reply import reply
from perdure.domain.agents import AgentDetails
from perdure.domain.errors import Unprocessable
from perdure.domain.tools import Tool
from perdure.store import agents as agent_store
from perdure.store import tools as tool_store
from perdure.store.tools import ToolFilter
from perdure.wire.agents import agent_state
from perdure.wire.text import Body
from perdure.wire.tools import tool


class ApprovalBody(Body):
    """Whether calls of a tool wait for a person's approval."""

    requires_approval: bool


async def list_tools(caller: CallerDep, query: Annotated[ToolQuery, Depends()]) -> Response:
    """A page of the tools that match."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: tool_store.list_page(conn, caller.tenant, wanted, page))
    return reply([tool(each) for each in found])


async def count_tools(caller: CallerDep, query: Annotated[ToolQuery, Depends()]) -> Response:
    """How many tools match."""
    wanted = query.filter()
    return reply(await caller.server.db.read(lambda conn: tool_store.count(conn, caller.tenant, wanted)))


async def retrieve_tool(caller: CallerDep, tool_id: ToolId) -> Response:
    """One tool."""
    return reply(tool(await caller.server.db.read(lambda conn: tool_store.get(conn, caller.tenant, tool_id))))


async def add_base_tools(caller: CallerDep) -> Response:
    """Store the tools that come with the server, where they are missing or out of date, and list them."""
    built_in = caller.server.registry.builtin_tools()

    def seed(conn: Connection) -> list[Tool]:
        tool_store.seed(conn, caller.tenant, built_in)
        return tool_store.by_names(conn, caller.tenant, [each.name for each in built_in])

    return reply([tool(each) for each in await caller.server.db.write(seed)])


async def list_agent_tools(caller: CallerDep, agent_id: AgentId, query: Annotated[PageQuery, Depends()]) -> Response:
    """A page of an agent's tools."""
    page = query.page()

    def find(conn: Connection) -> list[Tool]:
        agent_store.get(conn, caller.tenant, agent_id)
        return tool_store.list_page(conn, caller.tenant, ToolFilter(agent_id=agent_id), page)

    return reply([tool(each) for each in await caller.server.db.read(find)])


async def attach_tool(caller: CallerDep, agent_id: AgentId, tool_id: ToolId) -> Response:
    """Give an agent a tool."""
    vault = caller.server.vault

    def attach(conn: Connection) -> AgentDetails:
        changes.attach_tool(conn, caller.tenant, agent_id, tool_id)
        return agent_store.details(conn, caller.tenant, agent_id, vault)

    return reply(agent_state(await caller.server.db.write(attach)))


async def detach_tool(caller: CallerDep, agent_id: AgentId, tool_id: ToolId) -> Response:
    """Take a tool from an agent; the tool stays."""
    vault = caller.server.vault

    def detach(conn: Connection) -> AgentDetails:
        changes.detach_tool(conn, caller.tenant, agent_id, tool_id)
        return agent_store.details(conn, caller.tenant, agent_id, vault)

    return reply(agent_state(await caller.server.db.write(detach)))


async def update_tool_approval(
    caller: CallerDep,
    agent_id: AgentId,
    tool_name: str,
    body: ApprovalBody | None = None,
    requires_approval: bool | None = None,
) -> Response:
    """Say whether an agent's calls of a tool wait for approval; 0.1.x says it in the query."""
    vault = caller.server.vault
    required = requires_approval if body is None else body.requires_approval
    if required is None:
        raise Unprocessable("Say true or false in requires_approval.", ("body", "requires_approval"), "missing")

    def change(conn: Connection) -> AgentDetails:
        changes.set_approval(conn, caller.tenant, agent_id, tool_name, required=required)
        return agent_store.details(conn, caller.tenant, agent_id, vault)

    return reply(agent_state(await caller.server.db.write(change)))
