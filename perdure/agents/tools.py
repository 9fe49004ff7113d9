"""Giving an agent tools and taking them away: a new version each time, and the approvals that tools demand.

Where the agent has tool rules, its system message tells of those that are about its tools, so it is compiled anew.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from perdure.agents.default_rules import with_approvals
from perdure.domain.agents import Agent
from perdure.domain.errors import NotFound
from perdure.domain.tools import Tool
from perdure.loop.context import recompile
from perdure.store import agents as agent_store
from perdure.store import tools as tool_store


def attach_tool(conn: Connection, tenant: str, agent_id: str, tool_id: str) -> None:
    """Give an agent a tool, if it has it not. Raises NotFound for either."""
    attach_tools(conn, tenant, agent_id, [tool_store.get(conn, tenant, tool_id)])


def detach_tool(conn: Connection, tenant: str, agent_id: str, tool_id: str) -> None:
    """Take a tool from an agent, if it has it. Raises NotFound for either."""
    detach_tools(conn, tenant, agent_id, [tool_store.get(conn, tenant, tool_id)])


def attach_tools(conn: Connection, tenant: str, agent_id: str, tools: Sequence[Tool]) -> None:
    """Give an agent those of these tools that it has not. Raises NotFound."""
    agent = agent_store.hold(conn, tenant, agent_id)
    if _attach(conn, tenant, agent, tools):
        _tell_rules(conn, tenant, agent.id)


def detach_tools(conn: Connection, tenant: str, agent_id: str, tools: Sequence[Tool]) -> None:
    """Take those of these tools from an agent that it has. Raises NotFound."""
    agent = agent_store.hold(conn, tenant, agent_id)
    gone = [tool for tool in tools if tool_store.detach(conn, agent.id, tool.id)]
    if gone:
        agent_store.bump(conn, agent.id)
        _tell_rules(conn, tenant, agent.id)


def replace_tools(conn: Connection, tenant: str, agent_id: str, tool_ids: Sequence[str]) -> None:
    """Make these the tools of an agent. Raises Invalid naming the unknown ones."""
    agent = agent_store.hold(conn, tenant, agent_id)
    wanted = tool_store.by_ids(conn, tenant, tool_ids)
    kept = {tool.id for tool in wanted}
    detach_tools(conn, tenant, agent.id, [tool for tool in tool_store.of_agent(conn, agent.id) if tool.id not in kept])
    attach_tools(conn, tenant, agent.id, wanted)


def set_approval(conn: Connection, tenant: str, agent_id: str, tool_name: str, *, required: bool) -> None:
    """Say whether calls of a tool wait for a person's approval. Raises NotFound, also for a tool the agent lacks."""
    agent = agent_store.hold(conn, tenant, agent_id)
    names = [tool.name for tool in tool_store.of_agent(conn, agent.id)]
    if tool_name not in names:
        raise NotFound(f"Agent {agent.id} has no tool named {tool_name!r}. It has: {', '.join(names) or 'none'}.")
    rule = {"type": "requires_approval", "tool_name": tool_name}
    others = [each for each in agent.tool_rules if (each["type"], each["tool_name"]) != tuple(rule.values())]
    rules = (*others, rule) if required else tuple(others)
    agent_store.update(conn, tenant, agent, msgspec.structs.replace(agent, tool_rules=rules))


def _attach(conn: Connection, tenant: str, agent: Agent, tools: Sequence[Tool]) -> bool:
    fresh = [tool for tool in tools if tool_store.attach(conn, agent.id, tool.id)]
    if not fresh:
        return False
    rules = with_approvals(agent.tool_rules, fresh)
    agent_store.update(conn, tenant, agent, msgspec.structs.replace(agent, tool_rules=rules))
    if rules == agent.tool_rules:
        agent_store.bump(conn, agent.id)
    return True


def _tell_rules(conn: Connection, tenant: str, agent_id: str) -> None:
    agent = agent_store.get(conn, tenant, agent_id)
    if agent.tool_rules:
        recompile(conn, tenant, agent.id)
