"""Providers that callers add, with keys of their own."""

from typing import Annotated

import msgspec
from fastapi import Depends
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.paths import ProviderId
from perdure.api.queries import ProviderQuery
from perdure.api.reply import reply
from perdure.domain.errors import Invalid
from perdure.domain.providers import Provider
from perdure.store import providers as provider_store
from perdure.wire.providers import CheckProviderBody, CreateProviderBody, UpdateProviderBody, provider


async def list_providers(caller: CallerDep, query: Annotated[ProviderQuery, Depends()]) -> Response:
    """A page of the providers that were added; those of the server's own settings are not among them."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: provider_store.list_page(conn, caller.tenant, wanted, page))
    return reply([provider(each) for each in found])


async def create_provider(caller: CallerDep, body: CreateProviderBody) -> Response:
    """Add a provider. Its models can be used at once; its keys are never shown again."""
    server, secrets, new = caller.server, body.secrets(), body.provider(body.name)
    server.catalog.vet_name(new.name)
    await server.catalog.vet(new)
    made = await server.db.write(lambda conn: provider_store.create(conn, caller.tenant, new, secrets, server.vault))
    server.catalog.forget(caller.tenant)
    return reply(provider(made))


async def retrieve_provider(caller: CallerDep, provider_id: ProviderId) -> Response:
    """One provider."""
    return reply(provider(await _found(caller, provider_id)))


async def update_provider(caller: CallerDep, provider_id: ProviderId, body: UpdateProviderBody) -> Response:
    """Change a provider."""
    server, fields, secrets = caller.server, body.changes(), body.secrets()
    await server.catalog.vet(msgspec.structs.replace(await _found(caller, provider_id), **fields))

    def change(conn: Connection) -> Provider:
        before = provider_store.get(conn, caller.tenant, provider_id)
        # Whoever may change a provider but does not know its key could have it sent to a server of their own.
        if before.api_key and "api_key" not in secrets and fields.get("base_url", before.base_url) != before.base_url:
            raise Invalid("Send the api_key along with a new base_url: the stored key is not sent to another address.")
        return provider_store.update(conn, caller.tenant, before, fields, secrets, server.vault)

    changed = await server.db.write(change)
    server.catalog.forget(caller.tenant)
    return reply(provider(changed))


async def delete_provider(caller: CallerDep, provider_id: ProviderId) -> Response:
    """Remove a provider and its keys. Agents that use its models fail until they are given others."""
    server = caller.server
    await server.db.write(lambda conn: provider_store.delete(conn, caller.tenant, provider_id))
    server.catalog.forget(caller.tenant)
    return reply({"message": f"Provider {provider_id} deleted"})


async def check_provider(caller: CallerDep, body: CheckProviderBody) -> Response:
    """Ask a provider whether it takes this key; nothing is stored."""
    await caller.server.catalog.check(body.provider(body.provider_type), body.secrets())
    return reply({"message": f"{body.provider_type} takes this key."})


async def _found(caller: Caller, provider_id: str) -> Provider:
    return await caller.server.db.read(lambda conn: provider_store.get(conn, caller.tenant, provider_id))
