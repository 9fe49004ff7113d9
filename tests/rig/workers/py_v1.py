"""Drives letta-client 1.x for the tests; see loop.py."""

from collections.abc import Iterator
from typing import Any

from letta_client import Letta
from loop import Operation, serve


def answered(response: Any) -> list[Any]:
    """A complete answer in the order a stream would bring it."""
    return [*response.messages, response.stop_reason, response.usage]


def example(client: Letta, source: str) -> Iterator[Any]:
    """Runs documentation as it stands and yields what its `response` yields."""
    names: dict[str, Any] = {}
    exec(source, names)
    yield from names["response"]


OPERATIONS: dict[str, Operation] = {
    "example": example,
    "health": lambda client: [client.health()],
    "models": lambda client: client.models.list(),
    "create_agent": lambda client, **fields: [client.agents.create(**fields)],
    "retrieve_agent": lambda client, agent_id: [client.agents.retrieve(agent_id)],
    "update_agent": lambda client, agent_id, **fields: [client.agents.update(agent_id, **fields)],
    "delete_agent": lambda client, agent_id: [client.agents.delete(agent_id)],
    "list_agents": lambda client, **query: client.agents.list(**query),
    "list_messages": lambda client, agent_id, **query: client.agents.messages.list(agent_id, **query),
    "create": lambda client, agent_id, **fields: answered(client.agents.messages.create(agent_id, **fields)),
    "stream": lambda client, agent_id, **fields: client.agents.messages.stream(agent_id, **fields),
    "create_streaming": lambda client, agent_id, **fields: client.agents.messages.create(
        agent_id, streaming=True, **fields
    ),
    "list_agent_blocks": lambda client, agent_id: client.agents.blocks.list(agent_id),
    "retrieve_agent_block": lambda client, agent_id, label: [client.agents.blocks.retrieve(label, agent_id=agent_id)],
    "update_agent_block": lambda client, agent_id, label, **fields: [
        client.agents.blocks.update(label, agent_id=agent_id, **fields)
    ],
    "attach_block": lambda client, agent_id, block_id: [client.agents.blocks.attach(block_id, agent_id=agent_id)],
    "detach_block": lambda client, agent_id, block_id: [client.agents.blocks.detach(block_id, agent_id=agent_id)],
    "create_block": lambda client, **fields: [client.blocks.create(**fields)],
    "retrieve_block": lambda client, block_id: [client.blocks.retrieve(block_id)],
    "update_block": lambda client, block_id, **fields: [client.blocks.update(block_id, **fields)],
    "delete_block": lambda client, block_id: [client.blocks.delete(block_id)],
    "list_blocks": lambda client, **query: client.blocks.list(**query),
    "retrieve_run": lambda client, run_id: [client.runs.retrieve(run_id)],
    "stream_run": lambda client, run_id, **fields: client.runs.messages.stream(run_id, **fields),
}

serve(lambda url: Letta(base_url=url, api_key="test"), OPERATIONS)
