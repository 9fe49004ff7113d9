"""Providers that tenants added, with their keys sealed."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows
from sqlalchemy.exc import IntegrityError

from perdure.domain.errors import Conflict, not_found
from perdure.domain.ids import now
from perdure.domain.providers import Provider
from perdure.store.database import Savepoint
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.secrets import Vault
from perdure.store.tables import providers

MOST: Final = 100
"""Providers of one tenant: each is asked for its models when they are listed."""

_COLUMNS: Final = tuple(providers.c[name] for name in Provider.__struct_fields__)


class ProviderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which providers of a tenant are meant; None means any."""

    name: str | None = None
    provider_type: str | None = None


def create(conn: Connection, tenant: str, provider: Provider, secrets: Mapping[str, str], vault: Vault) -> Provider:
    """Store a provider with these `domain.providers.SECRETS`. Raises Conflict for a name that another one has."""
    if _count(conn, tenant) >= MOST:
        raise Conflict(f"There are {MOST} providers already, which is the most there can be. Delete one of them first.")
    made = msgspec.structs.replace(provider, **_sealed(secrets, vault))
    try:
        with Savepoint(conn):
            conn.execute(insert(providers).values(tenant_id=tenant, **msgspec.structs.asdict(made)))
    except IntegrityError as error:
        raise Conflict(
            f"There is a provider named {provider.name!r} already. Change that one, or choose another name."
        ) from error
    return made


def get(conn: Connection, tenant: str, provider_id: str) -> Provider:
    """One provider. Raises NotFound."""
    found = select(*_COLUMNS).where(providers.c.tenant_id == tenant, providers.c.id == provider_id)
    row = conn.execute(found).mappings().one_or_none()
    if row is None:
        raise not_found("Provider", provider_id)
    return to_struct(row, Provider)


def list_page(conn: Connection, tenant: str, wanted: ProviderFilter, page: Page) -> list[Provider]:
    """A page of the providers that match, by when they were made. Raises NotFound for an unknown cursor."""
    found = select(*_COLUMNS).where(providers.c.tenant_id == tenant)
    if wanted.name is not None:
        found = found.where(providers.c.name == wanted.name)
    if wanted.provider_type is not None:
        found = found.where(providers.c.provider_type == wanted.provider_type)
    rows = select_page(
        conn, found, page,
        noun="Provider", sort=providers.c.created_at, key=providers.c.id, known=providers.c.tenant_id == tenant,
    )  # fmt: skip
    return [to_struct(row, Provider) for row in rows]


def all_of(conn: Connection, tenant: str) -> list[Provider]:
    """All providers of a tenant, oldest first."""
    found = select(*_COLUMNS).where(providers.c.tenant_id == tenant)
    rows = conn.execute(found.order_by(providers.c.created_at, providers.c.id)).mappings()
    return [to_struct(row, Provider) for row in rows]


def update(
    conn: Connection, tenant: str, before: Provider, fields: Mapping[str, Any], secrets: Mapping[str, str], vault: Vault
) -> Provider:
    """Replace fields and secrets of a provider; secrets that are not named stay. The caller has read it just now."""
    after = msgspec.structs.replace(
        before, **fields, **_sealed(secrets, vault), updated_at=max(now(), before.updated_at + 1)
    )
    of_this = (providers.c.tenant_id == tenant, providers.c.id == before.id)
    conn.execute(update_rows(providers).where(*of_this).values(**msgspec.structs.asdict(after)))
    return after


def delete(conn: Connection, tenant: str, provider_id: str) -> None:
    """Delete a provider with its keys. Raises NotFound."""
    gone = delete_rows(providers).where(providers.c.tenant_id == tenant, providers.c.id == provider_id)
    if conn.execute(gone).rowcount == 0:
        raise not_found("Provider", provider_id)


def _count(conn: Connection, tenant: str) -> int:
    return conn.execute(select(func.count()).select_from(providers).where(providers.c.tenant_id == tenant)).scalar_one()


def _sealed(secrets: Mapping[str, str], vault: Vault) -> dict[str, bytes | None]:
    """An empty secret is none."""
    return {name: vault.seal(value) if value else None for name, value in secrets.items()}
