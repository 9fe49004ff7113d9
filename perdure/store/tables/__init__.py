"""Every table, in SQLAlchemy Core. Times are microseconds UTC in BIGINTs; JSON is text that msgspec reads and writes.

Rows belong to a tenant, by `tenant_id` or through the row they hang on. A change here needs a migration
(CONTRIBUTING.md); a test compares the two.
"""

from perdure.store.tables.agents import (
    agent_secrets,
    agent_tags,
    agents,
    agents_blocks,
    agents_tools,
    block_history,
    block_tags,
    blocks,
    tools,
)
from perdure.store.tables.archives import (
    agents_archives,
    agents_files,
    agents_folders,
    archives,
    file_chunks,
    file_pieces,
    files,
    folders,
    passage_tags,
    passages,
)
from perdure.store.tables.columns import Json, metadata
from perdure.store.tables.conversations import conversation_blocks, conversation_messages, conversations, messages
from perdure.store.tables.facts import facts
from perdure.store.tables.people import (
    agents_identities,
    blocks_identities,
    groups,
    groups_agents,
    groups_blocks,
    identities,
    jobs,
)
from perdure.store.tables.providers import mcp_servers, mcp_tools, providers
from perdure.store.tables.runs import run_events, runs, servers, steps
from perdure.store.tables.tenants import tenants

__all__ = [
    "Json",
    "agent_secrets",
    "agent_tags",
    "agents",
    "agents_archives",
    "agents_blocks",
    "agents_files",
    "agents_folders",
    "agents_identities",
    "agents_tools",
    "archives",
    "block_history",
    "block_tags",
    "blocks",
    "blocks_identities",
    "conversation_blocks",
    "conversation_messages",
    "conversations",
    "facts",
    "file_chunks",
    "file_pieces",
    "files",
    "folders",
    "groups",
    "groups_agents",
    "groups_blocks",
    "identities",
    "jobs",
    "mcp_servers",
    "mcp_tools",
    "messages",
    "metadata",
    "passage_tags",
    "passages",
    "providers",
    "run_events",
    "runs",
    "servers",
    "steps",
    "tenants",
    "tools",
]
