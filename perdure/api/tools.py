"""Tools: which there are, and which agent has which."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import tools as changes
from perdure.agents.call_tool import call_tool
from perdure.api.auth import CallerDep
from perdure.api.paths import AgentId, ToolId
from perdure.api.queries import PageQuery, ToolQuery
from perdure.api.reply import reply
from perdure.domain.agents import AgentDetails
from perdure.domain.errors import Unprocessable
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message
from perdure.domain.tools import Tool
from perdure.store import agents as agent_store
from perdure.store import tools as tool_store
from perdure.store.tools import ToolFilter
from perdure.tools import making
from perdure.wire.agents import agent_state
from perdure.wire.messages import public
from perdure.wire.text import Body
from perdure.wire.tools import (
    CreateToolBody,
    RunSourceBody,
    RunToolBody,
    SearchToolsBody,
    UpdateToolBody,
    found_tool,
    tool,
    tool_run,
)


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


async def create_tool(caller: CallerDep, body: CreateToolBody) -> Response:
    """Make a tool from source code."""
    made = making.make(body.fields(), caller.server.registry.names)
    await caller.server.db.write(lambda conn: tool_store.create(conn, caller.tenant, made))
    return reply(tool(made))


async def upsert_tool(caller: CallerDep, body: CreateToolBody) -> Response:
    """Make a tool from source code, or change the one of its name."""
    fields, taken = body.fields(), caller.server.registry.names
    made = making.make(fields, taken)

    def put(conn: Connection) -> Tool:
        found = tool_store.find_named(conn, caller.tenant, made.name)
        if found is None:
            tool_store.create(conn, caller.tenant, made)
            return made
        changed = making.change(found, fields, taken)
        tool_store.change(conn, caller.tenant, changed)
        return changed

    return reply(tool(await caller.server.db.write(put)))


async def update_tool(caller: CallerDep, tool_id: ToolId, body: UpdateToolBody) -> Response:
    """Change a tool, for every agent that has it."""
    fields, taken = body.fields(), caller.server.registry.names

    def edit(conn: Connection) -> Tool:
        changed = making.change(tool_store.get(conn, caller.tenant, tool_id), fields, taken)
        tool_store.change(conn, caller.tenant, changed)
        return changed

    return reply(tool(await caller.server.db.write(edit)))


async def delete_tool(caller: CallerDep, tool_id: ToolId) -> Response:
    """Delete a tool, also from the agents that have it."""
    await caller.server.db.write(lambda conn: tool_store.remove(conn, caller.tenant, tool_id))
    return reply({"message": f"Tool {tool_id} deleted"})


async def search_tools(caller: CallerDep, body: SearchToolsBody) -> Response:
    """The tools that match, best first."""
    wanted = ToolFilter(tool_types=None if body.tool_types is None else tuple(body.tool_types))
    found = await caller.server.db.read(
        lambda conn: tool_store.all_of(conn, caller.tenant, wanted, making.MOST_SEARCHED)
    )
    tags = set(body.tags or ())
    ranked = making.ranked([each for each in found if tags <= set(each.tags)], body.query)[: body.limit]
    return reply([found_tool(each, score, place) for place, (each, score) in enumerate(ranked, 1)])


async def run_source(caller: CallerDep, body: RunSourceBody) -> Response:
    """Run source code once, as the tool that it would make, for no agent."""
    made = making.make(body.fields(), ())
    outcome = await caller.server.custom_tools.try_out(made, body.args, caller.tenant, body.env_vars)
    message = Message(id=new_id("message"), agent_id="", role="tool", parts=(outcome,), created_at=now())
    return reply(public(message, caller.generation)[0])


async def run_agent_tool(caller: CallerDep, agent_id: AgentId, tool_name: str, body: RunToolBody) -> Response:
    """Call a tool of an agent."""
    server = caller.server
    outcome = await call_tool(server.db, server.executor, caller.tenant, agent_id, tool_name, body.args)
    return reply(tool_run(outcome.part))


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
