"""Files wait in the database until they are read, agents keep what they see of them, and jobs belong to a process."""

import sqlalchemy as sa
from alembic import op

from perdure.store import search
from perdure.store.chunk_search import CHUNKS
from perdure.store.tables.columns import BIG_ID, String, Text, Vector

revision = "0006"
down_revision = "0005"

_UNFINISHED = sa.text("status IN ('created', 'running')")


def upgrade() -> None:
    op.create_table(
        "file_pieces",
        sa.Column("file_id", String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("file_id", "position", name="pk_file_pieces"),
    )
    _chunks_anew()
    op.add_column("folders", sa.Column("chunk_tokens", sa.Integer, nullable=False, server_default=sa.text("512")))
    op.add_column("agents_files", sa.Column("view", Text))
    op.add_column("jobs", sa.Column("kind", String, nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("subject", String))
    op.add_column("jobs", sa.Column("owner", String))
    op.add_column("jobs", sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_index("ix_jobs_subject", "jobs", ["subject"])
    op.create_index(
        "ix_jobs_unfinished", "jobs", ["created_at", "id"], sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED
    )


def _chunks_anew() -> None:
    """Nothing has written any yet, so the table is made again as it has to be."""
    op.drop_table("file_chunks")
    op.create_table(
        "file_chunks",
        sa.Column("seq", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("id", String, nullable=False),
        sa.Column("tenant_id", String, nullable=False),
        sa.Column("folder_id", String, nullable=False),
        sa.Column("file_id", String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("embedding", Vector),
        sa.Column("embedding_model", String),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_file_chunks"),
        sa.UniqueConstraint("id", name="uq_file_chunks_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_file_chunks_tenant_id"),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name="fk_file_chunks_folder_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="fk_file_chunks_file_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_file_chunks_file", "file_chunks", ["file_id", "position"])
    op.create_index("ix_file_chunks_folder", "file_chunks", ["folder_id"])
    search.create(op.get_bind(), CHUNKS)
