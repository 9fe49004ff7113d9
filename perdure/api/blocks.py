"""Blocks: by themselves, and as an agent's memory."""

from typing import Annotated, Any

from fastapi import Depends, Query
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents import blocks as edits
from perdure.agents.create import MAKER
from perdure.api.agents import details_of
from perdure.api.auth import CallerDep
from perdure.api.paths import AgentId, BlockId
from perdure.api.queries import AgentPageQuery, BlockQuery, PageQuery
from perdure.api.reply import reply
from perdure.domain.agents import AgentDetails
from perdure.domain.blocks import Block, BlockVersion
from perdure.store import agents as agent_store
from perdure.store import block_history
from perdure.store import blocks as block_store
from perdure.store.agents import AgentFilter
from perdure.store.blocks import BlockFilter
from perdure.store.pages import DEFAULT_LIMIT
from perdure.wire.agents import agent_state, memory
from perdure.wire.blocks import CreateBlockBody, RestoreBlockBody, UpdateBlockBody, block, block_version


async def list_blocks(caller: CallerDep, query: Annotated[BlockQuery, Depends()]) -> Response:
    """A page of the blocks that match."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: block_store.list_page(conn, caller.tenant, wanted, page))
    return reply([block(each) for each in found])


async def count_blocks(caller: CallerDep, query: Annotated[BlockQuery, Depends()]) -> Response:
    """How many blocks match."""
    wanted = query.filter()
    return reply(await caller.server.db.read(lambda conn: block_store.count(conn, caller.tenant, wanted)))


async def create_block(caller: CallerDep, body: CreateBlockBody) -> Response:
    """Make a block that is attached to no agent yet."""
    made = body.block()
    await caller.server.db.write(lambda conn: block_store.create(conn, caller.tenant, made, actor=MAKER))
    return reply(block(made))


async def retrieve_block(caller: CallerDep, block_id: BlockId) -> Response:
    """One block."""
    return reply(block(await caller.server.db.read(lambda conn: block_store.get(conn, caller.tenant, block_id))))


async def update_block(caller: CallerDep, block_id: BlockId, body: UpdateBlockBody) -> Response:
    """Change a block, for every agent it is attached to."""
    changes = body.changes()

    def edit(conn: Connection) -> Block:
        found = block_store.get(conn, caller.tenant, block_id)
        return edits.edit_block(conn, caller.tenant, found, changes, actor=MAKER, seen=body.version)

    return reply(block(await caller.server.db.write(edit)))


async def delete_block(caller: CallerDep, block_id: BlockId) -> Response:
    """Delete a block, also from the agents it is attached to."""
    await caller.server.db.write(lambda conn: edits.delete_block(conn, caller.tenant, block_id))
    return reply({"message": f"Block {block_id} deleted"})


async def list_block_history(
    caller: CallerDep,
    block_id: BlockId,
    before: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1, le=block_history.KEPT)] = DEFAULT_LIMIT,
) -> Response:
    """The values a block has had, newest first, each with who wrote it and when; `before` is a version."""

    def find(conn: Connection) -> list[BlockVersion]:
        block_store.get(conn, caller.tenant, block_id)
        return block_history.versions(conn, block_id, before=before, limit=limit)

    return reply([block_version(each) for each in await caller.server.db.read(find)])


async def restore_block(caller: CallerDep, block_id: BlockId, body: RestoreBlockBody) -> Response:
    """Give a block the value of an earlier version again, for every agent it is attached to."""

    def restore(conn: Connection) -> Block:
        return edits.restore_block(conn, caller.tenant, block_id, body.version, actor=MAKER)

    return reply(block(await caller.server.db.write(restore)))


async def list_block_agents(
    caller: CallerDep, block_id: BlockId, query: Annotated[AgentPageQuery, Depends()]
) -> Response:
    """A page of the agents a block is attached to, with their relations."""
    server, page = caller.server, query.page()

    def find(conn: Connection) -> list[AgentDetails]:
        block_store.get(conn, caller.tenant, block_id)
        wanted = AgentFilter(block_id=block_id, show_hidden=True)
        found = agent_store.list_page(conn, caller.tenant, wanted, page, query.sort())
        return agent_store.details_of(conn, found, server.vault)

    return reply([agent_state(details) for details in await server.db.read(find)])


async def retrieve_core_memory(caller: CallerDep, agent_id: AgentId) -> Response:
    """An agent's whole memory, as 0.1.x reads it."""
    return reply(memory(await details_of(caller, agent_id)))


async def list_memory_variables(caller: CallerDep, agent_id: AgentId) -> Response:
    """The variables that a template gave an agent: none, since templates belong to the hosted service."""
    await caller.server.db.read(lambda conn: agent_store.get(conn, caller.tenant, agent_id))
    return reply({"variables": {}})


async def list_agent_blocks(caller: CallerDep, agent_id: AgentId, query: Annotated[PageQuery, Depends()]) -> Response:
    """A page of an agent's blocks."""
    page = query.page()

    def find(conn: Connection) -> list[Block]:
        agent_store.get(conn, caller.tenant, agent_id)
        wanted = BlockFilter(agent_id=agent_id, show_hidden=True)
        return block_store.list_page(conn, caller.tenant, wanted, page)

    return reply([block(each) for each in await caller.server.db.read(find)])


async def retrieve_agent_block(caller: CallerDep, agent_id: AgentId, block_label: str) -> Response:
    """An agent's block by its label."""
    return reply(block(await caller.server.db.read(lambda conn: _labelled(conn, caller.tenant, agent_id, block_label))))


async def update_agent_block(caller: CallerDep, agent_id: AgentId, block_label: str, body: UpdateBlockBody) -> Response:
    """Change an agent's block by its label; every agent it is attached to sees it."""
    changes: dict[str, Any] = body.changes()

    def edit(conn: Connection) -> Block:
        found = _labelled(conn, caller.tenant, agent_id, block_label)
        return edits.edit_block(conn, caller.tenant, found, changes, actor=MAKER, seen=body.version)

    return reply(block(await caller.server.db.write(edit)))


async def attach_block(caller: CallerDep, agent_id: AgentId, block_id: BlockId) -> Response:
    """Attach a block to an agent."""
    vault = caller.server.vault

    def attach(conn: Connection) -> AgentDetails:
        edits.attach_block(conn, caller.tenant, agent_id, block_id)
        return agent_store.details(conn, caller.tenant, agent_id, vault)

    return reply(agent_state(await caller.server.db.write(attach)))


async def detach_block(caller: CallerDep, agent_id: AgentId, block_id: BlockId) -> Response:
    """Detach a block from an agent; the block stays."""
    vault = caller.server.vault

    def detach(conn: Connection) -> AgentDetails:
        edits.detach_block(conn, caller.tenant, agent_id, block_id)
        return agent_store.details(conn, caller.tenant, agent_id, vault)

    return reply(agent_state(await caller.server.db.write(detach)))


def _labelled(conn: Connection, tenant: str, agent_id: str, label: str) -> Block:
    return block_store.labelled(conn, agent_store.get(conn, tenant, agent_id).id, label)
