"""Runs, the processes that work them, the events they logged, the steps they took."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, text

from perdure.store.tables.columns import (
    Json,
    String,
    Text,
    flag,
    id_column,
    metadata,
    owner_column,
    partial,
    tenant_column,
)

# A process that works runs. It is alive while its row is here: whoever takes its runs over deletes the row first, so
# that what it may still try to write is refused. `batch` numbers what it committed of its runs.
servers = Table(
    "servers", metadata, id_column(),
    Column("name", String, nullable=False),
    Column("batch", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)  # fmt: skip

# `owner` is the process that works or holds a run, `fence` how often that has changed.
# A run that another one started has that for its caller, and stands one deeper in a chain of them.
runs = Table(
    "runs", metadata, id_column(), tenant_column(), owner_column("agents"),
    Column("conversation_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("stop_reason", String),
    flag("background"),
    Column("request", Json, nullable=False),
    Column("request_config", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("usage", Json, nullable=False),
    Column("otids", String),
    Column("owner", String),
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
    Column("attempt", String),
    Column("cancel_asked_at", BigInteger),
    Column("caller_id", String),
    flag("waited_for"),
    Column("depth", Integer, nullable=False, server_default=text("0")),
    Index("ix_runs_agent_created", "agent_id", "created_at"),
    Index("ix_runs_tenant_created", "tenant_id", "created_at", "id"),
    Index("ix_runs_conversation_created", "conversation_id", "created_at"),
    # One run for each set of names that a caller gave its messages, however often they are sent.
    Index(
        "uq_runs_otids", "conversation_id", "otids", unique=True,
        **partial("otids IS NOT NULL"),
    ),
    Index(
        "ix_runs_callbacks", "completed_at",
        **partial("callback_url IS NOT NULL AND callback_sent_at IS NULL"),
    ),
    # At most one run works on a conversation at any instant, whoever started it.
    Index(
        "uq_runs_running", "conversation_id", unique=True,
        **partial("status = 'running'"),
    ),
    # What a new message asks first: is anyone at work here? It holds all that is asked, or SQLite would as soon read
    # every run there ever was by the index above.
    Index(
        "ix_runs_unfinished", "conversation_id", "created_at", "id", "status",
        **partial("status IN ('created', 'running')"),
    ),
    Index("ix_runs_attempt", "attempt", **partial("attempt IS NOT NULL")),
    Index("ix_runs_caller", "caller_id", **partial("caller_id IS NOT NULL")),
    Index("ix_runs_owner", "owner", **partial("status IN ('created', 'running')")),
)  # fmt: skip

# One row is what one commit released of a run: events `first` to `last`, as a JSON array.
run_events = Table(
    "run_events", metadata,
    owner_column("runs", primary=True),
    Column("first", Integer, primary_key=True),
    Column("last", Integer, nullable=False),
    Column("events", Text, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

steps = Table(
    "steps", metadata, id_column(), tenant_column(), owner_column("runs"), owner_column("agents"),
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
