"""Makes an agent: models are looked up first, then everything is stored in one transaction."""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from perdure.agents.default_rules import starting_rules
from perdure.agents.folders import open_first, replace_folders
from perdure.agents.model_choice import Catalog, Chosen, overlay, resolve
from perdure.agents.names import random_name
from perdure.agents.opening import opening
from perdure.agents.prompts import BLOCK_DESCRIPTIONS, COMPANION_PERSONA, system_prompt
from perdure.domain.agents import COMPANIONS, Agent, AgentDetails, NewAgent
from perdure.domain.blocks import Block
from perdure.domain.conversations import Conversation
from perdure.domain.folders import Folder
from perdure.domain.groups import DEFAULT_FREQUENCY, VOICE_BUFFER, Group
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message, TextPart
from perdure.domain.models import EmbeddingModel, Model, ModelSettings, default_window
from perdure.domain.tools import Tool
from perdure.loop.context import compile_system
from perdure.store import agents as agent_store
from perdure.store import blocks as block_store
from perdure.store import conversations as conversation_store
from perdure.store import folders as folder_store
from perdure.store import groups as group_store
from perdure.store import identities as identity_store
from perdure.store import messages as message_store
from perdure.store import secrets as secret_store
from perdure.store import tools as tool_store
from perdure.store.database import Database
from perdure.store.secrets import Vault
from perdure.tools.builtin.agents import NAMES as MULTI_AGENT_TOOLS
from perdure.tools.registry import DEFAULT_TOOLS, TENDED_TOOLS

MAKER: Final = "api"
"""Who wrote what came in by a request, as a block's history says it."""

_ANSWER: Final = frozenset({"response_format", "response_schema"})
"""Settings of a model that give its answers a form."""


async def create_agent(db: Database, catalog: Catalog, vault: Vault, tenant: str, new: NewAgent) -> AgentDetails:
    """Make an agent with its blocks, tools, default conversation and opening messages, all or nothing.

    Raises NotFound for an unknown model, block, folder or identity, Invalid for unknown tools and values that
    contradict, Conflict for two blocks of one label, Unprocessable where a prompt is missing, NotBuilt for what this
    version lacks.
    """
    agent = await prepare(catalog, tenant, new)
    made = await db.write(lambda conn: store(conn, tenant, vault, agent, new))
    if new.folder_ids:
        await open_first(db, tenant, agent.id)
    return made


async def prepare(catalog: Catalog, tenant: str, new: NewAgent) -> Agent:
    """The agent that is to be stored, with the models that it names. Raises what `create_agent` raises of those."""
    chosen = await resolve(catalog, tenant, new.choice)
    model = chosen.model or await catalog.resolve(tenant, await catalog.default_model(tenant))
    default = (
        catalog.default_embedding() if new.choice.embedding is None and new.choice.embedding_config is None else None
    )
    embedding = chosen.embedding if default is None else await catalog.resolve_embedding(tenant, default)
    return _agent(new, model, embedding)


def give_companion(conn: Connection, tenant: str, vault: Vault, agent: Agent) -> None:
    """Give an agent, which the caller holds, another that looks after its memory, unless it has one or is one.

    The companion shares all its blocks, and has one more for itself.
    """
    if agent.agent_type in COMPANIONS or group_store.asleep(conn, agent.id) is not None:
        return
    voice = agent.agent_type == "voice_convo_agent"
    new = NewAgent(
        name=f"{agent.name}-sleeptime", agent_type="voice_sleeptime_agent" if voice else "sleeptime_agent",
        blocks=(_persona(),), block_ids=tuple(block.id for block in block_store.of_agent(conn, agent.id)),
        attributes={"timezone": agent.timezone, "project_id": agent.project_id, "hidden": agent.hidden},
    )  # fmt: skip
    sent = {key: value for key, value in (agent.model_settings or {}).items() if key not in _ANSWER}
    companion = msgspec.structs.replace(
        _agent(new, agent.model, agent.embedding), context_window=agent.context_window,
        # The form of an answer that a program reads is not for one that only calls tools.
        settings=msgspec.structs.replace(agent.settings, response_format=None),
        model_settings=sent or None,
    )  # fmt: skip
    store(conn, tenant, vault, companion, new)
    config = {"max_message_buffer_length": VOICE_BUFFER, "min_message_buffer_length": VOICE_BUFFER // 2}
    group = Group(
        id=new_id("group"), description=f"Looks after the memory of {agent.name}",
        manager_type="voice_sleeptime" if voice else "sleeptime", manager_agent_id=agent.id,
        manager_config=config if voice else {"sleeptime_agent_frequency": DEFAULT_FREQUENCY},
        agent_ids=(companion.id,), created_at=companion.created_at, updated_at=companion.created_at,
    )  # fmt: skip
    group_store.create(conn, tenant, group)


def _persona() -> Block:
    at = now()
    return Block(
        id=new_id("block"), label="memory_persona", value=COMPANION_PERSONA, description=BLOCK_DESCRIPTIONS["persona"],
        created_at=at, updated_at=at,
    )  # fmt: skip


def _agent(new: NewAgent, model: Model, embedding: EmbeddingModel | None) -> Agent:
    at = now()
    attributes: dict[str, Any] = dict(new.attributes)
    if new.agent_type == "workflow_agent":
        attributes["message_buffer_autoclear"] = True
    if "role:subagent" in new.tags:
        attributes["hidden"] = True
    if new.choice.embedding_config and new.choice.embedding_config.get("embedding_chunk_size"):
        attributes.setdefault("embedding_chunk_size", new.choice.embedding_config["embedding_chunk_size"])
    agent = Agent(
        id=new_id("agent"),
        name=new.name if new.name is not None else random_name(),
        conversation_id=new_id("conv"),
        agent_type=new.agent_type,
        system=new.system if new.system is not None else system_prompt(new.agent_type),
        model=model,
        context_window=default_window(model),
        # The settings object of 1.x means parallel calls unless it says otherwise; without it they are off.
        settings=ModelSettings(parallel_tool_calls=new.choice.model_settings is not None),
        embedding=embedding,
        created_at=at,
        updated_at=at,
        **attributes,
    )
    return overlay(agent, new.choice, Chosen(model, embedding))


def store(conn: Connection, tenant: str, vault: Vault, agent: Agent, new: NewAgent) -> AgentDetails:
    """Store an agent that `prepare` made, with all its relations. Raises what `create_agent` raises of those."""
    tools = _tools(conn, tenant, new)
    agent = msgspec.structs.replace(agent, tool_rules=starting_rules(new, agent.model, tools))
    agent_store.create(conn, tenant, agent)
    conversation_store.create(
        conn,
        tenant,
        Conversation(
            id=agent.conversation_id,
            agent_id=agent.id,
            created_at=agent.created_at,
            updated_at=agent.created_at,
            is_default=True,
        ),
    )
    blocks = _attach_blocks(conn, tenant, agent, new)
    for tool in tools:
        tool_store.attach(conn, agent.id, tool.id)
    agent_store.set_tags(conn, agent.id, new.tags)
    if new.secrets:
        secret_store.replace(conn, agent.id, new.secrets, vault)
    if new.identity_ids:
        identity_store.set_of_agent(conn, tenant, agent.id, new.identity_ids)
    held = compile_system(agent, blocks, tool_names=[tool.name for tool in tools], now=agent.created_at)
    system = Message(
        id=new_id("message"),
        agent_id=agent.id,
        role="system",
        parts=(TextPart(text=held.under(agent.system)),),
        created_at=agent.created_at,
    )
    message_store.append(conn, tenant, agent.conversation_id, (system, *opening(agent, tools, new.opening, now())))
    if folder_ids := _folders(conn, tenant, agent, new):
        replace_folders(conn, tenant, agent.id, folder_ids)
    if agent.enable_sleeptime:
        give_companion(conn, tenant, vault, agent)
    return agent_store.details(conn, tenant, agent.id, vault)


def _tools(conn: Connection, tenant: str, new: NewAgent) -> list[Tool]:
    names = (
        *(_base_tools(new) if new.include_base_tools else ()),
        *(MULTI_AGENT_TOOLS if new.include_multi_agent_tools else ()),
        *new.tool_names,
    )
    found = [*tool_store.by_names(conn, tenant, names), *tool_store.by_ids(conn, tenant, new.tool_ids)]
    return list({tool.id: tool for tool in found}.values())


def _base_tools(new: NewAgent) -> tuple[str, ...]:
    usual = DEFAULT_TOOLS[new.agent_type]
    return TENDED_TOOLS.get(new.agent_type, usual) if new.attributes.get("enable_sleeptime") else usual


def _folders(conn: Connection, tenant: str, agent: Agent, new: NewAgent) -> list[str]:
    """The folders it is to have, a new one of its own among them where that is asked for."""
    wanted = list(new.folder_ids)
    if new.include_default_folder:
        own_name = f"{agent.name} External Data Source"
        own = Folder(
            id=new_id("source"), name=folder_store.free_name(conn, tenant, own_name), created_at=agent.created_at,
            updated_at=agent.created_at, embedding=agent.embedding,
        )  # fmt: skip
        folder_store.create(conn, tenant, own)
        wanted.append(own.id)
    return wanted


def _attach_blocks(conn: Connection, tenant: str, agent: Agent, new: NewAgent) -> list[Block]:
    blocks: list[Block] = []
    for index, block in enumerate(new.blocks):
        description = block.description if block.description is not None else BLOCK_DESCRIPTIONS.get(block.label)
        at = agent.created_at + index
        block = msgspec.structs.replace(block, description=description, created_at=at, updated_at=at)
        block_store.create(conn, tenant, block, actor=MAKER)
        blocks.append(block)
    blocks += block_store.hold(conn, tenant, new.block_ids)
    for block in blocks:
        block_store.attach(conn, agent.id, block)
    return blocks
