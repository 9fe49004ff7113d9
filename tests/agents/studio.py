"""Agents made the way requests make them, on a real data file with known models."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from perdure.agents.create import create_agent
from perdure.agents.update import update_agent
from perdure.domain.agents import AgentChanges, AgentDetails, NewAgent
from perdure.domain.errors import NotFound
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.messages import Message
from perdure.domain.models import EmbeddingModel, Model
from perdure.store import messages, tools
from perdure.store.secrets import open_vault
from perdure.tools.registry import Registry
from perdure.wire.agent_bodies import CreateAgentBody, UpdateAgentBody
from tests.memory.home import LIMIT, Home

T = TypeVar("T")


def model(handle: str, context_window: int = 200_000, **fields: Any) -> Model:
    provider, _, name = handle.partition("/")
    kind = {"provider_type": provider, "endpoint_type": provider, **fields}
    return Model(handle=handle, name=name, provider_name=provider, context_window=context_window, **kind)


MODELS = {
    each.handle: each
    for each in (model("openai/gpt-4o"), model("anthropic/claude", 1_000_000), model("ollama/small", 8_000))
}
EMBEDDING = EmbeddingModel(
    handle="openai/embed", name="embed", provider_name="openai", provider_type="openai", endpoint_type="openai",
    dimensions=3,
)  # fmt: skip


class KnownModels:
    """A catalog of these models; agents get the first of them by default."""

    async def resolve(self, handle: str) -> Model:
        if handle not in MODELS:
            raise NotFound(f"Model {handle!r} not found")
        return MODELS[handle]

    async def resolve_embedding(self, handle: str) -> EmbeddingModel:
        if handle != EMBEDDING.handle:
            raise NotFound(f"Embedding model {handle!r} not found")
        return EMBEDDING

    async def default_model(self) -> str:
        return next(iter(MODELS))

    def default_embedding(self) -> str | None:
        return None


class Studio(Home):
    """An open data file with the server's tools in it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.vault = open_vault(directory, "pass")
        self.write(lambda conn: tools.seed(conn, DEFAULT_TENANT, Registry().builtin_tools()))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(asyncio.wait_for(work, LIMIT))

    def make(self, **body: Any) -> AgentDetails:
        """Make an agent from a request's body."""
        return self.make_from(CreateAgentBody.model_validate(body).new_agent())

    def make_from(self, new: NewAgent) -> AgentDetails:
        return self.run(create_agent(self.db, KnownModels(), self.vault, DEFAULT_TENANT, new))

    def change(self, agent_id: str, **body: Any) -> AgentDetails:
        """Change an agent by a request's body."""
        changes: AgentChanges = UpdateAgentBody.model_validate(body).changes()
        return self.run(update_agent(self.db, KnownModels(), self.vault, DEFAULT_TENANT, agent_id, changes))

    def context(self, details: AgentDetails) -> list[Message]:
        return self.read(lambda conn: messages.context(conn, details.agent.conversation_id))

    def system(self, details: AgentDetails) -> str:
        """The compiled system message."""
        return self.context(details)[0].text
