"""A request to a group: its members take turns, each a run of its own, and the request's log repeats what they say.

It asks no model itself. Which turns were taken is read from the database, so that after a crash the next process goes
on where this one was: in the middle of a turn, too, since the log holds the first part of what the turns hold.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import Invalid, PerdureError
from perdure.domain.events import AnyEvent, ByMember, Said
from perdure.domain.groups import Group
from perdure.domain.requests import Errand
from perdure.domain.runs import Run, RunError, Usage
from perdure.loop.step import interruption
from perdure.loop.turn import INTERRUPTED, End, Item, Turn, interrupted_end
from perdure.runs.accept import Accepted
from perdure.runs.errands import Runs, begin
from perdure.runs.follower import Follower, Numbered
from perdure.runs.group_input import spoken, turn_input
from perdure.runs.talk import Talk
from perdure.store import agents as agent_store
from perdure.store import errands as errand_store
from perdure.store import groups as group_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store.database import Database

RUN_TYPE: Final = "group_turn"
MOST_SAID: Final = 1000
"""Messages of a turn that are read for what was said in it."""


class GroupTurns:
    """The turns of one request to a group."""

    def __init__(self, of: Accepted, turn: Turn, db: Database, runs: Runs) -> None:
        self._of = of
        self._turn = turn
        self._db = db
        self._runs = runs
        self._usage = Usage()
        self._repeated = 0
        """Events of turns to come that the log has already."""

    async def items(self) -> AsyncIterator[Item]:
        """Have the members take turns until they are done. Ends with an `End` that says why."""
        try:
            async for item in self._turns():
                yield item
        except PerdureError as error:
            kind = "pending_approval" if "pending_request_id" in error.details else "internal_error"
            yield End("error", self._usage, RunError(error_type=kind, message=error.message))

    async def _turns(self) -> AsyncIterator[Item]:
        group, talk, begun = await self._db.read(self._standing)
        taken: list[Run] = []
        while (speaker := talk.next()) is not None:
            if len(taken) < len(begun):
                follower = await self._runs.follow(self._of.tenant, begun[len(taken)].id)
            else:
                follower = await self._begin(group, talk, speaker, taken)
            async for events in self._relayed(follower, speaker):
                yield events
            run, said = await self._db.read(partial(self._outcome, run_id=follower.run_id))
            self._usage = self._usage.plus(run.usage)
            broken = interrupted_end(self._turn, self._usage) if self._turn.interrupted else self._broken(run)
            if broken is not None:
                yield broken
                return
            taken.append(run)
            talk.took(speaker, said)
        yield End(talk.stop_reason, self._usage)

    def _standing(self, conn: Connection) -> tuple[Group, Talk, list[Run]]:
        """The group, its talk at the beginning, and the turns begun in it. Raises NotFound and Invalid."""
        tenant, run_id = self._of.tenant, self._of.run.id
        group = group_store.get(conn, tenant, self._of.request.group_id or "")
        members = [agent_store.get(conn, tenant, agent_id) for agent_id in group.agent_ids]
        led = group.manager_agent_id
        manager = None if led is None else agent_store.get(conn, tenant, led)
        if group.lacking is not None:
            raise Invalid(group.lacking)
        self._repeated = run_store.last_seq(conn, run_id) - 1
        return group, Talk(group, members, manager), errand_store.turns(conn, run_id)

    async def _begin(self, group: Group, talk: Talk, speaker: Agent, taken: Sequence[Run]) -> Follower:
        of, asked = self._of, self._of.request
        told = await self._db.read(
            lambda conn: turn_input(conn, of.tenant, group, of.run, asked.input, talk, speaker, taken)
        )
        request = msgspec.structs.replace(
            asked, agent_id=speaker.id, input=told, group_id=None, otids=(), callback_url=None, background=True,
            run_type=RUN_TYPE, errand=Errand(of.run.id, waits=True, group_id=group.id),
        )  # fmt: skip
        return await begin(self._runs, of.tenant, request)

    async def _relayed(self, follower: Follower, speaker: Agent) -> AsyncIterator[list[AnyEvent]]:
        """What a turn says, but for what the log had before a crash."""
        while (batch := await self._next(follower)) is not None:
            said = [event for _, event in batch if isinstance(event, Said)]
            fresh = said[self._repeated :]
            self._repeated = max(0, self._repeated - len(said))
            if fresh:
                yield [ByMember(event.at, event, speaker.id, speaker.name) for event in fresh]

    async def _next(self, follower: Follower) -> Sequence[Numbered] | None:
        """What a turn says next. Where the request is cancelled, so is the turn, and what it still says is its last."""
        try:
            return await follower.next()
        except asyncio.CancelledError:
            if interruption(self._turn) != "cancelled":
                return None
            await self._runs.cancel(self._of.tenant, run_ids={follower.run_id})
            return await follower.next()

    def _outcome(self, conn: Connection, run_id: str) -> tuple[Run, str]:
        """How a turn ended, and what was said in it."""
        run = run_store.get(conn, self._of.tenant, run_id)
        messages = message_store.history(
            conn, self._of.tenant, run_ids=(run_id,), roles=("assistant",), newest_first=False, limit=MOST_SAID
        )  # fmt: skip
        return run, "\n".join(spoken(message) for message in messages)

    def _broken(self, run: Run) -> End | None:
        """How the whole talk ends where a turn did not come to its own end."""
        if run.status == "completed":
            return End("requires_approval", self._usage) if run.stop_reason == "requires_approval" else None
        if run.status == "cancelled":
            return End("cancelled", self._usage)
        error = RunError(**run.metadata["error"]) if "error" in run.metadata else INTERRUPTED
        return End(run.stop_reason or "error", self._usage, error)
