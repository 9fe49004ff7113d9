"""Secrets: sealed on disk, opened with the right key only."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import select

from perdure.domain.errors import Unavailable
from perdure.store import secrets, tenants
from perdure.store.secrets import open_vault
from perdure.store.tables import agent_secrets
from perdure.store.tables import tenants as tenants_table
from tests.memory.home import Home
from tests.rig.stores import Place


def test_what_was_sealed_opens_again_after_a_restart(tmp_path: Path) -> None:
    sealed = open_vault(tmp_path, None).seal("päßwort")
    assert open_vault(tmp_path, None).open(sealed) == "päßwort"
    assert "wort" not in sealed.decode("latin-1")
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_a_passphrase_needs_no_file(tmp_path: Path) -> None:
    sealed = open_vault(tmp_path, "one").seal("x")
    assert open_vault(tmp_path, "one").open(sealed) == "x"
    assert list(tmp_path.iterdir()) == []


def test_the_same_text_is_never_sealed_alike(tmp_path: Path) -> None:
    vault = open_vault(tmp_path, "one")
    assert vault.seal("x") != vault.seal("x")


@pytest.mark.parametrize(
    "damage", [lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]), lambda blob: blob[:5], lambda _: b""]
)
def test_a_damaged_secret_says_what_to_do(tmp_path: Path, damage) -> None:
    vault = open_vault(tmp_path, "one")
    with pytest.raises(Unavailable, match="sealed with another key"):
        vault.open(damage(vault.seal("x")))


def test_another_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="LETTA_ENCRYPTION_KEY"):
        open_vault(tmp_path, "two").open(open_vault(tmp_path, "one").seal("x"))


def test_a_damaged_key_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("c2hvcnQ=\n")
    with pytest.raises(Unavailable, match="damaged"):
        open_vault(tmp_path, None)
    assert (tmp_path / "secret.key").read_text() == "c2hvcnQ=\n"


def test_replacing_secrets_keeps_the_ids_of_keys_that_stay(tmp_path: Path, place: Place) -> None:
    vault = open_vault(tmp_path, "one")
    with Home(place) as home:
        agent = home.agent()
        home.write(lambda conn: secrets.replace(conn, agent.id, {"A": "1", "B": "2"}, vault))
        before = home.read(lambda conn: secrets.of_agent(conn, agent.id, vault))
        home.write(lambda conn: secrets.replace(conn, agent.id, {"B": "3", "C": "4"}, vault))
        after = home.read(lambda conn: secrets.of_agent(conn, agent.id, vault))
        raw = home.read(lambda conn: conn.execute(select(agent_secrets.c.value)).scalars().all())
    assert [(secret.key, secret.value) for secret in before] == [("A", "1"), ("B", "2")]
    assert [(secret.key, secret.value) for secret in after] == [("B", "3"), ("C", "4")]
    assert after[0].id == before[1].id
    assert all(value not in (b"3", b"4") for value in raw)


def test_the_default_tenant_is_made_once(place: Place) -> None:
    with Home(place) as home:
        home.write(tenants.ensure_default)
        home.write(tenants.ensure_default)
        assert len(home.read(lambda conn: conn.execute(select(tenants_table)).all())) == 1
