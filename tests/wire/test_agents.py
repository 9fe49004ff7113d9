"""Agents, blocks, tools and models as said: every field both SDK generations read."""

from typing import Any

import msgspec
import pytest

from perdure.domain.agents import Agent, AgentDetails, Secret
from perdure.domain.blocks import Block
from perdure.domain.identities import Identity
from perdure.domain.models import EmbeddingModel, Model, ModelSettings
from perdure.domain.tools import Tool
from perdure.wire.agents import agent_state, memory
from perdure.wire.blocks import block
from perdure.wire.models import embedding_model, model
from perdure.wire.tools import tool

MODEL = Model(
    handle="perdure/offline", name="offline", provider_name="perdure", provider_type="perdure", endpoint_type="none",
    context_window=1000,
)  # fmt: skip
EMBEDDING = EmbeddingModel(
    handle="ollama/embed", name="embed", provider_name="ollama", provider_type="ollama", endpoint_type="ollama",
    dimensions=3,
)  # fmt: skip
BLOCK = Block(id="block-1", label="human", value="Bob", created_at=1, updated_at=1, template_name="t", tags=("a",))
TOOL = Tool(id="tool-1", name="look", tool_type="custom", description="Looks.", json_schema={}, metadata={"m": 1})
IDENTITY = Identity(id="identity-1", identifier_key="ada", name="Ada", identity_type="user", created_at=1, updated_at=1)
SECRET = Secret(id="agent-env-1", agent_id="agent-1", key="K", value="v", created_at=1, updated_at=1)


def details(**fields: Any) -> AgentDetails:
    agent = Agent(
        id="agent-1", name="Ada", conversation_id="conv-1", system="Help.", model=MODEL, context_window=500,
        created_at=1_767_225_600_000_001, updated_at=1, **fields,
    )  # fmt: skip
    return AgentDetails(
        agent=agent, blocks=(BLOCK,), tools=(TOOL,), tags=("t",), secrets=(SECRET,), message_ids=("message-1",),
        identities=(IDENTITY,),
    )  # fmt: skip


def test_both_generations_find_their_fields() -> None:
    said = agent_state(details(embedding=EMBEDDING))
    assert said["blocks"] == said["memory"]["blocks"] == [block(BLOCK)]
    assert said["secrets"] == said["tool_exec_environment_variables"]
    assert (said["model"], said["llm_config"]["handle"]) == ("perdure/offline", "perdure/offline")
    assert (said["embedding"], said["embedding_config"]["embedding_dim"]) == ("ollama/embed", 3)
    assert (said["tags"], said["message_ids"], said["identity_ids"]) == (["t"], ["message-1"], ["identity-1"])
    assert [each["identifier_key"] for each in said["identities"]] == ["ada"]
    assert said["created_at"] == "2026-01-01T00:00:00.000001+00:00"
    assert {"managed_group", "multi_agent_group", "sources", "identities", "pending_approval"} <= said.keys()
    msgspec.json.encode(said)


def test_the_window_is_the_agents_own() -> None:
    assert agent_state(details())["llm_config"]["context_window"] == 500


def test_types_the_contract_does_not_know_become_ones_it_does() -> None:
    said = agent_state(details())
    assert said["llm_config"]["model_endpoint_type"] == "openai"
    assert said["model_settings"]["provider_type"] == "openai"
    assert model(MODEL)["provider_type"] == "letta"


def test_an_agent_without_embeddings_has_an_old_config_that_says_so() -> None:
    said = agent_state(details())
    assert said["embedding"] is None
    assert (said["embedding_config"]["embedding_model"], said["embedding_config"]["embedding_dim"]) == ("none", 0)


def test_settings_show_what_was_sent_and_what_counts() -> None:
    settings = ModelSettings(temperature=0.5, max_output_tokens=9, reasoning_effort="max", max_reasoning_tokens=3)
    said = agent_state(details(settings=settings, model_settings={"temperature": 0.1, "effort": "max"}))
    assert said["model_settings"] == {
        "provider_type": "openai", "effort": "max", "temperature": 0.5, "max_output_tokens": 9,
        "parallel_tool_calls": False,
    }  # fmt: skip
    config = said["llm_config"]
    assert (config["temperature"], config["max_tokens"], config["max_reasoning_tokens"]) == (0.5, 9, 3)
    assert (config["effort"], config["reasoning_effort"]) == ("max", None)


def test_a_block_has_the_name_of_either_generation() -> None:
    said = block(BLOCK)
    assert said["name"] == said["template_name"] == "t"
    assert (said["limit"], said["tags"]) == (100_000, ["a"])


def test_a_tools_metadata_has_the_contracts_name() -> None:
    assert tool(TOOL)["metadata_"] == {"m": 1}


def test_memory_is_a_container() -> None:
    assert memory(details())["agent_type"] == "letta_v1_agent"


@pytest.mark.parametrize("field", ["name", "max_context_window", "provider_type", "model", "model_endpoint_type"])
def test_a_listed_model_has_the_fields_both_generations_need(field: str) -> None:
    assert model(MODEL)[field]


def test_a_listed_embedding_model_has_the_fields_both_generations_need() -> None:
    said = embedding_model(EMBEDDING)
    needed = ("display_name", "name", "provider_name", "provider_type", "embedding_model", "embedding_endpoint_type")
    assert all(said[field] for field in needed)
    assert (said["embedding_dim"], said["model_type"]) == (3, "embedding")
