"""A group is agents that work together: taking turns, led by one of them, or looking after one's memory."""

from typing import Any, Final, Literal

import msgspec

ManagerType = Literal["round_robin", "supervisor", "dynamic", "sleeptime", "voice_sleeptime"]

SLEEPTIME: Final[tuple[ManagerType, ...]] = ("sleeptime", "voice_sleeptime")
"""The types in which the members look after the manager's memory while it rests."""

DEFAULT_FREQUENCY: Final = 5
"""Turns of an agent after which its companion works, unless the group says otherwise."""
VOICE_BUFFER: Final = 30
"""Messages that a voice agent gathers before its companion works, unless the group says otherwise."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Agents, in order, and how they work together.

    `manager_config` is what the contract says of the manager beside its type and agent: `termination_token`,
    `max_turns`, `sleeptime_agent_frequency`, `max_message_buffer_length`, `min_message_buffer_length`.
    """

    id: str
    description: str
    manager_type: ManagerType
    created_at: int
    updated_at: int
    agent_ids: tuple[str, ...] = ()
    shared_block_ids: tuple[str, ...] = ()
    manager_agent_id: str | None = None
    manager_config: dict[str, Any] = {}
    turns_counter: int = 0
    last_processed_message_id: str | None = None
    hidden: bool | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None

    @property
    def lacking(self) -> str | None:
        """What it needs before anybody in it can speak; None where it has that."""
        if self.manager_agent_id is None and self.manager_type != "round_robin":
            return "The agent that managed this group is gone. Give the group another one."
        if not self.agent_ids and self.manager_type in ("round_robin", "dynamic"):
            return "This group has no agents. Give it some."
        return None


class GroupChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a group. None leaves a thing as it is, a list replaces it whole."""

    fields: dict[str, Any] = {}
    agent_ids: tuple[str, ...] | None = None
    shared_block_ids: tuple[str, ...] | None = None
