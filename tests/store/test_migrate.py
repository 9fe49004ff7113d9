"""Migrations give exactly the tables that a new database gets, after a backup, all or nothing.

`tests/fixtures/schema-NNNN.sql` is what a new database held at a release. Write the one of today with

    .venv/bin/python -m tests.store.test_migrate > tests/fixtures/schema-0001.sql

once for each release that changed the schema, and never again afterwards: databases like it are out there.
"""

import asyncio
import contextlib
import re
import sqlite3
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from alembic import autogenerate
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from perdure.domain.errors import Unavailable
from perdure.domain.ids import DEFAULT_TENANT
from perdure.store import migrate
from perdure.store.migrate import HEAD, bring_up_to_date
from perdure.store.migrations import steps
from perdure.store.sqlite import open_sqlite
from perdure.store.tables import metadata

FIXTURES = sorted((Path(__file__).resolve().parents[1] / "fixtures").glob("schema-*.sql"))
VERSIONS = Path(steps.__file__).parent / "versions"
OWN = ("alembic_version", "message_search", "passage_search", "chunk_search")
"""Tables of a database that `metadata` does not describe: Alembic's, and the full-text indexes."""

Shape = dict[str, Any]


def brought(directory: Path, times: int = 1) -> Path:
    """The data file in `directory` after so many starts."""

    async def go() -> Path:
        for _ in range(times):
            db = open_sqlite(directory, "normal")
            try:
                await bring_up_to_date(db)
            finally:
                await db.close()
        return directory / "perdure.db"

    return asyncio.run(go())


def old(directory: Path, schema: Path) -> Path:
    """A data directory whose file is as an earlier release made it."""
    directory.mkdir()
    with contextlib.closing(sqlite3.connect(directory / "perdure.db")) as conn:
        conn.executescript(schema.read_text())
    return directory


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(file)) as conn:
        return conn.execute(query).fetchall()


def shape(file: Path) -> Shape:
    """Tables with their columns and foreign keys, and indexes with their columns and conditions."""
    found: Shape = {}
    for _, name, kind, _, without_rowid, strict in rows(file, "PRAGMA table_list"):
        if not name.startswith("sqlite_"):
            columns = [row[1:] for row in rows(file, f"PRAGMA table_xinfo('{name}')")]
            keys = sorted(row[2:] for row in rows(file, f"PRAGMA foreign_key_list('{name}')"))
            found[name] = (kind, without_rowid, strict, columns, keys)
            for _, index, unique, origin, partial in rows(file, f"PRAGMA index_list('{name}')"):
                indexed = rows(file, f"PRAGMA index_xinfo('{index}')")
                found[f"{name} {index}"] = (unique, origin, partial, indexed, condition(file, index))
    return found


def condition(file: Path, index: str) -> str:
    """The WHERE of an index, however it is laid out."""
    ((sql,),) = rows(file, f"SELECT coalesce((SELECT sql FROM sqlite_master WHERE name = '{index}'), '')")
    return " ".join(sql.partition(" WHERE ")[2].split())


def dump(file: Path) -> str:
    """SQL that makes a database like this one, without the tables SQLite keeps for itself."""
    shadows = {row[1] for row in rows(file, "PRAGMA table_list") if row[2] == "shadow"}
    made = rows(file, "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    lines = [f"{sql};" for name, table, sql in made if name != "sqlite_sequence" and table not in shadows]
    for table in ("tenants", "alembic_version"):
        with contextlib.closing(sqlite3.connect(file)) as conn:
            wanted = [line for line in conn.iterdump() if line.startswith(f'INSERT INTO "{table}"')]
        lines += wanted
    return "\n".join(re.sub(r"[ \t]+\n", "\n", line) for line in lines) + "\n"


@pytest.mark.parametrize("schema", FIXTURES, ids=lambda path: path.stem)
def test_a_database_of_an_earlier_release_becomes_as_a_new_one(tmp_path: Path, schema: Path) -> None:
    assert shape(brought(old(tmp_path / "old", schema))) == shape(brought(tmp_path / "new"))
    assert rows(tmp_path / "old" / "perdure.db", "SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_the_first_schema_is_kept() -> None:
    assert FIXTURES[0].name == "schema-0001.sql"
    assert all(f"('{path.stem.removeprefix('schema-')}')" in path.read_text() for path in FIXTURES)


def test_head_is_the_newest_of_one_row_of_migrations() -> None:
    files = sorted(path.name.partition("_")[0] for path in VERSIONS.glob("*.py"))
    script = ScriptDirectory(str(VERSIONS.parent))
    assert [step.revision for step in script.walk_revisions()] == files[::-1]
    assert script.get_heads() == [HEAD] == files[-1:]
    assert steps.known() == set(files)


def test_a_new_database_has_what_the_tables_say(tmp_path: Path) -> None:
    file = brought(tmp_path)

    def ours(name: str | None, kind: str, parents: Any) -> bool:
        return kind != "table" or not str(name).startswith(OWN)

    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"include_name": ours, "compare_type": True})
        assert autogenerate.compare_metadata(context, metadata) == []
    engine.dispose()
    tables = {name for name, *_ in rows(file, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in tables if not name.startswith((*OWN, "sqlite_"))} == set(metadata.tables)
    indexes = {index.name for table in metadata.tables.values() for index in table.indexes}
    assert indexes == {
        name for name, *_ in rows(file, "SELECT name FROM sqlite_master WHERE type='index' AND sql <> ''")
    }
    assert rows(file, "SELECT id FROM tenants") == [(DEFAULT_TENANT,)]


def test_a_new_database_opened_again_is_unchanged(tmp_path: Path) -> None:
    file = brought(tmp_path)
    once = dump(file)
    brought(tmp_path, times=2)
    assert dump(file) == once


def test_a_closed_database_is_one_file(tmp_path: Path) -> None:
    brought(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["perdure.db", "perdure.lock"]


# ---- a migration to come


@pytest.fixture
def next_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a migration of the next release, which this one knows of. The test writes `next.py` into it."""
    folder = tmp_path / "versions"
    folder.mkdir()
    made = steps._config

    def config() -> Any:
        settings = made()
        settings.set_main_option("version_locations", f"{VERSIONS}:{folder}")
        return settings

    monkeypatch.setattr(steps, "_config", config)
    monkeypatch.setattr(migrate, "HEAD", "next")
    return folder


def write_migration(folder: Path, *lines: str) -> None:
    body = "\n".join(f"    {line}" for line in lines)
    (folder / "next.py").write_text(
        f'from alembic import op\n\nrevision = "next"\ndown_revision = "{HEAD}"\n\n\ndef upgrade():\n{body}\n'
    )


COLUMN = "op.execute(\"ALTER TABLE tenants ADD COLUMN motto VARCHAR DEFAULT 'new'\")"


def test_a_backup_is_made_before_a_migration(tmp_path: Path, next_migration: Path) -> None:
    write_migration(next_migration, COLUMN)
    file = brought(old(tmp_path / "old", FIXTURES[0]))
    assert rows(file, "SELECT id, motto FROM tenants") == [(DEFAULT_TENANT, "new")]
    assert rows(file, "SELECT version_num FROM alembic_version") == [("next",)]
    copy = file.with_name("perdure.before-next.backup.db")
    assert shape(copy) == shape(old(tmp_path / "untouched", FIXTURES[0]) / "perdure.db")
    assert rows(copy, "SELECT id FROM tenants") == [(DEFAULT_TENANT,)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    before = copy.read_bytes()
    brought(tmp_path / "old")
    assert copy.read_bytes() == before


def test_a_migration_that_fails_leaves_the_data_as_it_was(tmp_path: Path, next_migration: Path) -> None:
    write_migration(next_migration, COLUMN, 'raise ZeroDivisionError("half way")')
    directory = old(tmp_path / "old", FIXTURES[0])
    before = shape(directory / "perdure.db")
    with pytest.raises(ZeroDivisionError):
        brought(directory)
    assert shape(directory / "perdure.db") == before
    assert rows(directory / "perdure.db", "SELECT version_num FROM alembic_version") == [("0001",)]


def test_a_migration_of_ours_that_is_not_known_is_of_a_newer_version(tmp_path: Path) -> None:
    directory = old(tmp_path / "old", FIXTURES[0])
    with contextlib.closing(sqlite3.connect(directory / "perdure.db")) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = 'next'")
    with pytest.raises(Unavailable, match="newer version"):
        brought(directory)
    assert not list(directory.glob("*backup*"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_in:
        sys.stdout.write(dump(brought(Path(made_in))))
