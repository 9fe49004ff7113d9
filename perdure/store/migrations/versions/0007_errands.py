"""Runs that other runs started: who waits for whom, and how long the chain is, can be seen by every process."""

import sqlalchemy as sa
from alembic import op

from perdure.store.tables.columns import String

revision = "0007"
down_revision = "0006"

_STARTED = sa.text("caller_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("runs", sa.Column("caller_id", String))
    op.add_column("runs", sa.Column("waited_for", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("depth", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_index("ix_runs_caller", "runs", ["caller_id"], sqlite_where=_STARTED, postgresql_where=_STARTED)
