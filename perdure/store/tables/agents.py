"""Agents, and what hangs on them: tags, secrets, blocks, tools."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, UniqueConstraint

from perdure.store.tables.columns import (
    Json,
    String,
    Text,
    cloud_columns,
    flag,
    id_column,
    link_table,
    metadata,
    owner_column,
    tenant_column,
    times,
)

agents = Table(
    "agents", metadata, id_column(), tenant_column(),
    Column("version", Integer, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("agent_type", String, nullable=False),
    Column("system", Text, nullable=False),
    Column("description", Text),
    Column("metadata", Json, nullable=False),
    Column("model", Json, nullable=False),
    Column("context_window", Integer, nullable=False),
    Column("settings", Json, nullable=False),
    Column("model_settings", Json),
    Column("embedding", Json),
    Column("embedding_chunk_size", Integer, nullable=False),
    Column("tool_rules", Json, nullable=False),
    Column("compaction_settings", Json),
    Column("response_format", Json),
    Column("timezone", String, nullable=False),
    flag("message_buffer_autoclear"), flag("enable_sleeptime"),
    Column("max_files_open", Integer),
    Column("per_file_view_window_char_limit", Integer),
    Column("hidden", Boolean),
    Column("last_run_completion", BigInteger),
    Column("last_run_duration_ms", Integer),
    Column("last_stop_reason", String),
    *cloud_columns(), *times(),
    Index("ix_agents_tenant_created", "tenant_id", "created_at", "id"),
)  # fmt: skip

agent_tags = Table(
    "agent_tags", metadata, owner_column("agents", primary=True), Column("tag", String, primary_key=True),
    Index("ix_agent_tags_tag", "tag"),
)  # fmt: skip

agent_secrets = Table(
    "agent_secrets", metadata, id_column(), owner_column("agents"),
    Column("key", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("description", Text), *times(),
    UniqueConstraint("agent_id", "key"),
)  # fmt: skip

blocks = Table(
    "blocks", metadata, id_column(), tenant_column(),
    Column("label", String, nullable=False),
    Column("value", Text, nullable=False),
    Column("limit", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("description", Text),
    flag("read_only"),
    Column("hidden", Boolean),
    Column("metadata", Json, nullable=False),
    Column("template_name", String),
    flag("is_template"), flag("preserve_on_migration"),
    *cloud_columns(), *times(),
    Index("ix_blocks_tenant_created", "tenant_id", "created_at", "id"),
    Index("ix_blocks_label", "label"),
)  # fmt: skip

block_tags = Table(
    "block_tags", metadata, owner_column("blocks", primary=True), Column("tag", String, primary_key=True),
    Index("ix_block_tags_tag", "tag"),
)  # fmt: skip

block_history = Table(
    "block_history", metadata,
    Column("block_id", String, ForeignKey("blocks.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("value", Text, nullable=False),
    Column("actor", String, nullable=False),
    Column("run_id", String),
    Column("created_at", BigInteger, nullable=False),
)  # fmt: skip

agents_blocks = link_table(
    "agents_blocks", "agents", "blocks",
    Column("label", String, nullable=False),
)  # fmt: skip
Index("uq_agents_blocks_label", agents_blocks.c.agent_id, agents_blocks.c.label, unique=True)

tools = Table(
    "tools", metadata, id_column(), tenant_column(),
    Column("name", String, nullable=False),
    Column("tool_type", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("json_schema", Json, nullable=False),
    Column("args_json_schema", Json),
    Column("tags", Json, nullable=False),
    Column("source_type", String, nullable=False),
    Column("source_code", Text),
    Column("return_char_limit", Integer, nullable=False),
    Column("pip_requirements", Json),
    Column("npm_requirements", Json),
    Column("default_requires_approval", Boolean),
    flag("enable_parallel_execution"),
    Column("metadata", Json, nullable=False),
    Column("project_id", String),
    *times(),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

agents_tools = link_table("agents_tools", "agents", "tools")
