"""What can be seen of a PostgreSQL database from outside, without changing anything."""

import asyncio

import msgspec
from sqlalchemy import Connection

from perdure.store.migrate import revision
from perdure.store.options import PostgresOptions
from perdure.store.postgres import open_postgres


class DatabaseView(msgspec.Struct, frozen=True, kw_only=True):
    """A database. `version` is the server's, `vectors` pgvector's: None where it is not in the database yet.

    `size` is in bytes; `schema` is the migration it is at, None where it is empty; `has_vectors` says whether pgvector
    can be added.
    """

    location: str
    version: str
    vectors: str | None
    has_vectors: bool
    size: int
    schema: str | None


def look_at(options: PostgresOptions) -> DatabaseView:
    """What stands in a database. Raises Unavailable for one that cannot be reached, or is not ours."""
    return asyncio.run(_look_at(options))


async def _look_at(options: PostgresOptions) -> DatabaseView:
    db = await open_postgres(options)
    try:
        return await db.read(lambda conn: _view(conn, db.location))
    finally:
        await db.close()


def _view(conn: Connection, location: str) -> DatabaseView:
    def ask(query: str) -> str | None:
        return conn.exec_driver_sql(query).scalar()

    return DatabaseView(
        location=location,
        version=ask("SHOW server_version") or "",
        vectors=ask("SELECT extversion FROM pg_extension WHERE extname = 'vector'"),
        has_vectors=ask("SELECT name FROM pg_available_extensions WHERE name = 'vector'") is not None,
        size=int(ask("SELECT pg_database_size(current_database())") or 0),
        schema=revision(conn),
    )
