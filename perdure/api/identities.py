"""Identities: made, found, changed, deleted, and given to agents."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.agents import details_of
from perdure.api.auth import Caller, CallerDep
from perdure.api.paths import AgentId, IdentityId
from perdure.api.people_queries import IdentityQuery
from perdure.api.queries import AgentPageQuery, PageQuery
from perdure.api.reply import reply
from perdure.domain.agents import AgentDetails
from perdure.domain.blocks import Block
from perdure.domain.identities import Identity, IdentityChanges
from perdure.store import agents as agent_store
from perdure.store import blocks as block_store
from perdure.store import identities as identity_store
from perdure.store.agents import AgentFilter
from perdure.store.blocks import BlockFilter
from perdure.wire.agents import agent_state
from perdure.wire.blocks import block
from perdure.wire.identities import CreateIdentityBody, Properties, UpdateIdentityBody, identity


async def list_identities(caller: CallerDep, query: Annotated[IdentityQuery, Depends()]) -> Response:
    """A page of the identities that match."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: identity_store.list_page(conn, caller.tenant, wanted, page))
    return reply([identity(each) for each in found])


async def count_identities(caller: CallerDep) -> Response:
    """How many identities there are."""
    return reply(await caller.server.db.read(lambda conn: identity_store.count(conn, caller.tenant)))


async def create_identity(caller: CallerDep, body: CreateIdentityBody) -> Response:
    """Make an identity, with the agents and blocks that belong to it."""
    new = body.identity()
    return reply(identity(await caller.server.db.write(lambda conn: identity_store.create(conn, caller.tenant, new))))


async def upsert_identity(caller: CallerDep, body: CreateIdentityBody) -> Response:
    """Make an identity, or change the one that has its key."""

    def upsert(conn: Connection) -> Identity:
        known = identity_store.find_by_key(conn, caller.tenant, body.identifier_key)
        if known is None:
            return identity_store.create(conn, caller.tenant, body.identity())
        return identity_store.update(conn, caller.tenant, known, body.changes())

    return reply(identity(await caller.server.db.write(upsert)))


async def retrieve_identity(caller: CallerDep, identity_id: IdentityId) -> Response:
    """One identity."""
    found = await caller.server.db.read(lambda conn: identity_store.get(conn, caller.tenant, identity_id))
    return reply(identity(found))


async def update_identity(caller: CallerDep, identity_id: IdentityId, body: UpdateIdentityBody) -> Response:
    """Change an identity."""
    return reply(identity(await _change(caller, identity_id, body.changes())))


async def upsert_properties(caller: CallerDep, identity_id: IdentityId, body: Properties) -> Response:
    """Set properties of an identity; those with other keys stay."""
    new = {each.key: each.model_dump() for each in body}

    def set_them(conn: Connection) -> Identity:
        before = identity_store.get(conn, caller.tenant, identity_id)
        merged = {**{each["key"]: each for each in before.properties}, **new}
        changes = IdentityChanges(fields={"properties": list(merged.values())})
        return identity_store.update(conn, caller.tenant, before, changes)

    return reply(identity(await caller.server.db.write(set_them)))


async def delete_identity(caller: CallerDep, identity_id: IdentityId) -> Response:
    """Delete an identity; its agents and blocks stay."""
    await caller.server.db.write(lambda conn: identity_store.delete(conn, caller.tenant, identity_id))
    return reply({"message": f"Identity {identity_id} deleted"})


async def list_identity_agents(
    caller: CallerDep, identity_id: IdentityId, query: Annotated[AgentPageQuery, Depends()]
) -> Response:
    """A page of an identity's agents, with their relations."""
    server, page = caller.server, query.page()

    def find(conn: Connection) -> list[AgentDetails]:
        identity_store.get(conn, caller.tenant, identity_id)
        wanted = AgentFilter(identity_id=identity_id, show_hidden=True)
        found = agent_store.list_page(conn, caller.tenant, wanted, page, query.sort())
        return agent_store.details_of(conn, found, server.vault)

    return reply([agent_state(details) for details in await server.db.read(find)])


async def list_identity_blocks(
    caller: CallerDep, identity_id: IdentityId, query: Annotated[PageQuery, Depends()]
) -> Response:
    """A page of an identity's blocks."""
    page = query.page()

    def find(conn: Connection) -> list[Block]:
        identity_store.get(conn, caller.tenant, identity_id)
        wanted = BlockFilter(identity_id=identity_id, show_hidden=True)
        return block_store.list_page(conn, caller.tenant, wanted, page)

    return reply([block(each) for each in await caller.server.db.read(find)])


async def attach_identity(caller: CallerDep, agent_id: AgentId, identity_id: IdentityId) -> Response:
    """Give an agent to an identity."""
    return await _linked(caller, agent_id, identity_id, attached=True)


async def detach_identity(caller: CallerDep, agent_id: AgentId, identity_id: IdentityId) -> Response:
    """Take an agent from an identity."""
    return await _linked(caller, agent_id, identity_id, attached=False)


async def _linked(caller: Caller, agent_id: str, identity_id: str, *, attached: bool) -> Response:
    def link(conn: Connection) -> None:
        agent = agent_store.hold(conn, caller.tenant, agent_id)
        identity_store.get(conn, caller.tenant, identity_id)
        change = identity_store.attach if attached else identity_store.detach
        change(conn, agent.id, identity_id)

    await caller.server.db.write(link)
    return reply(agent_state(await details_of(caller, agent_id)))


async def _change(caller: Caller, identity_id: str, changes: IdentityChanges) -> Identity:
    def change(conn: Connection) -> Identity:
        before = identity_store.get(conn, caller.tenant, identity_id)
        return identity_store.update(conn, caller.tenant, before, changes)

    return await caller.server.db.write(change)
