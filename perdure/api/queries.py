"""Queries of the lists: filters, cursors, and the order in both generations' words (the newer ones win).

Plain classes, which FastAPI reads when an operation is first asked for.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from perdure.domain.runs import ACTIVE, StopReason
from perdure.store.agents import AgentFilter, OrderBy
from perdure.store.approvals import ApprovalFilter
from perdure.store.blocks import BlockFilter
from perdure.store.conversations import ConversationFilter
from perdure.store.conversations import OrderBy as ConversationOrder
from perdure.store.pages import DEFAULT_LIMIT, MAX_LIMIT, Page
from perdure.store.providers import ProviderFilter
from perdure.store.runs import RunFilter
from perdure.store.steps import Feedback, StepFilter
from perdure.store.tools import ToolFilter
from perdure.wire.requests import MessageType

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
class RunQuery(PageQuery):
    """Which runs. `agent_ids` is the older spelling of `agent_id`."""

    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100
    order_by: Literal["created_at"] | None = None
    agent_id: str | None = None
    agent_ids: Texts = None
    statuses: Texts = None
    background: bool | None = None
    stop_reason: StopReason | None = None
    conversation_id: str | None = None
    active: bool = False

    def filter(self) -> RunFilter:
        return RunFilter(
            agent_ids=self.agent_ids if self.agent_id is None else [self.agent_id],
            statuses=ACTIVE if self.active else self.statuses,
            background=self.background,
            stop_reason=self.stop_reason,
            conversation_id=self.conversation_id,
        )


@dataclass(frozen=True)
class ActiveRunQuery:
    """Which of the runs that are under way."""

    agent_id: str | None = None
    agent_ids: Texts = None
    background: bool | None = None

    def filter(self) -> RunFilter:
        agents = self.agent_ids if self.agent_id is None else [self.agent_id]
        return RunFilter(agent_ids=agents, statuses=ACTIVE, background=self.background)


@dataclass(frozen=True)
class StepQuery(PageQuery):
    """Which steps. Dates without a zone are UTC."""

    order_by: Literal["created_at"] | None = None
    agent_id: str | None = None
    model: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    trace_ids: Texts = None
    feedback: Feedback | None = None
    has_feedback: bool | None = None
    tags: Texts = None
    project_id: str | None = None

    def filter(self) -> StepFilter:
        return StepFilter(
            agent_id=self.agent_id,
            model=self.model,
            project_id=self.project_id,
            feedback=self.feedback,
            has_feedback=self.has_feedback,
            tags=self.tags or (),
            created_after=_microseconds(self.start_date),
            created_before=_microseconds(self.end_date),
        )


@dataclass(frozen=True)
class MessagePageQuery(PageQuery):
    """Which page of messages; without an order, oldest first."""

    limit: Annotated[int, Query(ge=1, le=1000)] = 100
    order_by: Literal["created_at"] | None = None


@dataclass(frozen=True)
class ConversationMessageQuery(MessagePageQuery):
    """Which page of a conversation's messages; without an order, newest first. Errors are always included."""

    order: Literal["asc", "desc"] | None = "desc"
    agent_id: str | None = None
    group_id: str | None = None
    include_err: bool | None = None
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None

    def kinds(self) -> frozenset[str] | None:
        """The types to show; None for all."""
        wanted = self.include_return_message_types
        return None if wanted is None else frozenset(wanted)


@dataclass(frozen=True)
class ConversationQuery(PageQuery):
    """Which conversations."""

    agent_id: str | None = None
    order_by: ConversationOrder = "created_at"
    archive_status: Literal["unarchived", "archived", "all"] = "unarchived"
    summary_search: str | None = None

    def filter(self) -> ConversationFilter:
        return ConversationFilter(
            agent_id=self.agent_id,
            archived=None if self.archive_status == "all" else self.archive_status == "archived",
            summary_search=self.summary_search,
        )


@dataclass(frozen=True)
class ApprovalQuery(PageQuery):
    """Which requests for approval. `conversation_id` may be `default`, which means default conversations alone."""

    agent_id: str | None = None
    conversation_id: str | None = None
    order_by: Literal["created_at"] | None = None

    def filter(self) -> ApprovalFilter:
        return ApprovalFilter(agent_id=self.agent_id, conversation_id=self.conversation_id)


@dataclass(frozen=True)
class TagQuery(PageQuery):
    """Which tags."""

    name: str | None = None
    query_text: str | None = None


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


def _microseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)
