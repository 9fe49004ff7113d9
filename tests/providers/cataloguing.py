"""Catalogues over scripted providers, for the tests of what they list, who is configured and what resolves."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from perdure.domain.errors import Invalid, NotFound
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.models import EmbeddingModel, Model
from perdure.providers.base import AnyDelta, Finished, ModelRequest, TextDelta
from perdure.providers.catalog import Catalog, ProviderReport
from tests.providers.scripted import Scripted, lists, run, serving

LETTA_TYPES = ("letta", "openai")


class Offline:
    """A provider that is always there."""

    name = "local"

    async def models(self) -> Sequence[Model]:
        return [
            Model(
                handle="local/tiny",
                name="tiny",
                provider_name="local",
                provider_type=LETTA_TYPES[0],
                endpoint_type=LETTA_TYPES[1],
                context_window=1000,
            )
        ]

    async def embedding_models(self) -> Sequence[EmbeddingModel]:
        return []

    async def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]:
        yield [TextDelta("from here"), Finished("stop")]

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def close(self) -> None:
        pass


OPENAI_LIST = {"/v1/models": {"data": [{"id": "gpt-4o"}, {"id": "qwen"}, {"id": "text-embedding-3-large"}]}}


@contextlib.asynccontextmanager
async def cataloguing(environment: Mapping[str, str]) -> AsyncIterator[Catalog]:
    # What fails here fails on purpose.
    catalog = Catalog({"PERDURE_RETRY_SECONDS": "0", **environment}, [Offline()])
    try:
        yield catalog
    finally:
        await catalog.close()


@contextlib.asynccontextmanager
async def serving_lists(
    replies: dict[str, Any], variable: str = "OPENAI_BASE_URL", suffix: str = "/v1", **environment: str
) -> AsyncIterator[tuple[Catalog, Scripted]]:
    """A catalogue with one provider, named by `variable`, that answers with `replies`."""
    async with (
        serving(lists(replies)) as server,
        cataloguing({variable: server.url + suffix, **environment}) as catalog,
    ):
        yield catalog, server


def listed(replies: dict[str, Any], variable: str = "OPENAI_BASE_URL", suffix: str = "/v1", **env: str) -> list[Model]:
    async def go() -> list[Model]:
        async with serving_lists(replies, variable, suffix, **env) as (catalog, _):
            return await catalog.models(TENANT)

    return run(go())


def windows(models: Sequence[Model]) -> dict[str, int]:
    return {model.handle: model.context_window for model in models}


def report_of(replies: dict[str, Any], variable: str, suffix: str = "", **env: str) -> ProviderReport:
    async def go() -> ProviderReport:
        async with serving_lists(replies, variable, suffix, **env) as (catalog, _):
            return (await catalog.report(TENANT))[0]

    return run(go())


def resolved(handle: str, replies: dict[str, Any], **environment: str) -> Model:
    async def go() -> Model:
        async with serving_lists(replies, **environment) as (catalog, _):
            return await catalog.resolve(TENANT, handle)

    return run(go())


def refused(handle: str, environment: Mapping[str, str] | None = None, embedding: bool = False) -> Exception:
    async def go() -> Exception:
        async with cataloguing(environment or {}) as catalog:
            with pytest.raises((Invalid, NotFound)) as raised:
                await (catalog.resolve_embedding(TENANT, handle) if embedding else catalog.resolve(TENANT, handle))
            return raised.value

    return run(go())
