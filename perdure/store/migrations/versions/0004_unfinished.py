"""The unfinished runs of a conversation are found without reading all it ever had."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ACTIVE = sa.text("status IN ('created', 'running')")


def upgrade() -> None:
    op.create_index(
        "ix_runs_unfinished", "runs", ["conversation_id", "created_at", "id", "status"],
        sqlite_where=_ACTIVE, postgresql_where=_ACTIVE,
    )  # fmt: skip
