"""What callers send to make or change an agent."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from perdure.domain.agents import DEFAULT_AGENT_TYPE, AgentChanges, AgentType, NewAgent
from perdure.domain.ids import new_id
from perdure.domain.messages import Message, TextPart
from perdure.domain.runs import StopReason
from perdure.wire.blocks import CreateBlockBody, Tags
from perdure.wire.contents import TextContent
from perdure.wire.model_settings import CompactionBody, ModelChoiceBody
from perdure.wire.text import Body, Text
from perdure.wire.times import microseconds
from perdure.wire.tool_rules import ToolRule

MAX_INT: Final = 2**31 - 1
_NAME: Final = re.compile(r"[\w '\-]+")

V = TypeVar("V", str, str | None)


def _name(name: str) -> str:
    if _NAME.fullmatch(name) is None or not name.strip():
        raise ValueError("a name is made of letters, digits, spaces, apostrophes, hyphens and underscores")
    return name


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name[:60]!r} is no timezone of the IANA database, such as 'Europe/Berlin'") from error
    return name


def check_environment(values: Mapping[str, V]) -> Mapping[str, V]:
    """The environment variables themselves. Raises ValueError for a name that cannot be one."""
    for key in values:
        if not key or "=" in key:
            raise ValueError("the name of an environment variable has at least one character, and no =")
    return values


Environment = Annotated[dict[Text, Text | None], AfterValidator(check_environment)]
Ids = list[Text]


class AgentBody(ModelChoiceBody):
    """What both bodies share. Null leaves a field to the server, or as it is."""

    name: Annotated[Text, Field(max_length=255), AfterValidator(_name)] | None = None
    description: Text | None = None
    system: Text | None = None
    metadata: dict[str, Any] | None = None
    timezone: Annotated[Text, AfterValidator(_timezone)] | None = None
    tags: Tags | None = None
    tool_ids: Ids | None = None
    tool_rules: list[ToolRule] | None = None
    block_ids: Ids | None = None
    identity_ids: Ids | None = None
    folder_ids: Ids | None = None
    source_ids: Ids | None = None
    secrets: Environment | None = None
    tool_exec_environment_variables: Environment | None = None
    compaction_settings: CompactionBody | None = None
    message_buffer_autoclear: bool | None = None
    enable_sleeptime: bool | None = None
    max_files_open: Annotated[int, Field(ge=1, le=1000)] | None = None
    per_file_view_window_char_limit: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None
    hidden: bool | None = None
    project_id: Text | None = None
    template_id: Text | None = None
    base_template_id: Text | None = None

    def attributes(self) -> dict[str, Any]:
        """The plain fields of `Agent` among what was sent."""
        sent = {name: getattr(self, name) for name in _ATTRIBUTES}
        return {name: value for name, value in sent.items() if value is not None}

    def environment(self) -> dict[str, str] | None:
        """The secrets, under either of their names."""
        sent = self.secrets if self.secrets is not None else self.tool_exec_environment_variables
        return None if sent is None else {key: value or "" for key, value in sent.items()}

    def folders(self) -> tuple[str, ...] | None:
        return _tuple(self.folder_ids if self.folder_ids is not None else self.source_ids)


_ATTRIBUTES: Final = (
    "description", "metadata", "timezone", "message_buffer_autoclear", "enable_sleeptime", "max_files_open",
    "per_file_view_window_char_limit", "hidden", "project_id", "template_id", "base_template_id",
)  # fmt: skip


class OpeningMessage(Body):
    """A message that stands in history before the first request."""

    role: Literal["user", "system", "assistant"]
    content: Annotated[Text, Field(min_length=1)] | Annotated[list[TextContent], Field(min_length=1)]
    name: Text | None = None
    otid: Text | None = None
    sender_id: Text | None = None
    group_id: Text | None = None

    def message(self) -> Message:
        """The message, of no agent yet."""
        texts = [self.content] if isinstance(self.content, str) else [part.text for part in self.content]
        return Message(
            id=new_id("message"),
            agent_id="",
            role=self.role,
            parts=tuple(TextPart(text=text) for text in texts),
            created_at=0,
            otid=self.otid,
            name=self.name,
            sender_id=self.sender_id,
            group_id=self.group_id,
        )


class CreateAgentBody(AgentBody):
    """An agent to be made. What only the hosted service understood (templates, projects) is ignored."""

    agent_type: AgentType | None = None
    memory_blocks: Annotated[list[CreateBlockBody], Field(max_length=1000)] | None = None
    tools: Ids | None = None
    include_base_tools: bool | None = None
    include_multi_agent_tools: bool | None = None
    include_base_tool_rules: bool | None = None
    include_default_source: bool | None = None
    initial_message_sequence: list[OpeningMessage] | None = None
    embedding_chunk_size: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None

    def new_agent(self) -> NewAgent:
        """The domain's reading of it."""
        attributes = self.attributes()
        if self.embedding_chunk_size is not None:
            attributes["embedding_chunk_size"] = self.embedding_chunk_size
        if self.compaction_settings is not None:
            attributes["compaction_settings"] = self.compaction_settings.sent()
        opening = self.initial_message_sequence
        return NewAgent(
            choice=self.choice(),
            name=self.name,
            agent_type=self.agent_type or DEFAULT_AGENT_TYPE,
            system=self.system,
            attributes=attributes,
            blocks=tuple(body.block() for body in self.memory_blocks or ()),
            block_ids=tuple(self.block_ids or ()),
            tool_names=tuple(self.tools or ()),
            tool_ids=tuple(self.tool_ids or ()),
            tool_rules=None if self.tool_rules is None else tuple(self.tool_rules),
            include_base_tools=self.include_base_tools is not False,
            include_multi_agent_tools=bool(self.include_multi_agent_tools),
            include_base_tool_rules=self.include_base_tool_rules,
            tags=tuple(self.tags or ()),
            secrets=self.environment() or {},
            identity_ids=tuple(self.identity_ids or ()),
            folder_ids=self.folders() or (),
            include_default_folder=bool(self.include_default_source),
            opening=None if opening is None else tuple(body.message() for body in opening),
        )


class UpdateAgentBody(AgentBody):
    """Changes of an agent. Null leaves a field as it is, except `max_tokens`; lists replace what is there."""

    message_ids: Ids | None = None
    last_run_completion: datetime | None = None
    last_run_duration_ms: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    last_stop_reason: StopReason | None = None

    def changes(self) -> AgentChanges:
        """The domain's reading of it."""
        attributes = self.attributes()
        for name in ("name", "system", "last_run_duration_ms", "last_stop_reason"):
            if (value := getattr(self, name)) is not None:
                attributes[name] = value
        if self.tool_rules is not None:
            attributes["tool_rules"] = tuple(self.tool_rules)
        if self.last_run_completion is not None:
            attributes["last_run_completion"] = microseconds(self.last_run_completion)
        return AgentChanges(
            choice=self.choice(),
            attributes=attributes,
            compaction_settings=self.compaction_settings and self.compaction_settings.sent(),
            block_ids=_tuple(self.block_ids),
            tool_ids=_tuple(self.tool_ids),
            tags=_tuple(self.tags),
            secrets=self.environment(),
            identity_ids=_tuple(self.identity_ids),
            folder_ids=self.folders(),
            message_ids=_tuple(self.message_ids),
        )


def _tuple(ids: Ids | None) -> tuple[str, ...] | None:
    return None if ids is None else tuple(ids)
