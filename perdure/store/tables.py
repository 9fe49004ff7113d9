"""Every table, in SQLAlchemy Core. Times are microseconds UTC in BIGINTs; JSON is text that msgspec reads and writes.

Rows belong to a tenant, by `tenant_id` or through the row they hang on. A change here needs a migration
(CONTRIBUTING.md); a test compares the two.
"""

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()


class Json(TypeDecorator[Any]):
    """A JSON value kept as text, the same on both databases."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _ENCODER.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else _DECODER.decode(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_BIG_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""


def _id() -> Column[str]:
    return Column("id", String, primary_key=True)


def _tenant() -> Column[str]:
    return Column("tenant_id", String, ForeignKey("tenants.id"), nullable=False)


def _times() -> tuple[Column[int], Column[int]]:
    return Column("created_at", BigInteger, nullable=False), Column("updated_at", BigInteger, nullable=False)


def _cloud() -> tuple[Column[str], ...]:
    """Fields of the contract that only the hosted service gave a meaning; kept as sent."""
    names = ("project_id", "template_id", "base_template_id", "deployment_id", "entity_id")
    return tuple(Column(name, String) for name in names)


def _owner(table: str, *, primary: bool = False) -> Column[str]:
    singular = {"archives": "archive", "identities": "identity"}.get(table, table.removesuffix("s"))
    target = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Column(f"{singular}_id", String, target, primary_key=primary, nullable=False)


def _link(name: str, left: str, right: str, *extra: Column[Any]) -> Table:
    """A many-to-many table; `position` keeps the order in which things were attached."""
    second = _owner(right, primary=True)
    return Table(
        name, metadata, _owner(left, primary=True), second,
        Column("position", Integer, nullable=False, server_default=text("0")), *extra,
        Index(f"ix_{name}_{second.name}", second.name), sqlite_with_rowid=False,
    )  # fmt: skip


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


tenants = Table("tenants", metadata, _id(), Column("name", String, nullable=False), *_times())

# ---------------------------------------------------------------- agents and what hangs on them

agents = Table(
    "agents", metadata, _id(), _tenant(),
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
    _flag("message_buffer_autoclear"), _flag("enable_sleeptime"),
    Column("max_files_open", Integer),
    Column("per_file_view_window_char_limit", Integer),
    Column("hidden", Boolean),
    Column("last_run_completion", BigInteger),
    Column("last_run_duration_ms", Integer),
    Column("last_stop_reason", String),
    *_cloud(), *_times(),
    Index("ix_agents_tenant_created", "tenant_id", "created_at", "id"),
)  # fmt: skip

agent_tags = Table(
    "agent_tags", metadata, _owner("agents", primary=True), Column("tag", String, primary_key=True),
    Index("ix_agent_tags_tag", "tag"),
)  # fmt: skip

agent_secrets = Table(
    "agent_secrets", metadata, _id(), _owner("agents"),
    Column("key", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("description", Text), *_times(),
    UniqueConstraint("agent_id", "key"),
)  # fmt: skip

blocks = Table(
    "blocks", metadata, _id(), _tenant(),
    Column("label", String, nullable=False),
    Column("value", Text, nullable=False),
    Column("limit", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("description", Text),
    _flag("read_only"),
    Column("hidden", Boolean),
    Column("metadata", Json, nullable=False),
    Column("template_name", String),
    _flag("is_template"), _flag("preserve_on_migration"),
    *_cloud(), *_times(),
    Index("ix_blocks_tenant_created", "tenant_id", "created_at", "id"),
    Index("ix_blocks_label", "label"),
)  # fmt: skip

block_tags = Table(
    "block_tags", metadata, _owner("blocks", primary=True), Column("tag", String, primary_key=True),
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

agents_blocks = _link(
    "agents_blocks", "agents", "blocks",
    Column("label", String, nullable=False),
)  # fmt: skip
Index("uq_agents_blocks_label", agents_blocks.c.agent_id, agents_blocks.c.label, unique=True)

tools = Table(
    "tools", metadata, _id(), _tenant(),
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
    _flag("enable_parallel_execution"),
    Column("metadata", Json, nullable=False),
    Column("project_id", String),
    *_times(),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

agents_tools = _link("agents_tools", "agents", "tools")

# ---------------------------------------------------------------- conversations and history

conversations = Table(
    "conversations", metadata, _id(), _tenant(), _owner("agents"),
    _flag("is_default"),
    Column("summary", Text),
    Column("description", Text),
    Column("model", String),
    Column("model_settings", Json),
    Column("context_window_limit", Integer),
    Column("archived_at", BigInteger),
    Column("last_message_at", BigInteger),
    _flag("hidden"),
    *_times(),
    Index("ix_conversations_agent", "agent_id", "created_at", "id"),
)  # fmt: skip

conversation_blocks = _link(
    "conversations_blocks", "conversations", "blocks",
    Column("label", String, nullable=False),
)  # fmt: skip

messages = Table(
    "messages", metadata,
    Column("seq", _BIG_ID, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    _tenant(), _owner("agents"),
    Column("role", String, nullable=False),
    Column("parts", Text, nullable=False),
    Column("otid", String),
    Column("name", String),
    Column("sender_id", String),
    Column("group_id", String),
    Column("batch_item_id", String),
    Column("step_id", String),
    Column("run_id", String),
    _flag("is_err"),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_messages_agent_seq", "agent_id", "seq"),
    Index("ix_messages_run", "run_id", "seq"),
    Index("ix_messages_step", "step_id"),
    Index("ix_messages_tenant_seq", "tenant_id", "seq"),
    sqlite_autoincrement=True,
)  # fmt: skip

# A conversation's history is every row here; its context is the rows still `in_context`, in order of position.
# Forked conversations share messages. Positions leave room so that a summary can stand before what was kept.
conversation_messages = Table(
    "conversation_messages", metadata,
    _owner("conversations", primary=True),
    Column("position", BigInteger, primary_key=True),
    Column("message_seq", _BIG_ID, ForeignKey("messages.seq", ondelete="CASCADE"), nullable=False),
    Column("in_context", Boolean, nullable=False),
    Index("ix_conversation_messages_message", "message_seq"),
    Index(
        "ix_conversation_messages_context", "conversation_id", "position",
        sqlite_where=text("in_context"), postgresql_where=text("in_context"),
    ),
    sqlite_with_rowid=False,
)  # fmt: skip

# ---------------------------------------------------------------- runs, their events and steps

runs = Table(
    "runs", metadata, _id(), _tenant(), _owner("agents"),
    Column("conversation_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("stop_reason", String),
    _flag("background"),
    Column("request", Json, nullable=False),
    Column("request_config", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("usage", Json, nullable=False),
    Column("otids", String),
    Column("owner", String),
    Column("lease_until", BigInteger),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("callback_url", String),
    Column("callback_sent_at", BigInteger),
    Column("callback_status_code", Integer),
    Column("callback_error", Text),
    Column("ttft_ns", BigInteger),
    Column("total_duration_ns", BigInteger),
    Column("base_template_id", String),
    Column("project_id", String),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Index("ix_runs_agent_created", "agent_id", "created_at"),
    Index("ix_runs_tenant_created", "tenant_id", "created_at", "id"),
    Index("ix_runs_conversation_created", "conversation_id", "created_at"),
    Index("ix_runs_otids", "otids"),
    # At most one run works on a conversation at any instant, whoever started it.
    Index(
        "uq_runs_running", "conversation_id", unique=True,
        sqlite_where=text("status = 'running'"), postgresql_where=text("status = 'running'"),
    ),
    Index(
        "ix_runs_active", "status", "lease_until",
        sqlite_where=text("status IN ('created', 'running')"),
        postgresql_where=text("status IN ('created', 'running')"),
    ),
)  # fmt: skip

# One row is what one commit released of a run: events `first` to `last`, as a JSON array.
run_events = Table(
    "run_events", metadata,
    _owner("runs", primary=True),
    Column("first", Integer, primary_key=True),
    Column("last", Integer, nullable=False),
    Column("events", Text, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

steps = Table(
    "steps", metadata, _id(), _tenant(), _owner("runs"), _owner("agents"),
    Column("status", String, nullable=False),
    Column("model", String),
    Column("model_handle", String),
    Column("provider_name", String),
    Column("model_endpoint", String),
    Column("context_window_limit", Integer),
    Column("stop_reason", String),
    Column("usage", Json, nullable=False),
    Column("error", Json),
    Column("feedback", String),
    Column("tags", Json, nullable=False),
    Column("ttft_ns", BigInteger),
    Column("model_ns", BigInteger),
    Column("tool_ns", BigInteger),
    Column("project_id", String),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_steps_run", "run_id", "created_at"),
    Index("ix_steps_tenant_created", "tenant_id", "created_at", "id"),
    Index("ix_steps_agent", "agent_id", "created_at"),
)  # fmt: skip

# ---------------------------------------------------------------- long-term memory and files

archives = Table(
    "archives", metadata, _id(), _tenant(),
    Column("name", String, nullable=False),
    Column("description", Text),
    Column("embedding", Json),
    Column("metadata", Json, nullable=False),
    *_times(),
    Index("ix_archives_tenant_created", "tenant_id", "created_at", "id"),
)  # fmt: skip

agents_archives = _link("agents_archives", "agents", "archives", _flag("is_owner"))

passages = Table(
    "passages", metadata,
    Column("seq", _BIG_ID, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    _tenant(), _owner("archives"),
    Column("text", Text, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("embedding", LargeBinary),
    Column("embedding_model", String),
    *_times(),
    Index("ix_passages_archive_created", "archive_id", "created_at", "id"),
    sqlite_autoincrement=True,
)  # fmt: skip

passage_tags = Table(
    "passage_tags", metadata, _owner("passages", primary=True), Column("tag", String, primary_key=True),
    Index("ix_passage_tags_tag", "tag"),
)  # fmt: skip

folders = Table(
    "folders", metadata, _id(), _tenant(),
    Column("name", String, nullable=False),
    Column("description", Text),
    Column("instructions", Text),
    Column("embedding", Json),
    Column("metadata", Json, nullable=False),
    *_times(),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

agents_folders = _link("agents_folders", "agents", "folders")

files = Table(
    "files", metadata, _id(), _tenant(), _owner("folders"),
    Column("file_name", String, nullable=False),
    Column("original_file_name", String),
    Column("file_type", String),
    Column("file_size", BigInteger),
    Column("status", String, nullable=False),
    Column("error_message", Text),
    Column("total_chunks", Integer),
    Column("chunks_embedded", Integer),
    Column("content", Text),
    *_times(),
    UniqueConstraint("folder_id", "file_name"),
)  # fmt: skip

file_chunks = Table(
    "file_chunks", metadata,
    Column("seq", _BIG_ID, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    _tenant(), _owner("files"),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("embedding", LargeBinary),
    Column("embedding_model", String),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_file_chunks_file", "file_id", "position"),
    sqlite_autoincrement=True,
)  # fmt: skip

agents_files = _link(
    "agents_files", "agents", "files",
    _flag("is_open"),
    Column("start_line", Integer),
    Column("end_line", Integer),
    Column("last_accessed_at", BigInteger),
)  # fmt: skip

# ---------------------------------------------------------------- people, groups, jobs

identities = Table(
    "identities", metadata, _id(), _tenant(),
    Column("identifier_key", String, nullable=False),
    Column("name", String, nullable=False),
    Column("identity_type", String, nullable=False),
    Column("properties", Json, nullable=False),
    Column("project_id", String),
    *_times(),
    UniqueConstraint("tenant_id", "identifier_key"),
)  # fmt: skip

agents_identities = _link("agents_identities", "agents", "identities")
blocks_identities = _link("blocks_identities", "blocks", "identities")

groups = Table(
    "groups", metadata, _id(), _tenant(),
    Column("description", Text, nullable=False),
    Column("manager_type", String, nullable=False),
    Column("manager_agent_id", String, ForeignKey("agents.id", ondelete="SET NULL")),
    Column("manager_config", Json, nullable=False),
    Column("turns_counter", Integer, nullable=False, server_default=text("0")),
    Column("last_processed_message_id", String),
    Column("hidden", Boolean),
    *_cloud(), *_times(),
)  # fmt: skip

groups_agents = _link("groups_agents", "groups", "agents")
groups_blocks = _link("groups_blocks", "groups", "blocks")

jobs = Table(
    "jobs", metadata, _id(), _tenant(),
    Column("job_type", String, nullable=False),
    Column("status", String, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("error", Text),
    Column("completed_at", BigInteger),
    *_times(),
    Index("ix_jobs_tenant_created", "tenant_id", "created_at", "id"),
)  # fmt: skip

# ---------------------------------------------------------------- providers and MCP

providers = Table(
    "providers", metadata, _id(), _tenant(),
    Column("name", String, nullable=False),
    Column("provider_type", String, nullable=False),
    Column("base_url", String),
    Column("region", String),
    Column("api_version", String),
    Column("api_key", LargeBinary),
    Column("access_key", LargeBinary),
    *_times(),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

mcp_servers = Table(
    "mcp_servers", metadata, _id(), _tenant(),
    Column("name", String, nullable=False),
    Column("server_type", String, nullable=False),
    Column("server_url", String),
    Column("token", LargeBinary),
    Column("headers", LargeBinary),
    Column("metadata", Json, nullable=False),
    *_times(),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

mcp_tools = _link("mcp_tools", "mcp_servers", "tools")
