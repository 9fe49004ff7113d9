"""Bringing a database to the schema of this version, at start, after a backup of the file.

A new database gets the tables as they are now; an older one goes through the migrations in `migrations/`, which a test
holds to give the same tables. Alembic is loaded only when there is something to migrate.
"""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Connection, inspect, text

from perdure.domain.errors import Unavailable
from perdure.lazy import lazy_module
from perdure.store import search, tenants
from perdure.store.database import Database
from perdure.store.tables import metadata

if TYPE_CHECKING:
    from alembic import command, config, script
else:
    command: ModuleType = lazy_module("alembic.command")
    config: ModuleType = lazy_module("alembic.config")
    script: ModuleType = lazy_module("alembic.script")

HEAD: Final = "0001"
"""The newest migration; a test compares it with the files."""

_VERSION_TABLE: Final = "alembic_version"

log = structlog.get_logger(__name__)


def revision(conn: Connection) -> str | None:
    """The migration a database is at; None where it is empty. Raises Unavailable where it is not one of ours."""
    tables = set(inspect(conn).get_table_names())
    if _VERSION_TABLE in tables:
        return conn.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608
    if tables:
        raise Unavailable(
            "The database holds tables that are not Perdure's. Choose an empty one, or another --data directory."
        )
    return None


async def bring_up_to_date(db: Database) -> None:
    """Give an empty database its tables, an older one the migrations it lacks, after a backup.

    Raises Unavailable for a database of a newer version, or one that is not Perdure's.
    """
    found = await db.read(revision)
    if found is None:
        await db.write(create_all)
    elif found != HEAD:
        check_known(found)
        copy = await db.backup(f"before-{HEAD}")
        log.info("migrating", schema=found, to=HEAD, backup=copy)
        await db.write(upgrade)


def create_all(conn: Connection) -> None:
    """Make all tables in an empty database."""
    metadata.create_all(conn)
    search.create(conn)
    tenants.ensure_default(conn)
    conn.exec_driver_sql(f"CREATE TABLE {_VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    conn.exec_driver_sql(f"INSERT INTO {_VERSION_TABLE} VALUES ('{HEAD}')")  # noqa: S608


def check_known(found: str) -> None:
    """Raises Unavailable for a schema that this version has no migration for."""
    known = {migration.revision for migration in script.ScriptDirectory.from_config(_config()).walk_revisions()}
    if found not in known:
        raise Unavailable(
            f"The data was written by a newer version of Perdure (schema {found}; this version knows {HEAD}). "
            "Install that version or a later one, or start with another --data directory."
        )


def upgrade(conn: Connection) -> None:
    """Run the migrations that a database lacks, in the transaction of `conn`."""
    settings = _config()
    settings.attributes["connection"] = conn
    command.upgrade(settings, "head")


def _config() -> "config.Config":
    settings = config.Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    settings.set_main_option("path_separator", "os")
    return settings
