"""Files wait in the database until they are read, agents keep what they see of them, and jobs belong to a process."""

import sqlalchemy as sa
from alembic import op

from perdure.store.tables.columns import String, Text

revision = "0009"
down_revision = "0006"

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
