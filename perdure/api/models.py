"""Models: which can be used."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends
from starlette.responses import Response

from perdure.api.auth import CallerDep
from perdure.api.queries import ModelQuery
from perdure.api.reply import reply
from perdure.domain.models import EmbeddingModel, Model
from perdure.wire.models import embedding_model, model

AnyModel = TypeVar("AnyModel", Model, EmbeddingModel)


async def list_models(caller: CallerDep, query: Annotated[ModelQuery, Depends()]) -> Response:
    """The language models that can be used now."""
    return reply([model(each) for each in _wanted(await caller.server.catalog.models(caller.tenant), query)])


async def list_embedding_models(caller: CallerDep, query: Annotated[ModelQuery, Depends()]) -> Response:
    """The embedding models that can be used now."""
    found = _wanted(await caller.server.catalog.embedding_models(caller.tenant), query)
    return reply([embedding_model(each) for each in found])


def _wanted(found: Sequence[AnyModel], query: ModelQuery) -> list[AnyModel]:
    return [
        each
        for each in found
        if query.provider_name in (None, each.provider_name)
        and query.provider_type in (None, each.provider_type)
        and (query.provider_category is None or each.provider_category in query.provider_category)
    ]
