"""Catalogues with providers that tenants added, for the tests of these."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.providers import Provider
from perdure.providers.catalog import Catalog
from tests.providers.cataloguing import Offline

LISTED = {"/v1/models": {"data": [{"id": "tiny"}, {"id": "text-embedding-3-small"}]}}


class Rows:
    """What is stored, and how often it was read."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Provider]] = {}
        self.reads = 0

    def add(self, name: str, url: str | None = None, tenant: str = TENANT, **fields: Any) -> Provider:
        made = {"id": f"provider-{name}", "provider_type": "openai", "created_at": 1, "updated_at": 1, **fields}
        row = Provider(name=name, base_url=url, **made)
        self.rows.setdefault(tenant, []).append(row)
        return row

    async def read(self, tenant: str) -> list[Provider]:
        self.reads += 1
        return list(self.rows.get(tenant, ()))


@contextlib.asynccontextmanager
async def keeping(
    rows: Rows,
    environment: Mapping[str, str] | None = None,
    *,
    allow_private: bool = True,
    fall_backs: Sequence[str] = (),
) -> AsyncIterator[Catalog]:
    catalog = Catalog(
        environment or {}, [Offline()], stored=rows.read, unseal=bytes.decode, allow_private=allow_private,
        fall_backs=fall_backs,
    )  # fmt: skip
    try:
        yield catalog
    finally:
        await catalog.close()


def candidate(url: str | None, provider_type: str = "openai") -> Provider:
    return Provider(id="provider-1", name="mine", provider_type=provider_type, created_at=1, updated_at=1, base_url=url)
