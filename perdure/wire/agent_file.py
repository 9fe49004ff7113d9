"""Agent files (`.af`): agents written so that other servers can make them anew, and read whoever wrote them.

A file is one JSON object with lists of agents, blocks, tools and so on, each under an id of the file's own. Secrets are
names without values, and where models are served stays out of it. What the format has no place for (other
conversations, messages that left the context) stands under `perdure`, which other readers pass over.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from perdure.domain.agent_file import Contents, Library, Packed, Parcel, Thread, Unpacked, UnpackedThread
from perdure.domain.agents import MODERN, AgentDetails, AgentType
from perdure.domain.blocks import Block
from perdure.domain.errors import Invalid
from perdure.domain.ids import now
from perdure.domain.messages import Message
from perdure.domain.tools import Tool
from perdure.wire import blocks as block_wire
from perdure.wire import filed_company, filed_knowledge
from perdure.wire import tools as tool_wire
from perdure.wire.agent_bodies import CreateAgentBody, check_environment
from perdure.wire.conversations import CreateConversationBody
from perdure.wire.filed_messages import filed, unfiled_all
from perdure.wire.filed_older import is_older, newer
from perdure.wire.filed_tools import FiledToolBody
from perdure.wire.filing import OURS, Names, body, listed, maps, texts
from perdure.wire.models import embedding_config, llm_config, model_settings
from perdure.wire.times import precise

Wire = dict[str, Any]

VERSION: Final = 1
"""Of what stands under `perdure`."""
FORMAT: Final = "2"
"""The revision of the contract's format, as files name it."""

MAX_NAME: Final = 250
"""Characters of a name; what is added to it here fits in as well."""

LEFT_OUT: Final = {"skills": "skill(s)"}
"""Lists of a file that nothing is made of."""

_NOT_IN_NAMES: Final = re.compile(r"[^\w '\-]+")


def agent_file(parcel: Parcel) -> Wire:
    """The file of these agents."""
    name = Names()
    written = parcel.agents
    blocks = {block.id: block for each in written for block in each.details.blocks}
    tools = {tool.id: tool for each in written for tool in each.details.tools}
    libraries = {library.folder.id: library for each in written for library in each.folders}
    return {
        "agents": [_agent(each, parcel, name) for each in written],
        "groups": filed_company.groups(parcel.groups, blocks, name),
        "blocks": [{**block_wire.block(block), "id": name("block", block.id)} for block in blocks.values()],
        "files": filed_knowledge.files(libraries.values(), name),
        "sources": filed_knowledge.sources(libraries.values(), name),
        "tools": [{**tool_wire.tool(tool), "id": name("tool", tool.id)} for tool in tools.values()],
        "mcp_servers": filed_company.servers(parcel.servers, name),
        "skills": [],
        "metadata": {"revision_id": FORMAT},
        "created_at": precise(now()),
    }


def _agent(packed: Packed, parcel: Parcel, name: Names) -> Wire:
    details = packed.details
    agent = details.agent
    agent_id = name("agent", agent.id)
    messages = [filed(each, name("message", each.id), agent_id) for each in (packed.system, *packed.thread.context)]
    return {
        "id": agent_id,
        "name": agent.name,
        "agent_type": agent.agent_type,
        "system": agent.system,
        "description": agent.description,
        "metadata": agent.metadata,
        "memory_blocks": [],
        "tools": [],
        "tool_ids": [name("tool", tool.id) for tool in details.tools],
        "block_ids": [name("block", block.id) for block in details.blocks],
        "source_ids": [name("source", library.folder.id) for library in packed.folders],
        "folder_ids": [name("source", library.folder.id) for library in packed.folders],
        "group_ids": [
            name("group", group.id) for group in parcel.groups if agent.id in (group.manager_agent_id, *group.agent_ids)
        ],
        "files_agents": filed_knowledge.files_of(packed, name),
        "identity_ids": [],
        "tool_rules": list(agent.tool_rules),
        "tags": list(details.tags),
        "include_base_tools": False,
        "include_multi_agent_tools": False,
        "include_base_tool_rules": False,
        "include_default_source": False,
        **_models(details),
        "timezone": agent.timezone,
        "compaction_settings": agent.compaction_settings,
        "message_buffer_autoclear": agent.message_buffer_autoclear,
        "enable_sleeptime": agent.enable_sleeptime,
        "max_files_open": agent.max_files_open,
        "per_file_view_window_char_limit": agent.per_file_view_window_char_limit,
        "hidden": agent.hidden,
        "secrets": {each.key: "" for each in details.secrets},
        "tool_exec_environment_variables": {each.key: "" for each in details.secrets},
        "initial_message_sequence": None,
        "in_context_message_ids": [message["id"] for message in messages],
        "messages": messages,
        OURS: {
            "version": VERSION,
            "earlier_messages": _messages(packed.thread.earlier, name, agent_id),
            "archives": filed_knowledge.archives(packed.archives),
            "conversations": [_conversation(thread, name, agent_id) for thread in packed.others],
        },
    }


def _models(details: AgentDetails) -> Wire:
    """Which models an agent uses and how, without where they are served."""
    agent = details.agent
    embedding = agent.embedding
    return {
        "model": agent.model.handle,
        "llm_config": {**llm_config(agent), "model_endpoint": None},
        "model_settings": model_settings(agent),
        "context_window_limit": agent.context_window,
        "response_format": agent.response_format,
        "embedding": None if embedding is None else embedding.handle,
        "embedding_config": {**embedding_config(embedding, agent.embedding_chunk_size), "embedding_endpoint": None},
        "embedding_chunk_size": agent.embedding_chunk_size,
    }


def _messages(messages: Iterable[Message], name: Names, agent_id: str) -> list[Wire]:
    return [filed(each, name("message", each.id), agent_id) for each in messages]


def _conversation(thread: Thread, name: Names, agent_id: str) -> Wire:
    shown = thread.conversation
    return {
        "summary": shown.summary,
        "description": shown.description,
        "model": None if shown.model is None else shown.model.handle,
        "model_settings": shown.model_settings,
        "context_window_limit": shown.context_window_limit,
        "hidden": shown.hidden,
        "isolated_blocks": [block_wire.block(block) for block in thread.isolated],
        "earlier_messages": _messages(thread.earlier, name, agent_id),
        "messages": _messages(thread.context, name, agent_id),
    }


def contents(file: Any) -> Contents:
    """What a file holds. Raises Invalid saying what is wrong with it, and where."""
    if not isinstance(file, dict):
        raise Invalid("An agent file is a JSON object with a list of agents; this is something else.")
    if is_older(file):
        file = newer(file)
    if not isinstance(file.get("agents"), list):
        raise Invalid("This is no agent file: it has neither a list of agents nor the settings of a single one.")
    blocks = listed(
        file,
        "blocks",
        lambda wire: body(block_wire.CreateBlockBody, {**wire, "value": wire.get("value") or ""}).block(),
    )
    tools = listed(file, "tools", lambda wire: body(FiledToolBody, wire).tool())
    folders = filed_knowledge.libraries(file)
    agents = listed(file, "agents", lambda wire: _unpacked(wire, blocks, tools, folders))
    left_out = [f"{len(maps(file.get(key)))} {what}" for key, what in LEFT_OUT.items() if maps(file.get(key))]
    return Contents(
        agents=agents, blocks=blocks, tools=tools, folders=folders, groups=filed_company.read_groups(file, left_out),
        servers=filed_company.read_servers(file, left_out), left_out=tuple(left_out),
    )  # fmt: skip


def secrets(text: str | None) -> dict[str, str]:
    """Environment variables that an importer gives as JSON text. Raises Invalid where it is something else."""
    if not text:
        return {}
    try:
        given = msgspec.json.decode(text, type=dict[str, str])
        return {key: value or "" for key, value in check_environment(given).items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise Invalid(f"The secrets must be a JSON object of names and texts: {error}.") from error


def _unpacked(
    wire: Mapping[str, Any], blocks: Mapping[str, Block], tools: Mapping[str, Tool], folders: Mapping[str, Library]
) -> Unpacked:
    block_ids, tool_ids = _ids(wire, "block_ids", blocks), _ids(wire, "tool_ids", tools)
    folder_ids = _ids(wire, "source_ids", folders) or _ids(wire, "folder_ids", folders)
    inline = [] if block_ids else _inline_blocks(wire)
    names = texts(wire.get("tools"))
    said_twice = _IN_CONFIG if isinstance(wire.get("llm_config"), dict) else {}
    read = body(CreateAgentBody, {**wire, **_NOT_TAKEN, **said_twice, "name": _name(wire.get("name"))})
    new = msgspec.structs.replace(
        read.new_agent(), blocks=tuple(inline), tool_names=tuple(names), opening=(), secrets=_secrets(wire),
        include_base_tools=False, include_base_tool_rules=False,
    )  # fmt: skip
    ours = wire.get(OURS)
    ours = ours if isinstance(ours, dict) else {}
    threads = tuple(_thread(each) for each in maps(ours.get("conversations")))
    first = _first_thread(wire, ours, new.agent_type)
    return Unpacked(
        new=new, block_ids=block_ids, tool_ids=tool_ids, folder_ids=folder_ids, thread=first, others=threads,
        archives=filed_knowledge.stocks(ours.get("archives")), closed=filed_knowledge.closed(wire.get("files_agents")),
    )  # fmt: skip


_NOT_TAKEN: Final = dict.fromkeys(
    ("tools", "tool_ids", "block_ids", "memory_blocks", "identity_ids", "source_ids", "folder_ids", "secrets",
     "tool_exec_environment_variables", "initial_message_sequence", "enable_sleeptime", "include_default_source",
     "include_multi_agent_tools", "project_id", "template_id", "base_template_id")
)  # fmt: skip
"""Fields of an agent in a file that mean nothing here, or are read in another way."""

_IN_CONFIG: Final = dict.fromkeys(
    ("enable_reasoner", "reasoning", "max_tokens", "max_reasoning_tokens", "parallel_tool_calls")
)  # fmt: skip
"""Settings of the model, which in files stand in `llm_config`, and beside it as they are by default."""


def _ids(wire: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> tuple[str, ...]:
    ids = wire.get(key) or []
    if not isinstance(ids, list):
        raise Invalid(f"{key} is not a list")
    for each in ids:
        if not isinstance(each, str) or each not in known:
            raise Invalid(f"{key} names {str(each)[:60]!r}, which is not in the file")
    return tuple(ids)


def _inline_blocks(wire: Mapping[str, Any]) -> list[Block]:
    """Blocks that stand in the agent itself, under one of the names they have had."""
    memory = wire.get("memory")
    inner = memory.get("blocks") if isinstance(memory, dict) else None
    places = (wire.get("memory_blocks"), wire.get("core_memory"), inner)
    return [body(block_wire.CreateBlockBody, each).block() for place in places for each in maps(place)]


def _name(value: Any) -> str | None:
    """A name that an agent may have here, as close to that in the file as can be."""
    name = " ".join(_NOT_IN_NAMES.sub(" ", value).split()) if isinstance(value, str) else ""
    return name[:MAX_NAME] or None


def _secrets(wire: Mapping[str, Any]) -> dict[str, str]:
    """The names of an agent's secrets. Their values are for whoever imports it to give."""
    for key in ("secrets", "tool_exec_environment_variables"):
        given = wire.get(key)
        names = list(given) if isinstance(given, dict) else [each.get("key") for each in maps(given)]
        if names:
            return {each: "" for each in names if isinstance(each, str) and each and "=" not in each}
    return {}


def _first_thread(wire: Mapping[str, Any], ours: Mapping[str, Any], kind: AgentType) -> UnpackedThread:
    """The conversation that an agent's own messages are."""
    messages = unfiled_all(wire.get("messages"), thoughts=kind not in MODERN)
    shown = [each for each in texts(wire.get("in_context_message_ids")) if each in messages]
    context = [messages[each] for each in shown] if shown else list(messages.values())
    unseen = set(messages) - set(shown) if shown else set[str]()
    hidden = [message for key, message in messages.items() if key in unseen]
    earlier = [*unfiled_all(ours.get("earlier_messages")).values(), *hidden]
    if context and context[0].role == "system":
        del context[0]
    return UnpackedThread(earlier=tuple(earlier), context=tuple(context))


def _thread(wire: Mapping[str, Any]) -> UnpackedThread:
    return UnpackedThread(
        fields=body(CreateConversationBody, wire).fields(),
        earlier=tuple(unfiled_all(wire.get("earlier_messages")).values()),
        context=tuple(unfiled_all(wire.get("messages")).values()),
        isolated=tuple(body(block_wire.CreateBlockBody, each).block() for each in maps(wire.get("isolated_blocks"))),
    )
