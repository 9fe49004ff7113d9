"""Agents: made, found, changed, deleted, and their history forgotten."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import create, update
from perdure.api.auth import Caller, CallerDep
from perdure.api.in_turn import in_turn
from perdure.api.paths import AgentId
from perdure.api.queries import AgentQuery, TagQuery
from perdure.api.reply import reply
from perdure.domain.agents import AgentDetails
from perdure.store import agents as agent_store
from perdure.store import groups as group_store
from perdure.wire.agent_bodies import CreateAgentBody, UpdateAgentBody
from perdure.wire.agents import agent_state
from perdure.wire.text import Body


class ResetBody(Body):
    """How to reset; 0.1.x says the same in the query."""

    add_default_initial_messages: bool | None = None


async def list_agents(caller: CallerDep, query: Annotated[AgentQuery, Depends()]) -> Response:
    """A page of the agents that match, with their relations."""
    server, wanted, page, sort = caller.server, query.filter(), query.page(), query.sort()
    found = await server.db.read(
        lambda conn: agent_store.details_of(
            conn, agent_store.list_page(conn, caller.tenant, wanted, page, sort), server.vault
        )
    )
    return reply([agent_state(details) for details in found])


async def count_agents(caller: CallerDep, query: Annotated[AgentQuery, Depends()]) -> Response:
    """How many agents match."""
    wanted = query.filter()
    return reply(await caller.server.db.read(lambda conn: agent_store.count(conn, caller.tenant, wanted)))


async def create_agent(caller: CallerDep, body: CreateAgentBody) -> Response:
    """Make an agent, with its memory blocks, tools and first messages."""
    server = caller.server
    made = await create.create_agent(server.db, server.catalog, server.vault, caller.tenant, body.new_agent())
    return reply(agent_state(made))


async def retrieve_agent(caller: CallerDep, agent_id: AgentId) -> Response:
    """One agent, with its relations."""
    return reply(agent_state(await details_of(caller, agent_id)))


async def update_agent(caller: CallerDep, agent_id: AgentId, body: UpdateAgentBody) -> Response:
    """Change an agent: null leaves a field as it is, lists replace."""
    server = caller.server
    changes = body.changes()
    changed = await update.update_agent(server.db, server.catalog, server.vault, caller.tenant, agent_id, changes)
    server.jobs.wake()
    return reply(agent_state(changed))


async def delete_agent(caller: CallerDep, agent_id: AgentId) -> Response:
    """Delete an agent with its history and its companion. Runs under way are cancelled first."""

    def find(conn: Connection) -> tuple[str, ...]:
        agent_store.get(conn, caller.tenant, agent_id)
        tending = group_store.asleep(conn, agent_id)
        return (agent_id, *(() if tending is None else tending.agent_ids))

    for each in await caller.server.db.read(find):
        await caller.server.runner.cancel(caller.tenant, agent_id=each)
    await caller.server.db.write(lambda conn: update.delete_agent(conn, caller.tenant, agent_id))
    return reply({"message": f"Agent {agent_id} deleted"})


async def reset_messages(
    caller: CallerDep,
    agent_id: AgentId,
    body: ResetBody | None = None,
    add_default_initial_messages: bool = False,
) -> Response:
    """Clear an agent's context down to its system message; history keeps the rest. A busy agent is waited for."""
    vault = caller.server.vault
    said = None if body is None else body.add_default_initial_messages
    again = add_default_initial_messages if said is None else said
    details = await in_turn(
        caller,
        lambda conn: update.reset_messages(conn, caller.tenant, vault, agent_id, add_default_initial_messages=again),
    )
    return reply(agent_state(details))


async def recompile_agent(
    caller: CallerDep, agent_id: AgentId, dry_run: bool = False, update_timestamp: bool = False
) -> Response:
    """Rebuild an agent's system messages from its blocks and rules as they are now, and answer with the text.

    Where nothing has changed they stay, with their time, unless that is to be updated.
    """

    def recompile(conn: Connection) -> str:
        return update.recompile_agent(conn, caller.tenant, agent_id, dry_run=dry_run, anew=update_timestamp)

    return reply(await caller.server.db.write(recompile))


async def list_tags(caller: CallerDep, query: Annotated[TagQuery, Depends()]) -> Response:
    """A page of the tags that agents carry; the cursors are tags."""
    page = query.page(ascending=True)
    name, part = query.name, query.query_text
    found = await caller.server.db.read(
        lambda conn: agent_store.list_tags(conn, caller.tenant, page, name=name, query_text=part)
    )
    return reply(found)


async def details_of(caller: Caller, agent_id: str) -> AgentDetails:
    """An agent of the caller's, with its relations. Raises NotFound."""
    vault = caller.server.vault
    return await caller.server.db.read(lambda conn: agent_store.details(conn, caller.tenant, agent_id, vault))
