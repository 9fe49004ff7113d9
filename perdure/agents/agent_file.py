"""Agents written to files, and made anew of them. An import is inert: it runs, fetches and connects to nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.agents.conversations import open_conversation, resolved
from perdure.agents.create import MAKER, prepare, store
from perdure.agents.filed_company import Vet, company, pack_servers, store_groups, store_servers
from perdure.agents.filed_knowledge import Models, pack_archives, pack_folders, store_archives, store_folder
from perdure.agents.model_choice import Catalog
from perdure.agents.uploads import Background
from perdure.domain.agent_file import (
    Contents,
    Imported,
    ImportOptions,
    Packed,
    Parcel,
    Thread,
    Unpacked,
    UnpackedThread,
)
from perdure.domain.agents import COMPANIONS, Agent, NewAgent
from perdure.domain.blocks import Block
from perdure.domain.conversations import Conversation
from perdure.domain.errors import Invalid, NotFound
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message
from perdure.domain.models import EmbeddingModel
from perdure.domain.tools import CUSTOM, Tool
from perdure.loop.approval import pending_in
from perdure.loop.context import mended, recompile
from perdure.store import agent_files, conversation_blocks
from perdure.store import agents as agent_store
from perdure.store import blocks as block_store
from perdure.store import conversations as conversation_store
from perdure.store import messages as message_store
from perdure.store import tools as tool_store
from perdure.store.conversations import ConversationFilter
from perdure.store.database import Database
from perdure.store.pages import MAX_LIMIT, Page
from perdure.store.secrets import Vault
from perdure.store.tools import ToolFilter
from perdure.tools.making import PYTHON_SOURCE
from perdure.tools.source import schema_of

MOST_EARLIER: Final = 10_000
"""Messages beyond its contexts that are written of an agent, the newest of each conversation first."""

COPY: Final = "_copy"
"""What the name of an imported agent ends with, unless that is not wanted."""


def pack(
    conn: Connection,
    tenant: str,
    vault: Vault,
    agent_id: str,
    *,
    conversation_id: str | None,
    scrub: bool,
    groups: bool = False,
) -> Parcel:
    """An agent with its history and all it knows, to be written to a file; with `scrub` without messages and passages.

    Those that look after its memory come along; with `groups`, all those of its groups. With a `conversation_id` that
    is the conversation which a reader of the file goes on with, and the only one. Raises NotFound; Unavailable where
    secrets cannot be opened.
    """
    first = _packed(conn, tenant, vault, agent_id, conversation_id=conversation_id, scrub=scrub)
    ids, bound = company(conn, agent_id, groups=groups)
    others = [_packed(conn, tenant, vault, each, conversation_id=None, scrub=scrub) for each in ids]
    agents = (first, *others)
    return Parcel(agents=agents, groups=bound, servers=pack_servers(conn, tenant, agents))


def _packed(
    conn: Connection, tenant: str, vault: Vault, agent_id: str, *, conversation_id: str | None, scrub: bool
) -> Packed:
    details = agent_store.details(conn, tenant, agent_id, vault)
    chosen = conversation_store.addressed(conn, tenant, conversation_id or agent_id, agent_id)
    packed = Packed(
        details=details, system=message_store.system_message(conn, chosen.id), thread=Thread(conversation=chosen),
        folders=pack_folders(conn, tenant, details.folders), files=tuple(agent_files.all_of(conn, agent_id)),
    )  # fmt: skip
    if scrub:
        return packed
    first, *others = _threads(conn, tenant, agent_id, chosen, alone=conversation_id is not None)
    archives = pack_archives(conn, tenant, agent_id)
    return msgspec.structs.replace(packed, thread=first, others=tuple(others), archives=archives)


def _threads(conn: Connection, tenant: str, agent_id: str, chosen: Conversation, *, alone: bool) -> list[Thread]:
    """A conversation of an agent and, unless it is to be `alone`, all that are not hidden."""
    others: list[Conversation] = []
    if not alone:
        wanted = ConversationFilter(agent_id=agent_id)
        others = conversation_store.list_page(conn, tenant, wanted, Page(limit=MAX_LIMIT, ascending=True))
    threads: list[Thread] = []
    left = MOST_EARLIER
    for conversation in (chosen, *others):
        threads.append(_thread(conn, tenant, conversation, left))
        left -= len(threads[-1].earlier)
    return threads


def _thread(conn: Connection, tenant: str, conversation: Conversation, most_earlier: int) -> Thread:
    context = message_store.context(conn, conversation.id)
    shown = {message.id for message in context}
    earlier = message_store.history(
        conn, tenant, conversation_id=conversation.id, limit=most_earlier, keep=lambda message: message.id not in shown
    )  # fmt: skip
    if context and context[0].role == "system":
        del context[0]
    isolated = conversation_blocks.of_conversation(conn, conversation.id)
    return Thread(
        conversation=conversation, earlier=tuple(earlier[::-1]), context=tuple(context), isolated=tuple(isolated)
    )


def described(contents: Contents) -> Contents:
    """With the schemas that a file leaves to the sources of its tools. Raises Invalid where one does not tell."""
    return msgspec.structs.replace(contents, tools={key: _described(tool) for key, tool in contents.tools.items()})


def _described(tool: Tool) -> Tool:
    if tool.json_schema or tool.tool_type != CUSTOM:
        return tool
    try:
        if tool.source_type != PYTHON_SOURCE:
            raise Invalid("Only a source in Python tells it.")
        schema = schema_of(tool.source_code or "", name=tool.name, arguments=tool.args_json_schema)
    except Invalid as error:
        raise Invalid(f"In the agent file, the tool {tool.name} has no json_schema. {error.message}") from error
    return msgspec.structs.replace(tool, json_schema=schema, description=schema["description"])


async def import_agents(
    db: Database,
    catalog: Catalog,
    vault: Vault,
    jobs: Background,
    vet: Vet,
    tenant: str,
    contents: Contents,
    options: ImportOptions,
) -> Imported:
    """Make the agents of a file with all that is theirs, all or nothing; texts of files are made searchable afterwards.

    Raises NotFound for a model that is not here, Conflict for two blocks of one label, Invalid where token counts
    contradict, Unprocessable where a prompt is missing.
    """
    warnings = [f"Left out: {each} of the file." for each in contents.left_out]
    models = await _embedding_models(catalog, tenant, contents, warnings)
    prepared: list[_Prepared] = []
    for key, unpacked in contents.agents.items():
        new = _chosen(unpacked.new, options, models, named=not prepared or unpacked.new.agent_type in COMPANIONS)
        agent = await prepare(catalog, tenant, new)
        fields = [await _thread_fields(catalog, tenant, each, options, warnings) for each in unpacked.others]
        prepared.append(_Prepared(key, agent, new, unpacked, [*zip(fields, unpacked.others, strict=True)]))
    made = await db.write(
        lambda conn: _store_all(conn, tenant, vault, jobs, vet, contents, prepared, models, options, warnings)
    )
    jobs.wake()
    return made


async def _thread_fields(
    catalog: Catalog, tenant: str, thread: UnpackedThread, options: ImportOptions, warnings: list[str]
) -> dict[str, object]:
    """The fields of a conversation; without a model of its own, where another is wanted for all or that is not here."""
    without = {**thread.fields, "model": None, "model_settings": None}
    if options.model is not None:
        return await resolved(catalog, tenant, without)
    try:
        return await resolved(catalog, tenant, thread.fields)
    except NotFound as error:
        warnings.append(f"Left out: the model of a conversation, which uses its agent's. {error.message}")
        return await resolved(catalog, tenant, without)


class _Prepared(msgspec.Struct, frozen=True):
    """An agent that can be stored, by its id in the file, and its other conversations, each with its fields."""

    key: str
    agent: Agent
    new: NewAgent
    unpacked: Unpacked
    others: list[tuple[dict[str, object], UnpackedThread]]


async def _embedding_models(
    catalog: Catalog, tenant: str, contents: Contents, warnings: list[str]
) -> dict[str, EmbeddingModel]:
    """The embedding models that a file names, as far as they are here: search works without."""
    stocks = [stock.embedding for agent in contents.agents.values() for stock in agent.archives]
    named = [_embedding_of(agent.new) for agent in contents.agents.values()]
    models: dict[str, EmbeddingModel] = {}
    for handle in dict.fromkeys([*named, *stocks, *(library.embedding for library in contents.folders.values())]):
        if handle is not None:
            try:
                models[handle] = await catalog.resolve_embedding(tenant, handle)
            except NotFound:
                warnings.append(f"Left out: the embedding model {handle}, which is not here; search works without one.")
    return models


def _embedding_of(new: NewAgent) -> str | None:
    return new.choice.embedding or (new.choice.embedding_config or {}).get("handle")


def _chosen(new: NewAgent, options: ImportOptions, models: Models, *, named: bool) -> NewAgent:
    """The agent with its models and its name as they are to be here; a name is given to whoever is to be `named`."""
    choice = new.choice
    if options.model is not None:
        config = choice.llm_config and {**choice.llm_config, "handle": options.model}
        choice = msgspec.structs.replace(choice, model=options.model, llm_config=config)
    if options.embedding is not None or _embedding_of(new) not in models:
        choice = msgspec.structs.replace(choice, embedding=options.embedding, embedding_config=None)
    given = options.name if named else None
    if given and new.agent_type in COMPANIONS:
        given = f"{given}-sleeptime"
    name = given or (f"{new.name}{COPY}" if new.name and options.copy_suffix else new.name)
    secrets = {**new.secrets, **options.secrets}
    attributes = new.attributes if options.project_id is None else {**new.attributes, "project_id": options.project_id}
    return msgspec.structs.replace(new, choice=choice, name=name, secrets=secrets, attributes=attributes)


def _store_all(
    conn: Connection,
    tenant: str,
    vault: Vault,
    jobs: Background,
    vet: Vet,
    contents: Contents,
    prepared: Sequence[_Prepared],
    models: Models,
    options: ImportOptions,
    warnings: Sequence[str],
) -> Imported:
    told = list(warnings)
    store_servers(conn, tenant, vault, vet, contents, told)
    tool_ids = _tools(conn, tenant, contents.tools, options, told)
    block_ids = {key: _block(conn, tenant, block) for key, block in contents.blocks.items()}
    folder_ids = {
        key: store_folder(conn, jobs, tenant, library, models, told) for key, library in contents.folders.items()
    }
    shelved = (each for library in contents.folders.values() for each in library.files if each.text is not None)
    files = {each.key: each.file.id for each in shelved}
    for each in prepared:
        new = each.new
        known = {tool.name for tool in _named(conn, tenant, new.tool_names)}
        told += [f"Left out: the tool {name}, which is not here." for name in new.tool_names if name not in known]
        new = msgspec.structs.replace(
            new,
            blocks=tuple(_fitting(block) for block in new.blocks),
            block_ids=tuple(block_ids[key] for key in each.unpacked.block_ids),
            tool_names=tuple(name for name in new.tool_names if name in known),
            tool_ids=tuple(tool_ids[key] for key in each.unpacked.tool_ids if key in tool_ids),
            folder_ids=tuple(folder_ids[key] for key in each.unpacked.folder_ids),
        )
        store(conn, tenant, vault, each.agent, new)
        agent_files.leave_closed(conn, each.agent.id, [files[key] for key in each.unpacked.closed & files.keys()])
        store_archives(conn, tenant, each.agent.id, each.unpacked.archives, models)
        if not options.strip_messages:
            _fill(conn, tenant, each.agent.id, each.agent.conversation_id, each.unpacked.thread)
            for fields, thread in each.others:
                opened = open_conversation(conn, tenant, each.agent, fields, _distinct(thread.isolated))
                _fill(conn, tenant, each.agent.id, opened.id, thread)
        recompile(conn, tenant, each.agent.id)
    ids = {each.key: each.agent.id for each in prepared} | block_ids
    store_groups(conn, tenant, contents.groups.values(), ids, options.project_id, told)
    return Imported(tuple(each.agent.id for each in prepared), tuple(told))


def _tools(
    conn: Connection, tenant: str, tools: Mapping[str, Tool], options: ImportOptions, told: list[str]
) -> dict[str, str]:
    """The ids here of the tools in a file. Only custom ones are made or changed, and those here win unless told."""
    there = {tool.name: tool for tool in _named(conn, tenant, [tool.name for tool in tools.values()])}
    ids: dict[str, str] = {}
    for key, tool in tools.items():
        found = there.get(tool.name)
        if found is None and tool.tool_type != "custom":
            told.append(f"Left out: the tool {tool.name} of type {tool.tool_type}, which is not here.")
            continue
        if found is None:
            at = now()
            found = msgspec.structs.replace(tool, id=new_id("tool"), created_at=at, updated_at=at)
            tool_store.create(conn, tenant, found)
        elif (found.tool_type, tool.tool_type) == ("custom", "custom"):
            kept = {"id": found.id, "created_at": found.created_at, "updated_at": found.updated_at}
            wanted = msgspec.structs.replace(tool, project_id=found.project_id, **kept)
            if options.override_tools:
                tool_store.change(conn, tenant, wanted)
            elif wanted != found:
                told.append(
                    f"Kept: the tool {tool.name} that is here, which differs from the one in the file. "
                    "Import with override_existing_tools=true to have that one."
                )
        there[tool.name] = found
        ids[key] = found.id
    return ids


def _named(conn: Connection, tenant: str, names: Sequence[str]) -> list[Tool]:
    return tool_store.list_page(conn, tenant, ToolFilter(names=tuple(names)), Page(limit=MAX_LIMIT)) if names else []


def _block(conn: Connection, tenant: str, block: Block) -> str:
    block_store.create(conn, tenant, _fitting(block), actor=MAKER)
    return block.id


def _fitting(block: Block) -> Block:
    """A block whose limit allows what is in it, which not every server saw to."""
    return msgspec.structs.replace(block, limit=max(block.limit, len(block.value)))


def _distinct(blocks: Iterable[Block]) -> list[Block]:
    return list({block.label: _fitting(block) for block in blocks}.values())


def _fill(conn: Connection, tenant: str, agent_id: str, conversation_id: str, thread: UnpackedThread) -> None:
    """Give a new conversation its history; calls in its context that nobody answered are answered.

    What waits for a person's yes goes on waiting, unless other calls would run with it: nobody here has allowed those.
    """

    def own(messages: Iterable[Message]) -> list[Message]:
        return [msgspec.structs.replace(message, agent_id=agent_id) for message in messages]

    message_store.append(conn, tenant, conversation_id, own(thread.earlier))
    message_store.reset_context(conn, conversation_id)
    pending = pending_in(thread.context)
    waits = 1 if pending is not None and not pending.allowed else 0
    end = len(thread.context) - waits
    message_store.append(conn, tenant, conversation_id, own((*mended(thread.context[:end]), *thread.context[end:])))
