"""What all servers on a database have to agree on."""

import sqlalchemy as sa
from alembic import op

from perdure.store.tables.columns import String

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "facts",
        sa.Column("name", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
    )
