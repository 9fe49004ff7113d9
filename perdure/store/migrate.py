"""Bringing a database to the schema of this version, at start, after a backup of the file.

A new database gets the tables as they are now; an older one goes through the migrations in `migrations/`, which a test
holds to give the same tables. Alembic is loaded only when there is something to migrate.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from perdure.domain.errors import Unavailable
from perdure.lazy import lazy_module
from perdure.logs import Log
from perdure.store import search, tenants
from perdure.store.database import NOT_OURS, VERSION_TABLE, Database
from perdure.store.tables import metadata

if TYPE_CHECKING:
    from perdure.store.migrations import steps
else:
    steps: ModuleType = lazy_module("perdure.store.migrations.steps")

HEAD: Final = "0002"
"""The newest migration; a test compares it with the files."""

log = Log(__name__)


def revision(conn: Connection) -> str | None:
    """The migration a database is at; None where it is empty. Raises Unavailable where it is not one of ours."""
    tables = set(inspect(conn).get_table_names())
    if VERSION_TABLE in tables:
        return conn.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608
    if tables:
        raise Unavailable(NOT_OURS)
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
        await db.write(steps.upgrade)


def create_all(conn: Connection) -> None:
    """Make all tables in an empty database."""
    metadata.create_all(conn)
    search.create(conn)
    tenants.ensure_default(conn)
    conn.exec_driver_sql(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    conn.exec_driver_sql(f"INSERT INTO {VERSION_TABLE} VALUES ('{HEAD}')")  # noqa: S608


def check_known(found: str) -> None:
    """Raises Unavailable for a schema that this version has no migration for."""
    if found not in steps.known():
        raise Unavailable(
            f"The data was written by a newer version of Perdure (schema {found}; this version knows {HEAD}). "
            "Install that version or a later one, or start with another --data directory."
        )
