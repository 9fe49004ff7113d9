"""Queries of the lists of groups, of what was said in one, and of identities."""

from dataclasses import dataclass
from typing import Literal

from perdure.api.queries import MessagePageQuery, PageQuery
from perdure.domain.identities import IdentityType
from perdure.domain.messages import VOICE, Voice
from perdure.store.groups import GroupFilter
from perdure.store.identities import IdentityFilter


@dataclass(frozen=True)
class GroupQuery(PageQuery):
    """Which groups."""

    order_by: Literal["created_at"] | None = None
    manager_type: str | None = None
    project_id: str | None = None
    show_hidden_groups: bool = False

    def filter(self, agent_id: str | None = None) -> GroupFilter:
        return GroupFilter(
            manager_type=self.manager_type,
            project_id=self.project_id,
            agent_id=agent_id,
            show_hidden=self.show_hidden_groups,
        )


@dataclass(frozen=True)
class GroupMessageQuery(MessagePageQuery):
    """Which page of a group's messages, and how calls of the tool that its members speak through are shown."""

    use_assistant_message: bool = True
    assistant_message_tool_name: str = VOICE.tool
    assistant_message_tool_kwarg: str = VOICE.argument

    def voice(self) -> Voice | None:
        if not self.use_assistant_message:
            return None
        return Voice(self.assistant_message_tool_name, self.assistant_message_tool_kwarg)


@dataclass(frozen=True)
class IdentityQuery(PageQuery):
    """Which identities."""

    order_by: Literal["created_at"] | None = None
    name: str | None = None
    identifier_key: str | None = None
    identity_type: IdentityType | None = None
    project_id: str | None = None

    def filter(self) -> IdentityFilter:
        return IdentityFilter(
            name=self.name,
            identifier_key=self.identifier_key,
            identity_type=self.identity_type,
            project_id=self.project_id,
        )
