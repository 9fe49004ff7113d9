"""Groups as the API says them: the manager's settings stand beside the group's own fields."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from perdure.domain.groups import Group, GroupChanges
from perdure.domain.ids import new_id, now
from perdure.wire.text import Body, Text

MAX_TURNS: Final = 100
"""Turns that one request to a group may take."""
MAX_INT: Final = 2**31 - 1

Wire = dict[str, Any]
Turns = Annotated[int, Field(ge=1, le=MAX_TURNS)]
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
Ids = Annotated[list[Text], Field(max_length=50)]


class RoundRobin(Body):
    manager_type: Literal["round_robin"] = "round_robin"
    max_turns: Turns | None = None


class Supervisor(Body):
    manager_type: Literal["supervisor"]
    manager_agent_id: Text | None = None


class Dynamic(Body):
    manager_type: Literal["dynamic"]
    manager_agent_id: Text | None = None
    termination_token: Annotated[Text, Field(min_length=1, max_length=255)] | None = None
    max_turns: Turns | None = None


class Sleeptime(Body):
    manager_type: Literal["sleeptime"]
    manager_agent_id: Text | None = None
    sleeptime_agent_frequency: Count | None = None


class VoiceSleeptime(Body):
    manager_type: Literal["voice_sleeptime"]
    manager_agent_id: Text | None = None
    max_message_buffer_length: Count | None = None
    min_message_buffer_length: Count | None = None


Manager = Annotated[
    RoundRobin | Supervisor | Dynamic | Sleeptime | VoiceSleeptime, Field(discriminator="manager_type")
]  # fmt: skip


class UpdateGroupBody(Body):
    """Changes of a group: null leaves a field as it is, lists replace."""

    agent_ids: Ids | None = None
    description: Text | None = None
    manager_config: Manager | None = None
    shared_block_ids: Ids | None = None
    project_id: Text | None = None

    def changes(self, before: Group) -> GroupChanges:
        """The domain's reading of it. Settings of the manager that are not given stay, unless its type changes."""
        fields = {name: value for name in ("description", "project_id") if (value := getattr(self, name)) is not None}
        if self.manager_config is not None:
            given = _manager(self.manager_config)
            if given["manager_type"] == before.manager_type:
                given["manager_config"] = before.manager_config | given["manager_config"]
                given["manager_agent_id"] = given["manager_agent_id"] or before.manager_agent_id
            fields |= given
        return GroupChanges(
            fields=fields,
            agent_ids=None if self.agent_ids is None else tuple(self.agent_ids),
            shared_block_ids=None if self.shared_block_ids is None else tuple(self.shared_block_ids),
        )


class CreateGroupBody(Body):
    """A group to be made; its members take turns unless somebody else is to manage it."""

    agent_ids: Ids
    description: Text
    manager_config: Manager = RoundRobin()
    shared_block_ids: Ids | None = None
    project_id: Text | None = None
    hidden: bool | None = None

    def group(self) -> Group:
        """The group, with an id of its own."""
        at = now()
        return Group(
            id=new_id("group"), description=self.description, created_at=at, updated_at=at,
            agent_ids=tuple(self.agent_ids), shared_block_ids=tuple(self.shared_block_ids or ()),
            hidden=self.hidden, project_id=self.project_id, **_manager(self.manager_config),
        )  # fmt: skip


def group(shown: Group) -> Wire:
    """A group with what its manager is told."""
    config = shown.manager_config
    return {
        "id": shown.id,
        "description": shown.description,
        "manager_type": shown.manager_type,
        "manager_agent_id": shown.manager_agent_id,
        "agent_ids": list(shown.agent_ids),
        "shared_block_ids": list(shown.shared_block_ids),
        "termination_token": config.get("termination_token"),
        "max_turns": config.get("max_turns"),
        "sleeptime_agent_frequency": config.get("sleeptime_agent_frequency"),
        "turns_counter": shown.turns_counter,
        "last_processed_message_id": shown.last_processed_message_id,
        "max_message_buffer_length": config.get("max_message_buffer_length"),
        "min_message_buffer_length": config.get("min_message_buffer_length"),
        "hidden": shown.hidden,
        "project_id": shown.project_id,
        "template_id": shown.template_id,
        "base_template_id": shown.base_template_id,
        "deployment_id": shown.deployment_id,
    }


def _manager(given: RoundRobin | Supervisor | Dynamic | Sleeptime | VoiceSleeptime) -> dict[str, Any]:
    """The fields of `Group` that tell of its manager."""
    said = given.model_dump(exclude_none=True)
    return {
        "manager_type": said.pop("manager_type"),
        "manager_agent_id": said.pop("manager_agent_id", None),
        "manager_config": said,
    }
