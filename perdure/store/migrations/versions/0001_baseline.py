"""The schema of the first release. New databases are made whole, so there is nothing to do: migrations begin here."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: see above."""
