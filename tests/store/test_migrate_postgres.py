"""Migrations give a PostgreSQL database of the first release exactly what a new one gets."""

import asyncio
import re
from pathlib import Path

from perdure.store.migrate import HEAD, bring_up_to_date
from perdure.store.options import PostgresOptions
from perdure.store.postgres import open_postgres
from tests.rig import postgres

FIRST = Path(__file__).resolve().parents[1] / "fixtures" / "postgresql-0001.sql"

COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, o.collname,
        pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        LEFT JOIN pg_collation o ON o.oid = a.attcollation
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
SEARCH = """
    SELECT cfgname, maptokentype, dictname FROM pg_ts_config c JOIN pg_ts_config_map m ON m.mapcfg = c.oid
        JOIN pg_ts_dict d ON d.oid = m.mapdict
    WHERE cfgnamespace = 'public'::regnamespace
"""


def shape(url: str) -> list[tuple[object, ...]]:
    """Tables with their columns, what is required of them, their indexes, and how words are found."""
    found = [row for query in (COLUMNS, CONSTRAINTS, INDEXES, SEARCH) for row in postgres.query(url, query)]
    return sorted((tuple(plain(value) for value in row) for row in found), key=repr)


def plain(value: object) -> object:
    """A definition as it is meant: PostgreSQL writes a type into it as often as it was dumped."""
    return re.sub(r"::(text|character varying)(\[\])?|[()]", "", value) if isinstance(value, str) else value


async def brought(url: str) -> None:
    db = await open_postgres(PostgresOptions(url=url))
    try:
        await bring_up_to_date(db)
    finally:
        await db.close()


def test_a_database_of_the_first_release_becomes_as_a_new_one() -> None:
    with postgres.database() as old, postgres.database() as new:
        postgres.execute(old, FIRST.read_text())
        for url in (old, new):
            asyncio.run(brought(url))
        assert postgres.query(old, "SELECT version_num FROM alembic_version") == [(HEAD,)]
        assert shape(old) == shape(new)
