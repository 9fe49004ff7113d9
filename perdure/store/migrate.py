"""Bringing a database to the schema of this version, at start, after a backup where it is a file.

A new database gets the tables as they are now; an older one goes through the migrations in `migrations/`, which a test
holds to give the same tables. Either is one transaction, and of several servers that start together one does it.
Alembic is loaded only when there is something to migrate.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from perdure.domain.errors import Unavailable
from perdure.lazy import lazy_module
from perdure.logs import Log
from perdure.store import search, tenants
from perdure.store.chunk_search import CHUNKS
from perdure.store.database import NOT_OURS, VERSION_TABLE, Database
from perdure.store.message_search import MESSAGES
from perdure.store.passage_search import PASSAGES
from perdure.store.tables import metadata
from perdure.store.tables import tenants as tenant_table

if TYPE_CHECKING:
    from perdure.store.migrations import steps
else:
    steps: ModuleType = lazy_module("perdure.store.migrations.steps")

HEAD: Final = "0009"
"""The newest migration; a test compares it with the files."""

log = Log(__name__)


def revision(conn: Connection) -> str | None:
    """The migration a database is at; None where it is empty. Raises Unavailable where it is not one of ours."""
    names = set(inspect(conn).get_table_names())
    if {VERSION_TABLE, tenant_table.name} <= names:
        return conn.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608
    if names:
        raise Unavailable(NOT_OURS)
    return None


async def bring_up_to_date(db: Database) -> str | None:
    """Give an empty database its tables, an older one the migrations it lacks, after a backup; returns where that is.

    Raises Unavailable for a database of a newer version, or one that is not Perdure's.
    """
    found, copy = await db.read(revision), None
    if found == HEAD:
        return None
    if found is not None:
        check_known(found)
        copy = await db.backup(f"before-{HEAD}")
        log.info("migrating", schema=found, to=HEAD, backup=copy)
    await db.migrate(_bring_up)
    return copy


def _bring_up(conn: Connection) -> None:
    # Another server may have done it since the schema was last looked at.
    found = revision(conn)
    if found is None:
        create_all(conn)
    elif found != HEAD:
        steps.upgrade(conn)


def create_all(conn: Connection) -> None:
    """Make all tables in an empty database."""
    metadata.create_all(conn)
    for corpus in (MESSAGES, PASSAGES, CHUNKS):
        search.create(conn, corpus)
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
