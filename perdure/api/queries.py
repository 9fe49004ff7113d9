"""Queries of the lists: filters, cursors, and the order in both generations' words (the newer ones win).

Plain classes, which FastAPI reads when an operation is first asked for.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from perdure.domain.runs import StopReason
from perdure.store.agents import AgentFilter, OrderBy
from perdure.store.blocks import BlockFilter
from perdure.store.pages import DEFAULT_LIMIT, MAX_LIMIT, Page
from perdure.store.tools import ToolFilter

Texts = Annotated[list[str] | None, Query()]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


@dataclass(frozen=True)
class PageQuery:
    """Which page. `before` and `after` are ids of items and relative to the order."""

    before: str | None = None
    after: str | None = None
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    order: Literal["asc", "desc"] | None = None
    ascending: bool | None = None

    def page(self, *, ascending: bool = False) -> Page:
        """The page asked for; `ascending` is the order where the query names none."""
        if self.order is not None:
            ascending = self.order == "asc"
        elif self.ascending is not None:
            ascending = self.ascending
        return Page(limit=self.limit, after=self.after, before=self.before, ascending=ascending)


@dataclass(frozen=True)
class AgentPageQuery(PageQuery):
    """Which page of agents. Relations are always filled, so what to include changes nothing."""

    order_by: OrderBy | None = None
    sort_by: OrderBy | None = None
    include: Texts = None
    include_relationships: Texts = None

    def sort(self) -> OrderBy:
        return self.order_by or self.sort_by or "created_at"


@dataclass(frozen=True)
class AgentQuery(AgentPageQuery):
    """Which agents."""

    name: str | None = None
    query_text: str | None = None
    tags: Texts = None
    match_all_tags: bool = False
    identity_id: str | None = None
    identifier_keys: Texts = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    last_stop_reason: StopReason | None = None
    show_hidden_agents: bool = False

    def filter(self) -> AgentFilter:
        return AgentFilter(
            name=self.name,
            query_text=self.query_text,
            tags=tuple(self.tags or ()),
            match_all_tags=self.match_all_tags,
            identity_id=self.identity_id,
            identifier_keys=tuple(self.identifier_keys or ()),
            project_id=self.project_id,
            template_id=self.template_id,
            base_template_id=self.base_template_id,
            last_stop_reason=self.last_stop_reason,
            show_hidden=self.show_hidden_agents,
        )


@dataclass(frozen=True)
class BlockQuery(PageQuery):
    """Which blocks."""

    label: str | None = None
    name: str | None = None
    label_search: str | None = None
    value_search: str | None = None
    description_search: str | None = None
    tags: Texts = None
    match_all_tags: bool = False
    read_only: bool | None = None
    templates_only: bool = False
    project_id: str | None = None
    identity_id: str | None = None
    identifier_keys: Texts = None
    connected_to_agents_count_gt: Count | None = None
    connected_to_agents_count_lt: Count | None = None
    connected_to_agents_count_eq: Annotated[list[Count] | None, Query()] = None
    show_hidden_blocks: bool = False

    def filter(self) -> BlockFilter:
        return BlockFilter(
            label=self.label,
            name=self.name,
            label_search=self.label_search,
            value_search=self.value_search,
            description_search=self.description_search,
            tags=tuple(self.tags or ()),
            match_all_tags=self.match_all_tags,
            read_only=self.read_only,
            templates_only=self.templates_only,
            project_id=self.project_id,
            identity_id=self.identity_id,
            identifier_keys=tuple(self.identifier_keys or ()),
            agents_more_than=self.connected_to_agents_count_gt,
            agents_fewer_than=self.connected_to_agents_count_lt,
            agents_exactly=tuple(self.connected_to_agents_count_eq or ()),
            show_hidden=self.show_hidden_blocks,
        )


@dataclass(frozen=True)
class ToolQuery(PageQuery):
    """Which tools."""

    name: str | None = None
    names: Texts = None
    tool_ids: Texts = None
    tool_types: Texts = None
    exclude_tool_types: Texts = None
    search: str | None = None
    return_only_letta_tools: bool | None = None

    def filter(self) -> ToolFilter:
        return ToolFilter(
            name=self.name,
            names=None if self.names is None else tuple(self.names),
            ids=None if self.tool_ids is None else tuple(self.tool_ids),
            tool_types=None if self.tool_types is None else tuple(self.tool_types),
            exclude_tool_types=tuple(self.exclude_tool_types or ()),
            search=self.search,
            built_in_only=bool(self.return_only_letta_tools),
        )


@dataclass(frozen=True)
class TagQuery(PageQuery):
    """Which tags."""

    name: str | None = None
    query_text: str | None = None


@dataclass(frozen=True)
class ModelQuery:
    """Which models."""

    provider_category: Annotated[list[Literal["base", "byok"]] | None, Query()] = None
    provider_name: str | None = None
    provider_type: str | None = None
