"""Runs belong to the process that works them; a run can be cancelled, and a repeated request found, through any."""

import sqlalchemy as sa
from alembic import op

from perdure.store.tables.columns import String

revision = "0002"
down_revision = "0001"

_ACTIVE = sa.text("status IN ('created', 'running')")
_GIVEN = sa.text("attempt IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_servers"),
    )
    op.drop_index("ix_runs_active", "runs")
    op.drop_column("runs", "lease_until")
    op.add_column("runs", sa.Column("attempt", String))
    op.add_column("runs", sa.Column("cancel_asked_at", sa.BigInteger))
    op.create_index("ix_runs_attempt", "runs", ["attempt"], sqlite_where=_GIVEN, postgresql_where=_GIVEN)
    op.create_index("ix_runs_owner", "runs", ["owner"], sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)
