"""Killed while it brings an old database to this version: nothing is changed, and the next start does it."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.kill import workload
from tests.kill.checker import rows, violations
from tests.rig import postgres
from tests.rig.model import ModelServer

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SCHEMA = "SELECT version_num FROM alembic_version"


def make_first_release(home: workload.Home) -> None:
    """What such a server left: tables, and a tenant of its own."""
    more = "INSERT INTO tenants VALUES ('org-of-old', 'old', 0, 0)"
    if url := home.server.environment.get(workload.DATABASE):
        postgres.execute(url, (FIXTURES / "postgresql-0001.sql").read_text())
        postgres.query(url, more)
        return
    home.server.data.mkdir()
    with contextlib.closing(sqlite3.connect(home.server.data / "perdure.db")) as conn, conn:
        conn.executescript((FIXTURES / "schema-0001.sql").read_text())
        conn.execute(more)


@pytest.mark.parametrize("store", workload.STORES)
@pytest.mark.parametrize("trap", ["index after 2", "migration after 1"])
def test_killed_half_way_through_its_migrations(trap: str, store: str, tmp_path: Path, models: ModelServer) -> None:
    with workload.made(tmp_path, models, store) as home:
        make_first_release(home)
        home.armed.touch()
        with contextlib.suppress(AssertionError):  # it does not come to serve
            home.start(trap)
        assert home.server.wait() == -9
        assert rows(home, SCHEMA) == [("0001",)]
        home.start()
        assert rows(home, SCHEMA) != [("0001",)]
        assert rows(home, "SELECT name FROM tenants WHERE id = 'org-of-old'") == [("old",)]
        home.populate(1)
        home.send(home.agents[0], "both")
        assert violations(home) == []
