"""What is searched is held as words that we cut and stem; passages are searched, and stand in order of time."""

from alembic import op

from perdure.store.search_rebuild import rebuild

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index("ix_passages_archive_created", "passages")
    op.create_index("ix_passages_archive_created", "passages", ["archive_id", "created_at", "seq"])
    op.create_index("ix_passages_archive_seq", "passages", ["archive_id", "seq"])
    rebuild(op.get_bind())
    if op.get_bind().dialect.name == "postgresql":
        # It stemmed what is stemmed by us now.
        op.execute("DROP TEXT SEARCH CONFIGURATION IF EXISTS perdure")
        op.execute("DROP TEXT SEARCH DICTIONARY IF EXISTS perdure_stems")
