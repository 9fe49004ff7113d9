"""Queries of the lists of models, and of those who serve them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query

from perdure.api.queries import PageQuery
from perdure.store.providers import ProviderFilter


@dataclass(frozen=True)
class ProviderQuery(PageQuery):
    """Which providers of those that were added."""

    order_by: Literal["created_at"] | None = None
    name: str | None = None
    provider_type: str | None = None

    def filter(self) -> ProviderFilter:
        return ProviderFilter(name=self.name, provider_type=self.provider_type)


@dataclass(frozen=True)
class ModelQuery:
    """Which models."""

    provider_category: Annotated[list[Literal["base", "byok"]] | None, Query()] = None
    provider_name: str | None = None
    provider_type: str | None = None
