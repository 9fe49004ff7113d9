"""Queries over archives and their passages."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query

from perdure.api.queries import PageQuery, Texts
from perdure.memory.passages import DEFAULT_FOUND, Wanted
from perdure.store.archives import ArchiveFilter
from perdure.wire.times import End, Moment, microseconds


@dataclass(frozen=True)
class ArchiveQuery(PageQuery):
    """Which archives."""

    order_by: Literal["created_at"] | None = None
    name: str | None = None
    agent_id: str | None = None

    def filter(self) -> ArchiveFilter:
        return ArchiveFilter(name=self.name, agent_id=self.agent_id)


@dataclass(frozen=True)
class PassageQuery(PageQuery):
    """Which passages of an agent's; without an order, oldest first. `search` is a part of their text, in any case."""

    limit: Annotated[int, Query(ge=1, le=1000)] = 100
    search: str | None = None


@dataclass(frozen=True)
class PassageSearchQuery:
    """What an agent is asked to find. Times without an offset are UTC."""

    query: str
    tags: Texts = None
    tag_match_mode: Literal["any", "all"] = "any"
    top_k: Annotated[int | None, Query(ge=1, le=100)] = None
    start_datetime: Moment | None = None
    end_datetime: End | None = None

    def wanted(self) -> Wanted:
        end = None if self.end_datetime is None else microseconds(self.end_datetime)
        return Wanted(
            query=self.query,
            limit=self.top_k or DEFAULT_FOUND,
            tags=tuple(self.tags or ()),
            every_tag=self.tag_match_mode == "all",
            start=None if self.start_datetime is None else microseconds(self.start_datetime),
            end=None if end is None else end + 1,
        )
