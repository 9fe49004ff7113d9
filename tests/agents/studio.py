"""Agents made the way requests make them, on a real database with known models."""

from pathlib import Path
from typing import Any

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
from tests.memory.home import Home
from tests.rig.stores import Place


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

    async def resolve(self, tenant: str, handle: str) -> Model:
        if handle not in MODELS:
            raise NotFound(f"Model {handle!r} not found")
        return MODELS[handle]

    async def resolve_embedding(self, tenant: str, handle: str) -> EmbeddingModel:
        if handle != EMBEDDING.handle:
            raise NotFound(f"Embedding model {handle!r} not found")
        return EMBEDDING

    async def default_model(self, tenant: str) -> str:
        return next(iter(MODELS))

    def default_embedding(self) -> str | None:
        return None


class Studio(Home):
    """An open database with the server's tools in it."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.vault = open_vault(Path(), "pass")
        self.write(lambda conn: tools.seed(conn, DEFAULT_TENANT, Registry().builtin_tools()))

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
