"""Long-term memory: archives of passages, folders of files."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, UniqueConstraint, text

from perdure.store.tables.columns import (
    BIG_ID,
    Json,
    String,
    Text,
    Vector,
    flag,
    id_column,
    link_table,
    metadata,
    owner_column,
    tenant_column,
    times,
)

archives = Table(
    "archives", metadata, id_column(), tenant_column(),
    Column("name", String, nullable=False),
    Column("description", Text),
    Column("embedding", Json),
    Column("metadata", Json, nullable=False),
    *times(),
    Index("ix_archives_tenant_created", "tenant_id", "created_at", "id"),
)  # fmt: skip

agents_archives = link_table("agents_archives", "agents", "archives", flag("is_owner"))

passages = Table(
    "passages", metadata,
    Column("seq", BIG_ID, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    tenant_column(), owner_column("archives"),
    Column("text", Text, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("embedding", Vector),
    Column("embedding_model", String),
    *times(),
    Index("ix_passages_archive_created", "archive_id", "created_at", "seq"),
    Index("ix_passages_archive_seq", "archive_id", "seq"),
    sqlite_autoincrement=True,
)  # fmt: skip

passage_tags = Table(
    "passage_tags", metadata, owner_column("passages", primary=True), Column("tag", String, primary_key=True),
    Index("ix_passage_tags_tag", "tag"),
)  # fmt: skip

folders = Table(
    "folders", metadata, id_column(), tenant_column(),
    Column("name", String, nullable=False),
    Column("description", Text),
    Column("instructions", Text),
    Column("embedding", Json),
    Column("metadata", Json, nullable=False),
    *times(),
    Column("chunk_tokens", Integer, nullable=False, server_default=text("512")),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

agents_folders = link_table("agents_folders", "agents", "folders")

files = Table(
    "files", metadata, id_column(), tenant_column(), owner_column("folders"),
    Column("file_name", String, nullable=False),
    Column("original_file_name", String),
    Column("file_type", String),
    Column("file_size", BigInteger),
    Column("status", String, nullable=False),
    Column("error_message", Text),
    Column("total_chunks", Integer),
    Column("chunks_embedded", Integer),
    Column("content", Text),
    *times(),
    UniqueConstraint("folder_id", "file_name"),
)  # fmt: skip

# What was sent of a file, in pieces, until its text has been got out of it. The file's own row comes after them.
file_pieces = Table(
    "file_pieces", metadata,
    Column("file_id", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)  # fmt: skip

file_chunks = Table(
    "file_chunks", metadata,
    Column("seq", BIG_ID, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    tenant_column(), owner_column("folders"), owner_column("files"),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("embedding", Vector),
    Column("embedding_model", String),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_file_chunks_file", "file_id", "position"),
    Index("ix_file_chunks_folder", "folder_id"),
    sqlite_autoincrement=True,
)  # fmt: skip

agents_files = link_table(
    "agents_files", "agents", "files",
    flag("is_open"),
    Column("start_line", Integer),
    Column("end_line", Integer),
    Column("last_accessed_at", BigInteger),
    Column("view", Text),
)  # fmt: skip
