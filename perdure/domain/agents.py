"""An agent is stored state and settings: who it is, which model it uses, which blocks and tools it has."""

from typing import Any, Final, Literal

import msgspec

from perdure.domain.blocks import Block
from perdure.domain.folders import Folder
from perdure.domain.groups import Group
from perdure.domain.identities import Identity
from perdure.domain.messages import Message
from perdure.domain.models import EmbeddingModel, Model, ModelSettings, default_window, reasons
from perdure.domain.runs import StopReason
from perdure.domain.tools import Tool

AgentType = Literal[
    "memgpt_agent",
    "memgpt_v2_agent",
    "letta_v1_agent",
    "react_agent",
    "workflow_agent",
    "split_thread_agent",
    "sleeptime_agent",
    "voice_convo_agent",
    "voice_sleeptime_agent",
]
DEFAULT_AGENT_TYPE: Final[AgentType] = "letta_v1_agent"

MODERN: Final[frozenset[AgentType]] = frozenset({"letta_v1_agent", "sleeptime_agent"})
"""Types that speak in plain text, call tools when they want to, and go on until they do not."""

COMPANIONS: Final[frozenset[AgentType]] = frozenset({"sleeptime_agent", "voice_sleeptime_agent"})
"""Types that look after another agent's memory, and have nobody to look after theirs."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent without its relations.

    `version` rises with every change a model call could see (settings, tools, rules; not blocks, which live in the
    stored system message), so a snapshot of it can be kept and trusted. `context_window` is in tokens.
    """

    id: str
    name: str
    conversation_id: str
    system: str
    model: Model
    context_window: int
    created_at: int
    updated_at: int
    version: int = 1
    agent_type: AgentType = DEFAULT_AGENT_TYPE
    settings: ModelSettings = ModelSettings()
    model_settings: dict[str, Any] | None = None
    embedding: EmbeddingModel | None = None
    embedding_chunk_size: int = 300
    description: str | None = None
    metadata: dict[str, Any] = {}
    tool_rules: tuple[dict[str, Any], ...] = ()
    compaction_settings: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    timezone: str = "UTC"
    message_buffer_autoclear: bool = False
    enable_sleeptime: bool = False
    max_files_open: int | None = None
    per_file_view_window_char_limit: int | None = None
    hidden: bool | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    last_run_completion: int | None = None
    last_run_duration_ms: int | None = None
    last_stop_reason: StopReason | None = None


def window_with(agent: Agent, model: Model) -> int:
    """The context window, in tokens, of an agent that gets this model and no word about its window."""
    if model == agent.model:
        return agent.context_window
    if agent.context_window == default_window(agent.model):
        return default_window(model)
    return min(agent.context_window, model.context_window)


def thinks_in_arguments(agent: Agent, model: Model) -> bool:
    """Whether an agent, working with this model, writes its thoughts as an argument of its calls.

    Older types do where the model does not think by itself, unless their settings say otherwise.
    """
    if agent.agent_type in MODERN:
        return False
    chosen = agent.settings.thoughts_in_arguments
    return chosen if chosen is not None else agent.settings.reasoning and not reasons(model)


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A value that an agent's tools may read from their environment."""

    id: str
    agent_id: str
    key: str
    value: str
    created_at: int
    updated_at: int
    description: str | None = None


class AgentDetails(msgspec.Struct, frozen=True, kw_only=True):
    """An agent with its relations, as the API shows it. `group` is the one that it manages."""

    agent: Agent
    blocks: tuple[Block, ...] = ()
    tools: tuple[Tool, ...] = ()
    folders: tuple[Folder, ...] = ()
    tags: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    message_ids: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()
    group: Group | None = None
    pending_approval: Message | None = None


class ModelChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which models an agent is to use, and how. None leaves a thing as it is, or to the server.

    `llm_config` and `embedding_config` are the contract's older, full objects, and win over handles. `max_tokens` of
    None lifts the limit on answers; unset leaves it.
    """

    model: str | None = None
    embedding: str | None = None
    llm_config: dict[str, Any] | None = None
    embedding_config: dict[str, Any] | None = None
    model_settings: dict[str, Any] | None = None
    context_window: int | None = None
    max_tokens: int | msgspec.UnsetType | None = msgspec.UNSET
    max_reasoning_tokens: int | None = None
    reasoning: bool | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None


class NewAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent to be made. `attributes` are plain fields of `Agent`; `opening` of None means its type's own."""

    choice: ModelChoice = ModelChoice()
    name: str | None = None
    agent_type: AgentType = DEFAULT_AGENT_TYPE
    system: str | None = None
    attributes: dict[str, Any] = {}
    blocks: tuple[Block, ...] = ()
    block_ids: tuple[str, ...] = ()
    tool_names: tuple[str, ...] = ()
    tool_ids: tuple[str, ...] = ()
    tool_rules: tuple[dict[str, Any], ...] | None = None
    include_base_tools: bool = True
    include_multi_agent_tools: bool = False
    include_base_tool_rules: bool | None = None
    tags: tuple[str, ...] = ()
    secrets: dict[str, str] = {}
    identity_ids: tuple[str, ...] = ()
    folder_ids: tuple[str, ...] = ()
    include_default_folder: bool = False
    opening: tuple[Message, ...] | None = None


class AgentChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of an agent. None leaves a relation as it is, a tuple or mapping replaces it whole.

    `attributes` are plain fields of `Agent`; `compaction_settings` are merged into what is there.
    """

    choice: ModelChoice = ModelChoice()
    attributes: dict[str, Any] = {}
    compaction_settings: dict[str, Any] | None = None
    block_ids: tuple[str, ...] | None = None
    tool_ids: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    secrets: dict[str, str] | None = None
    identity_ids: tuple[str, ...] | None = None
    folder_ids: tuple[str, ...] | None = None
    message_ids: tuple[str, ...] | None = None
