"""Groups made and changed, with what that gives their agents: shared blocks, a leader's tool, a memory looked after."""

from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.agents.blocks import attach_block
from perdure.agents.tools import attach_tool
from perdure.agents.update import refuse_running
from perdure.domain.errors import Unprocessable
from perdure.domain.groups import SLEEPTIME, Group, GroupChanges
from perdure.store import agents as agent_store
from perdure.store import errands as errand_store
from perdure.store import groups as group_store
from perdure.store import tools as tool_store
from perdure.store.runs import RunFilter
from perdure.tools.builtin.agents import BROADCAST

LED: Final = "A {type} group is managed by an agent. Name it as manager_agent_id."


def create_group(conn: Connection, tenant: str, group: Group) -> Group:
    """Make a group. Raises NotFound for an agent or a block, Unprocessable without a manager where one is needed."""
    _check(group)
    made = group_store.create(conn, tenant, group)
    _equip(conn, tenant, made)
    return made


def update_group(conn: Connection, tenant: str, before: Group, changes: GroupChanges) -> Group:
    """Change a group. Raises what `create_group` raises."""
    _check(msgspec.structs.replace(before, **changes.fields))
    changed = group_store.update(conn, tenant, before, changes)
    _equip(conn, tenant, changed)
    return changed


def delete_group(conn: Connection, tenant: str, group_id: str) -> None:
    """Delete a group; its agents stay. Raises NotFound, and Busy while it has runs to be ended."""
    group = group_store.get(conn, tenant, group_id)
    refuse_running(conn, tenant, "The group cannot be deleted", RunFilter(conversation_id=group.id))
    group_store.delete(conn, tenant, group.id)


def reset_group(conn: Connection, tenant: str, group_id: str) -> None:
    """Take what was said in a group out of its members' contexts; history keeps it, and is the group's no more.

    Raises NotFound, and Busy while somebody works on it.
    """
    group = group_store.get(conn, tenant, group_id)
    refuse_running(conn, tenant, "The group cannot be reset", RunFilter(conversation_id=group.id))
    for agent_id in group.agent_ids:
        agent_store.hold(conn, tenant, agent_id, alone=True)
        refuse_running(conn, tenant, "The group cannot be reset", RunFilter(agent_ids=(agent_id,)))
    group_store.forget(conn, group.id, errand_store.turns_of_group(conn, group.id))


def _check(group: Group) -> None:
    if group.manager_type != "round_robin" and group.manager_agent_id is None:
        raise Unprocessable(LED.format(type=group.manager_type), ("body", "manager_config", "manager_agent_id"))


def _equip(conn: Connection, tenant: str, group: Group) -> None:
    for block_id in group.shared_block_ids:
        for agent_id in group.agent_ids:
            attach_block(conn, tenant, agent_id, block_id)
    if group.manager_agent_id is None:
        return
    if group.manager_type == "supervisor":
        for tool in tool_store.by_names(conn, tenant, (BROADCAST,)):
            attach_tool(conn, tenant, group.manager_agent_id, tool.id)
    if group.manager_type in SLEEPTIME:
        manager = agent_store.hold(conn, tenant, group.manager_agent_id)
        agent_store.update(conn, tenant, manager, msgspec.structs.replace(manager, enable_sleeptime=True))
