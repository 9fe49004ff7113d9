"""A tool of an agent, called by whoever asks instead of the agent's model: outside any run, and kept nowhere."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import NotFound
from perdure.domain.ids import new_id
from perdure.domain.messages import ToolCallPart
from perdure.domain.tools import Tool
from perdure.loop.context import recompile
from perdure.store import agents as agent_store
from perdure.store import tools as tool_store
from perdure.store.database import Database
from perdure.tools.executor import Executor
from perdure.tools.implementation import Outcome, ToolContext


async def call_tool(
    db: Database, executor: Executor, tenant: str, agent_id: str, name: str, values: dict[str, Any]
) -> Outcome:
    """What comes of the call; whatever it leaves in our database is durable. Raises NotFound for agent and tool."""
    agent, tool = await db.read(lambda conn: _find(conn, tenant, agent_id, name))
    call = ToolCallPart(call_id=new_id("call"), name=name, arguments=msgspec.json.encode(values).decode())
    context = ToolContext(
        tenant=tenant, agent=agent, conversation_id=agent.conversation_id, run_id="", step_id="", call_id=call.call_id
    )
    ran = None if executor.is_transactional(tool) else await executor.run(tool, call, context)

    def keep(conn: Connection) -> Outcome:
        outcome = executor.kept(conn, tool, call, ran) if ran else executor.run_in(conn, tool, call, context)
        if outcome.changed_blocks:
            recompile(conn, tenant, agent.id)
        return outcome

    return await db.write(keep)


def _find(conn: Connection, tenant: str, agent_id: str, name: str) -> tuple[Agent, Tool]:
    agent = agent_store.get(conn, tenant, agent_id)
    tools = tool_store.of_agent(conn, agent.id)
    for tool in tools:
        if tool.name == name:
            return agent, tool
    has = ", ".join(tool.name for tool in tools) or "none"
    raise NotFound(f"Agent {agent_id} has no tool named {name[:80]}, only: {has}.")
