"""Identities, groups of agents, background jobs."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, UniqueConstraint, text

from perdure.store.tables.columns import (
    Json,
    String,
    Text,
    cloud_columns,
    id_column,
    link_table,
    metadata,
    partial,
    tenant_column,
    times,
)

identities = Table(
    "identities", metadata, id_column(), tenant_column(),
    Column("identifier_key", String, nullable=False),
    Column("name", String, nullable=False),
    Column("identity_type", String, nullable=False),
    Column("properties", Json, nullable=False),
    Column("project_id", String),
    *times(),
    UniqueConstraint("tenant_id", "identifier_key"),
)  # fmt: skip

agents_identities = link_table("agents_identities", "agents", "identities")
blocks_identities = link_table("blocks_identities", "blocks", "identities")

groups = Table(
    "groups", metadata, id_column(), tenant_column(),
    Column("description", Text, nullable=False),
    Column("manager_type", String, nullable=False),
    Column("manager_agent_id", String, ForeignKey("agents.id", ondelete="SET NULL")),
    Column("manager_config", Json, nullable=False),
    Column("turns_counter", Integer, nullable=False, server_default=text("0")),
    Column("last_processed_message_id", String),
    Column("hidden", Boolean),
    *cloud_columns(), *times(),
)  # fmt: skip

groups_agents = link_table("groups_agents", "groups", "agents")
groups_blocks = link_table("groups_blocks", "groups", "blocks")

# `owner` is the process that works it; `subject` the id of the thing it works on.
jobs = Table(
    "jobs", metadata, id_column(), tenant_column(),
    Column("job_type", String, nullable=False),
    Column("status", String, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("error", Text),
    Column("completed_at", BigInteger),
    *times(),
    Column("kind", String, nullable=False, server_default=""),
    Column("subject", String),
    Column("owner", String),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Index("ix_jobs_tenant_created", "tenant_id", "created_at", "id"),
    Index("ix_jobs_subject", "subject"),
    Index("ix_jobs_unfinished", "created_at", "id", **partial("status IN ('created', 'running')")),
)  # fmt: skip
