"""Conversations and their messages."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table

from perdure.store.tables.columns import (
    BIG_ID,
    Json,
    String,
    Text,
    flag,
    id_column,
    link_table,
    metadata,
    owner_column,
    partial,
    tenant_column,
    times,
)

conversations = Table(
    "conversations", metadata, id_column(), tenant_column(), owner_column("agents"),
    flag("is_default"),
    Column("summary", Text),
    Column("description", Text),
    Column("model", Json),
    Column("model_settings", Json),
    Column("settings", Json, nullable=False),
    Column("context_window_limit", Integer),
    Column("archived_at", BigInteger),
    Column("last_message_at", BigInteger),
    flag("hidden"),
    *times(),
    Index("ix_conversations_agent", "agent_id", "created_at", "id"),
)  # fmt: skip

conversation_blocks = link_table(
    "conversations_blocks", "conversations", "blocks",
    Column("label", String, nullable=False),
)  # fmt: skip
Index("uq_conversations_blocks_label", conversation_blocks.c.conversation_id, conversation_blocks.c.label, unique=True)

messages = Table(
    "messages", metadata,
    Column("seq", BIG_ID, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    tenant_column(), owner_column("agents"),
    Column("role", String, nullable=False),
    Column("parts", Text, nullable=False),
    Column("otid", String),
    Column("name", String),
    Column("sender_id", String),
    Column("group_id", String),
    Column("batch_item_id", String),
    Column("step_id", String),
    Column("run_id", String),
    flag("is_err"),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_messages_agent_seq", "agent_id", "seq"),
    Index("ix_messages_run", "run_id", "seq"),
    Index("ix_messages_step", "step_id"),
    Index("ix_messages_tenant_seq", "tenant_id", "seq"),
    Index("ix_messages_approvals", "seq", **partial("role = 'approval'")),
    sqlite_autoincrement=True,
)  # fmt: skip

# A conversation's history is every row here; its context is the rows still `in_context`, in order of position.
# Forked conversations share messages. Positions leave room so that a summary can stand before what was kept.
conversation_messages = Table(
    "conversation_messages", metadata,
    owner_column("conversations", primary=True),
    Column("position", BigInteger, primary_key=True),
    Column("message_seq", BIG_ID, ForeignKey("messages.seq", ondelete="CASCADE"), nullable=False),
    Column("in_context", Boolean, nullable=False),
    Index("ix_conversation_messages_message", "message_seq"),
    Index(
        "ix_conversation_messages_context", "conversation_id", "position",
        **partial("in_context"),
    ),
)  # fmt: skip
