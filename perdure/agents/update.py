"""Changes an agent, forgets its history, deletes it."""

from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.agents.blocks import replace_blocks
from perdure.agents.create import give_companion
from perdure.agents.folders import open_first, replace_folders
from perdure.agents.model_choice import Catalog, Chosen, overlay, resolve
from perdure.agents.opening import opening
from perdure.agents.tools import replace_tools
from perdure.domain.agents import Agent, AgentChanges, AgentDetails
from perdure.domain.compaction import merged
from perdure.domain.errors import Busy, NotBuilt
from perdure.domain.groups import SLEEPTIME
from perdure.domain.ids import now
from perdure.domain.runs import ACTIVE
from perdure.loop.context import compiled, recompile
from perdure.memory import passages as passage_memory
from perdure.memory.files import limits, open_files
from perdure.store import agents as agent_store
from perdure.store import archives as archive_store
from perdure.store import blocks as block_store
from perdure.store import conversation_blocks, search
from perdure.store import groups as group_store
from perdure.store import identities as identity_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store import secrets as secret_store
from perdure.store import tools as tool_store
from perdure.store.database import Database
from perdure.store.groups import GroupFilter
from perdure.store.message_search import MESSAGES
from perdure.store.pages import MAX_LIMIT, Page
from perdure.store.runs import RunFilter
from perdure.store.secrets import Vault

EVERY: Final = Page(limit=MAX_LIMIT)
COMPILED: Final = ("system", "timezone", "tool_rules", "model")
"""The fields of an agent that stand in its system message. The rest leaves it alone, so that it stays cached."""


async def update_agent(
    db: Database, catalog: Catalog, vault: Vault, tenant: str, agent_id: str, changes: AgentChanges
) -> AgentDetails:
    """Change an agent, all or nothing, and return it with its relations.

    Raises NotFound for the agent and for an unknown model, block, folder or identity, Invalid for unknown tools and
    values that contradict, Conflict for two blocks of one label or where the agent changed meanwhile, NotBuilt for what
    this version lacks.
    """
    chosen = await resolve(catalog, tenant, changes.choice)
    changed = await db.write(lambda conn: _update(conn, tenant, vault, agent_id, changes, chosen))
    if changes.folder_ids:
        await open_first(db, tenant, agent_id)
    return changed


def delete_agent(conn: Connection, tenant: str, agent_id: str) -> None:
    """Delete an agent with its history and those who look after its memory, and its archive unless others search that.

    Its blocks stay. Raises NotFound, and Busy while one of them has runs to be ended.
    """
    agent = agent_store.hold(conn, tenant, agent_id, alone=True)
    refuse_running(conn, tenant, "The agent cannot be deleted", RunFilter(agent_ids=(agent.id,)))
    tending = group_store.asleep(conn, agent.id)
    if tending is not None:
        group_store.delete(conn, tenant, tending.id)
        for companion_id in tending.agent_ids:
            delete_agent(conn, tenant, companion_id)
    for group in group_store.list_page(conn, tenant, GroupFilter(agent_id=agent.id, show_hidden=True), EVERY):
        if group.manager_type in SLEEPTIME and group.agent_ids == (agent.id,):
            group_store.delete(conn, tenant, group.id)
    search.forget(conn, MESSAGES, agent.id)
    for archive_id in archive_store.owned(conn, agent.id):
        if archive_store.agents_of(conn, archive_id) == [agent.id]:
            archive_store.delete(conn, archive_id)
    conversation_blocks.delete_of_agent(conn, agent.id)
    agent_store.delete(conn, tenant, agent.id)


def reset_messages(
    conn: Connection, tenant: str, vault: Vault, agent_id: str, *, add_default_initial_messages: bool
) -> AgentDetails:
    """Take all messages but the system message, which is compiled anew, out of an agent's context; history keeps them.

    Raises NotFound, and Busy while a run works on them.
    """
    agent = agent_store.hold(conn, tenant, agent_id, alone=True)
    refuse_running(conn, tenant, "The agent cannot be reset", RunFilter(conversation_id=agent.conversation_id))
    message_store.reset_context(conn, agent.conversation_id)
    recompile(conn, tenant, agent.id)
    if add_default_initial_messages:
        first = opening(agent, tool_store.of_agent(conn, agent.id), None, now())
        message_store.append(conn, tenant, agent.conversation_id, first)
    return agent_store.details(conn, tenant, agent.id, vault)


def recompile_agent(conn: Connection, tenant: str, agent_id: str, *, dry_run: bool, anew: bool) -> str:
    """Bring the system messages of all conversations of an agent up to date; what that of its default one says.

    With `anew` they are written even where only the time in them changes; with `dry_run` none is. Raises NotFound.
    """
    agent = agent_store.get(conn, tenant, agent_id)
    if dry_run:
        return compiled(conn, agent, agent.conversation_id)
    recompile(conn, tenant, agent.id, anew=anew)
    return message_store.system_message(conn, agent.conversation_id).text


def refuse_running(conn: Connection, tenant: str, refusal: str, runs: RunFilter) -> None:
    """Raises Busy, saying `refusal`, while one of these runs is unfinished."""
    unfinished = msgspec.structs.replace(runs, statuses=ACTIVE)
    for run in run_store.list_page(conn, tenant, unfinished, Page(limit=1, ascending=True)):
        raise Busy(f"{refusal} while run {run.id} is unfinished. Wait for it, or cancel it first.", run_id=run.id)


def _update(
    conn: Connection, tenant: str, vault: Vault, agent_id: str, changes: AgentChanges, chosen: Chosen
) -> AgentDetails:
    if changes.block_ids is not None:
        block_store.hold(conn, tenant, changes.block_ids)
    before = agent_store.hold(conn, tenant, agent_id)
    _refuse_other_context(conn, before, changes)
    after = agent_store.update(conn, tenant, before, _changed(before, changes, chosen))
    if changes.tags is not None:
        agent_store.set_tags(conn, agent_id, changes.tags)
    if changes.secrets is not None:
        secret_store.replace(conn, agent_id, changes.secrets, vault)
    if changes.identity_ids is not None:
        identity_store.set_of_agent(conn, tenant, agent_id, changes.identity_ids)
    if changes.tool_ids is not None:
        replace_tools(conn, tenant, agent_id, changes.tool_ids)
    if changes.folder_ids is not None:
        replace_folders(conn, tenant, agent_id, changes.folder_ids)
    if chosen.embedding is not None and chosen.embedding != before.embedding:
        for archive_id in archive_store.owned(conn, agent_id):
            passage_memory.edit_archive(conn, tenant, archive_id, {}, chosen.embedding)
    moved = changes.block_ids is not None and replace_blocks(conn, tenant, agent_id, changes.block_ids)
    after = agent_store.get(conn, tenant, agent_id)
    # Also where it is so already: the companion may have been deleted.
    if changes.attributes.get("enable_sleeptime"):
        give_companion(conn, tenant, vault, after)
    if limits(after) != limits(before):
        open_files(conn, after, ())
        moved = True
    if moved or any(getattr(after, name) != getattr(before, name) for name in COMPILED):
        recompile(conn, tenant, after.id)
    return agent_store.details(conn, tenant, agent_id, vault)


def _changed(before: Agent, changes: AgentChanges, chosen: Chosen) -> Agent:
    fields = dict(changes.attributes)
    if changes.compaction_settings is not None:
        fields["compaction_settings"] = merged(before.compaction_settings or {}, changes.compaction_settings)
    config = changes.choice.embedding_config
    if config is not None and config.get("embedding_chunk_size"):
        fields["embedding_chunk_size"] = config["embedding_chunk_size"]
    return overlay(msgspec.structs.replace(before, **fields), changes.choice, chosen)


def _refuse_other_context(conn: Connection, agent: Agent, changes: AgentChanges) -> None:
    wanted = changes.message_ids
    if wanted is not None and wanted != message_store.context_ids(conn, agent.conversation_id):
        raise NotBuilt(
            "Setting message_ids is not built yet in this version. Leave it out; reset-messages clears the context."
        )
