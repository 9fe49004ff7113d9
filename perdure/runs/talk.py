"""Whose turn it is in a group, by who spoke and what was said."""

import re
from collections.abc import Sequence
from typing import Final

from perdure.domain.agents import Agent
from perdure.domain.groups import Group
from perdure.domain.runs import StopReason

TERMINATION: Final = "DONE!"
"""What a dynamic group's manager says to end the talk, unless the group says otherwise."""
DYNAMIC_TURNS: Final = 10
"""Turns of members in a dynamic group, at most, unless the group says otherwise."""


class Talk:
    """One request to a group. `manager` is there for every type but round_robin; `members` are never none there."""

    def __init__(self, group: Group, members: Sequence[Agent], manager: Agent | None) -> None:
        self._type = group.manager_type
        self.members = members
        self.manager = manager
        config = group.manager_config
        self.token: str = config.get("termination_token") or TERMINATION
        self._most: int = config.get("max_turns") or (DYNAMIC_TURNS if self._type == "dynamic" else len(members))
        self._turns: list[str] = []
        self._chosen: Agent | None = None
        self._over = False

    @property
    def stop_reason(self) -> StopReason:
        """Why a talk has ended in which nothing went wrong."""
        return "end_turn" if self._over or self._type != "dynamic" else "max_steps"

    def next(self) -> Agent | None:
        """Who speaks now; None where the talk is over."""
        if self._over:
            return None
        if self._type not in ("round_robin", "dynamic"):
            return self.manager
        if len(self._turns) >= self._most:
            return None
        if self._type == "round_robin":
            return self.members[len(self._turns) % len(self.members)]
        return self._chosen or self.manager

    def took(self, speaker: Agent, said: str) -> None:
        """A turn has ended with these words."""
        if self._type == "round_robin":
            self._turns.append(speaker.id)
        elif self._type == "dynamic":
            self._over = self.token in said
            if speaker is self.manager:
                self._chosen = self._named(said)
            else:
                self._turns.append(speaker.id)
                self._chosen = None
        else:
            self._over = True

    def _named(self, said: str) -> Agent:
        """The member that the manager named first; where it named none, the one that has been silent longest."""
        found: list[tuple[int, int, Agent]] = []
        for member in self.members:
            named = re.search(rf"(?<!\w)(?:{re.escape(member.id)}|{re.escape(member.name)})(?!\w)", said, re.IGNORECASE)
            if named is not None:
                found.append((named.start(), -len(member.name), member))
        if found:
            return min(found, key=lambda each: each[:2])[2]
        return min(self.members, key=self._last_spoke)

    def _last_spoke(self, member: Agent) -> int:
        return max((at for at, agent_id in enumerate(self._turns) if agent_id == member.id), default=-1)
