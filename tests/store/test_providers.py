"""Providers that tenants added: their keys are sealed, their names unique, and nobody else's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from perdure.domain.errors import Conflict, NotFound, Unavailable
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.providers import Provider
from perdure.store import providers
from perdure.store.pages import Page
from perdure.store.providers import ProviderFilter
from perdure.store.secrets import open_vault
from perdure.store.tables import tenants
from tests.agents.studio import Studio
from tests.rig.stores import SQLITE, Place

KEY = "sk-canary-of-the-store-0123456789"
OTHER = "org-11111111-1111-4111-8111-111111111111"


@pytest.fixture
def studio(place: Place) -> Iterator[Studio]:
    with Studio(place) as opened:
        yield opened


def provider(name: str = "mine", **fields: Any) -> Provider:
    made: dict[str, Any] = {"provider_type": "openai", "created_at": 1, "updated_at": 1}
    return Provider(id=new_id("provider"), name=name, **made | fields)


def added(studio: Studio, made: Provider, tenant: str = DEFAULT_TENANT, **secrets: str) -> Provider:
    return studio.write(lambda conn: providers.create(conn, tenant, made, secrets, studio.vault))


def with_tenant(conn: Connection) -> None:
    conn.execute(insert(tenants).values(id=OTHER, name="other", created_at=1, updated_at=1))


@pytest.mark.stores(SQLITE)
def test_no_file_holds_a_key(studio: Studio, tmp_path: Path) -> None:
    made = added(studio, provider(), api_key=KEY, access_key=KEY)
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert any(made.id.encode() in content for content in files)
    assert not any(KEY.encode() in content for content in files)


def test_what_is_added_is_found_again_with_its_keys_sealed(studio: Studio) -> None:
    made = added(studio, provider(base_url="https://api.example.com/v1", region="eu"), api_key=KEY, access_key="")
    found = studio.read(lambda conn: providers.get(conn, DEFAULT_TENANT, made.id))
    assert found == made
    assert (found.base_url, found.region, found.access_key) == ("https://api.example.com/v1", "eu", None)
    assert found.api_key is not None
    assert KEY.encode() not in found.api_key
    assert studio.vault.open(found.api_key) == KEY


def test_a_key_sealed_under_another_passphrase_is_refused_not_guessed(studio: Studio, tmp_path: Path) -> None:
    made = added(studio, provider(), api_key=KEY)
    assert made.api_key is not None
    with pytest.raises(Unavailable, match="sealed with another key"):
        open_vault(tmp_path, "another passphrase").open(made.api_key)


def test_names_are_unique_for_a_tenant_only(studio: Studio) -> None:
    studio.write(with_tenant)
    added(studio, provider("mine"))
    with pytest.raises(Conflict, match="'mine'"):
        added(studio, provider("mine"))
    added(studio, provider("mine"), tenant=OTHER)
    assert len(studio.read(lambda conn: providers.all_of(conn, DEFAULT_TENANT))) == 1


def test_another_tenant_sees_changes_and_deletes_nothing(studio: Studio) -> None:
    studio.write(with_tenant)
    made = added(studio, provider(), api_key=KEY)
    assert studio.read(lambda conn: providers.all_of(conn, OTHER)) == []
    assert studio.read(lambda conn: providers.list_page(conn, OTHER, ProviderFilter(), Page())) == []
    with pytest.raises(NotFound):
        studio.read(lambda conn: providers.get(conn, OTHER, made.id))
    with pytest.raises(NotFound):
        studio.write(lambda conn: providers.delete(conn, OTHER, made.id))
    with pytest.raises(NotFound):
        studio.read(lambda conn: providers.list_page(conn, OTHER, ProviderFilter(), Page(after=made.id)))
    studio.write(lambda conn: providers.update(conn, OTHER, made, {"region": "x"}, {}, studio.vault))
    assert studio.read(lambda conn: providers.get(conn, DEFAULT_TENANT, made.id)) == made


def test_a_change_leaves_what_it_does_not_name_and_is_always_later(studio: Studio) -> None:
    far = 2**52
    made = added(studio, provider(updated_at=far, region="eu"), api_key=KEY, access_key="two")
    after = studio.write(
        lambda conn: providers.update(
            conn, DEFAULT_TENANT, made, {"base_url": "https://new.example/v1"}, {"access_key": ""}, studio.vault
        )
    )
    assert (after.base_url, after.region, after.api_key, after.access_key) == (
        "https://new.example/v1", "eu", made.api_key, None,
    )  # fmt: skip
    assert after.updated_at == far + 1
    assert studio.read(lambda conn: providers.get(conn, DEFAULT_TENANT, made.id)) == after


def test_lists_filter_and_page(studio: Studio) -> None:
    made = [added(studio, provider(f"p{n}", provider_type="groq" if n else "xai", created_at=n)) for n in range(3)]

    def names(wanted: ProviderFilter, page: Page) -> list[str]:
        return [each.name for each in studio.read(lambda conn: providers.list_page(conn, DEFAULT_TENANT, wanted, page))]

    assert names(ProviderFilter(), Page()) == ["p2", "p1", "p0"]
    assert names(ProviderFilter(), Page(ascending=True, after=made[0].id, limit=1)) == ["p1"]
    assert names(ProviderFilter(provider_type="xai"), Page()) == ["p0"]
    assert names(ProviderFilter(name="p1"), Page()) == ["p1"]


def test_there_is_a_limit(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "MOST", 1)
    added(studio, provider("one"))
    with pytest.raises(Conflict, match="the most"):
        added(studio, provider("two"))
