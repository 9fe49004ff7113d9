"""On PostgreSQL the rows that hold a word are counted in a sample, and what was added last is looked through sooner."""

from alembic import op

revision = "0008"
down_revision = "0007"

_INDEXES = ("message_search", "passage_search", "chunk_search")


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for index in _INDEXES:
        op.execute(f"ALTER INDEX ix_{index}_words SET (gin_pending_list_limit = 128)")
        op.execute(
            f"CREATE INDEX IF NOT EXISTS ix_{index}_sample ON {index} USING gin (string_to_array(words, ' ')) "
            "WITH (gin_pending_list_limit = 128) WHERE hashint8(seq >> 4) & 15 = 0"
        )
