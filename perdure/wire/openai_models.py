"""Agents as models in the lists of OpenAI's clients."""

from collections.abc import Iterable
from typing import Any

from perdure.domain.agents import Agent
from perdure.domain.conversations import Conversation


def model_list(agents: Iterable[Agent]) -> dict[str, Any]:
    """Agents as a list of models. Their `name` is for those clients that show one."""
    return {"object": "list", "data": [_model(agent.id, agent.created_at) | {"name": agent.name} for agent in agents]}


def model_of(conversation: Conversation) -> dict[str, Any]:
    """What an agent, in its default conversation, or another conversation of one is as a model."""
    address = conversation.agent_id if conversation.is_default else conversation.id
    return _model(address, conversation.created_at)


def _model(address: str, created_at: int) -> dict[str, Any]:
    return {"id": address, "object": "model", "created": created_at // 1_000_000, "owned_by": "perdure"}
