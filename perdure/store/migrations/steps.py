"""Running the migrations, through Alembic."""

from pathlib import Path

from alembic import command, config, script
from sqlalchemy import Connection


def known() -> set[str]:
    """The schemas that this version can start from."""
    return {step.revision for step in script.ScriptDirectory.from_config(_config()).walk_revisions()}


def upgrade(conn: Connection) -> None:
    """Run what a database lacks, in the transaction of `conn`."""
    if not conn.in_transaction():
        # Alembic must see that there is a transaction, or it commits one of its own, and ours with it.
        conn.begin()
    settings = _config()
    settings.attributes["connection"] = conn
    command.upgrade(settings, "head")


def _config() -> config.Config:
    settings = config.Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.set_main_option("path_separator", "os")
    return settings
