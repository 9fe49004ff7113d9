"""Providers that tenants added: looked at before they are kept, read again every few seconds, asked with their own key.

The address of one is the caller's choice, so nothing of the environment is sent to it: no key, no header, no proxy. It
must be of the open internet unless the operator allows others.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn
from urllib.parse import urlsplit

from perdure.domain.errors import Invalid, ModelError, PerdureError
from perdure.domain.models import EmbeddingModel, Model
from perdure.domain.providers import SECRETS, Provider
from perdure.providers import base
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.bedrock import BEARER_NAME, KEY_NAMES, REGION_NAMES, bedrock_endpoint
from perdure.providers.configured import endpoint_of, kind_at
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import KNOWN_PROVIDERS, KnownProvider
from perdure.providers.outbound import PrivateAddressError, read_target, resolve
from perdure.providers.remote import RemoteProvider
from perdure.providers.retry import Patience
from perdure.providers.source import Source

SETTING: Final = "PERDURE_PRIVATE_PROVIDERS"
READ_SECONDS: Final = 2.0
"""How soon a provider that another process stored is seen here."""
RESOLVE_SECONDS: Final = 5.0


class Vendors:
    """Makes providers out of what tenants stored, or would like to store.

    `http` is for addresses that the operator or this program chose, `public_http` for those that callers chose.
    """

    def __init__(self, http: HttpClient, public_http: HttpClient, *, allow_private: bool) -> None:
        self._http = http
        self._public_http = public_http
        self._allow_private = allow_private

    def remote(self, provider: Provider, secrets: Mapping[str, str]) -> RemoteProvider:
        """The provider with its `SECRETS`, ready to be asked.

        Raises Invalid for a type that is not known, an address of no use, and where something is missing.
        """
        kind = kind_of(provider.provider_type)
        http = self._http
        if provider.base_url:
            self._check(provider.base_url)
            http = http if self._allow_private else self._public_http
        endpoint = _bedrock(provider, secrets) if kind.publisher else _endpoint(provider, kind, secrets)
        return RemoteProvider(http, endpoint, kind_at(kind, endpoint.url), category="byok")

    async def check_host(self, provider: Provider) -> None:
        """Raises Invalid where the address is a name that leads to a private address now; later it is seen again."""
        if provider.base_url and not self._allow_private:
            target = self._check(provider.base_url)
            try:
                async with asyncio.timeout(RESOLVE_SECONDS):
                    await resolve(*target, allow_private=False, setting=SETTING)
            except PrivateAddressError as error:
                raise Invalid(error.message) from error
            except OSError:
                return  # It need not be up yet.

    def _check(self, url: str) -> tuple[str, int]:
        target = read_target(url, allow_private=self._allow_private, setting=SETTING)
        if urlsplit(url).query or "#" in url:
            raise Invalid("A base_url must end with its path: no '?' and no '#'.")
        return target.host, target.port


def _endpoint(provider: Provider, kind: KnownProvider, secrets: Mapping[str, str]) -> Endpoint:
    url = provider.base_url or kind.url
    if url is None:
        raise Invalid(f"A provider of type {provider.provider_type!r} needs a base_url: where its server is.")
    return endpoint_of(kind, provider.name, ("base_url", url), secrets.get("api_key", ""))


def _bedrock(provider: Provider, secrets: Mapping[str, str]) -> Endpoint:
    """AWS, by what the tenant gave and nothing of the environment: two keys, or one that is a bearer token."""
    key, access_key = secrets.get("api_key", ""), secrets.get("access_key", "")
    account = {REGION_NAMES[0]: provider.region or ""}
    account |= dict(zip(KEY_NAMES, (access_key, key), strict=True)) if access_key else {BEARER_NAME: key}
    endpoint = bedrock_endpoint(account, provider.name, (provider.base_url or "").rstrip("/"))
    if endpoint is None:
        raise Invalid("A provider of type 'bedrock' needs a region and an api_key; a secret one an access_key, too.")
    return endpoint


def kind_of(provider_type: str) -> KnownProvider:
    """The row of providers of this type, by the contract's word for it or by our own. Raises Invalid."""
    # Accounts with Google's cloud have credentials of another kind, which only the operator can give.
    known = [row for row in KNOWN_PROVIDERS if not row.publisher or row.dialect == "anthropic_bedrock"]
    rows = {row.name: row for row in known} | {row.types[0]: row for row in reversed(known)}
    if provider_type not in rows:
        raise Invalid(f"Providers of type {provider_type!r} are not supported. These are: {', '.join(sorted(rows))}.")
    return rows[provider_type]


class StoredProviders:
    """The providers of each tenant, as sources that live as long as their rows stay as they are.

    `read` gives a tenant's rows, `unseal` the text of a sealed key (it may take a moment, and is called in a thread).
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[Sequence[Provider]]],
        unseal: Callable[[bytes], str],
        vendors: Vendors,
        patience: Patience,
    ) -> None:
        self._patience = patience
        self._read = read
        self._unseal = unseal
        self._vendors = vendors
        self._shelves: dict[str, _Shelf] = {}

    async def of(self, tenant: str) -> Mapping[str, Source]:
        """A tenant's sources by name, at most READ_SECONDS old. Raises Unavailable where they cannot be read."""
        shelf = self._shelves.get(tenant)
        if shelf is None:
            shelf = self._shelves[tenant] = _Shelf()
        if shelf.is_old():
            async with shelf.turn:
                if shelf.is_old():
                    await self._refill(tenant, shelf)
        return shelf.sources

    def forget(self, tenant: str) -> None:
        """What is known of a tenant's providers is out of date."""
        if tenant in self._shelves:
            self._shelves[tenant].read_at = -math.inf
            self._shelves[tenant].outdated = True

    async def _refill(self, tenant: str, shelf: "_Shelf") -> None:
        began, shelf.outdated = time.monotonic(), False
        rows = await self._read(tenant)
        versions = {row.name: (row.id, row.updated_at) for row in rows}
        sources = {
            row.name: shelf.sources[row.name]
            if shelf.versions.get(row.name) == versions[row.name]
            else Source(await self._made(row), self._patience)
            for row in rows
        }
        shelf.versions, shelf.sources = versions, sources
        if not shelf.outdated:
            shelf.read_at = began

    async def _made(self, row: Provider) -> base.Provider:
        try:
            sealed = {name: blob for name in SECRETS if (blob := getattr(row, name))}
            secrets = {name: await asyncio.to_thread(self._unseal, blob) for name, blob in sealed.items()}
            return self._vendors.remote(row, secrets)
        except PerdureError as error:
            return _Unusable(row.name, error.message)


class _Shelf:
    """One tenant's sources, with the versions of the rows they were made of; `outdated` if they changed meanwhile."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.outdated = False
        self.read_at = -math.inf
        self.versions: Mapping[str, tuple[str, int]] = {}
        self.sources: Mapping[str, Source] = {}

    def is_old(self) -> bool:
        return time.monotonic() - self.read_at > READ_SECONDS


class _Unusable:
    """Stands in the place of a stored provider that cannot be asked, and says why."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    async def models(self) -> Sequence[Model]:
        self._refuse()

    async def embedding_models(self) -> Sequence[EmbeddingModel]:
        self._refuse()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[AnyDelta]]:
        self._refuse()
        yield ()

    async def count(self, request: ModelRequest) -> int | None:
        self._refuse()

    async def embed(self, model: EmbeddingModel, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self._refuse()

    async def close(self) -> None: ...

    def _refuse(self) -> NoReturn:
        raise ModelError("llm_error", f"Provider {self.name!r} cannot be used: {self._why}")
