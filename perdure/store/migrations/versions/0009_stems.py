"""More forms of words meet, more ways to say who says something are known; what is searched is indexed anew."""

from alembic import op

from perdure.store.search_rebuild import rebuild, rebuild_chunks

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    rebuild(op.get_bind())
    rebuild_chunks(op.get_bind())
