"""Carries messages from agents at work to other agents, and the answers back.

Each is a run like any other, with a place in the queue like any other. Its otid follows from the call that sent it, so
that the call, repeated after a crash, finds the run it had started.
"""

import asyncio
import hashlib
import uuid
from typing import Final

from sqlalchemy import Connection

from perdure.domain.errors import Unavailable
from perdure.domain.ids import new_id
from perdure.domain.messages import Message, TextPart
from perdure.domain.requests import Errand, TurnRequest
from perdure.domain.runs import RunError
from perdure.runs.errands import begin
from perdure.runs.follower import Follower, read_to_end
from perdure.runs.group_input import spoken
from perdure.runs.runner import Runner
from perdure.store import agents as agent_store
from perdure.store import groups as group_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store.agents import AgentFilter
from perdure.store.database import Database
from perdure.store.pages import Page
from perdure.tools.builtin.agents import Answer
from perdure.tools.implementation import ToolContext

MOST_SAID: Final = 10_000
"""Messages of a run that are looked through for what it said."""
RUN_TYPE: Final = "message_from_agent"


class Courier:
    """Made before the runner it works with; `bind` hands it that."""

    def __init__(self) -> None:
        self._bound: tuple[Database, Runner] | None = None

    def bind(self, db: Database, runner: Runner) -> None:
        self._bound = db, runner

    async def ask(self, sender: ToolContext, agent_id: str, text: str) -> Answer:
        """Send a message and wait for what comes of it. Whoever gives up waiting cancels the run he waits for.

        Raises what `Runner.start` raises, Conflict for a circle of agents that wait, and Unavailable where this server
        stops meanwhile.
        """
        db, runner = self._parts()
        follower = await self._start(sender, agent_id, text, waits=True)
        try:
            await read_to_end(follower)
        except asyncio.CancelledError:
            await runner.cancel(sender.tenant, run_ids={follower.run_id})
            raise
        return await db.read(lambda conn: answer_of(conn, sender.tenant, follower.run_id))

    async def send(self, sender: ToolContext, agent_id: str, text: str) -> None:
        """Send a message and wait for nothing. Raises what `ask` raises."""
        await self._start(sender, agent_id, text, waits=False)

    async def led(self, sender: ToolContext) -> list[str]:
        """The ids of the agents that the sender leads as a supervisor."""
        db, _ = self._parts()
        return await db.read(lambda conn: list(group_store.led_by(conn, sender.agent.id)))

    async def tagged(
        self, sender: ToolContext, match_all: tuple[str, ...], match_some: tuple[str, ...], most: int
    ) -> list[str]:
        """The ids of other agents, at most so many, that have all of some tags and one of others, if any are given."""
        db, _ = self._parts()

        def find(conn: Connection) -> list[str]:
            page = Page(limit=most + 1, ascending=True)
            wanted = AgentFilter(tags=match_all, match_all_tags=True, any_tags=match_some, show_hidden=True)
            found = agent_store.list_page(conn, sender.tenant, wanted, page)
            return [agent.id for agent in found if agent.id != sender.agent.id][:most]

        return await db.read(find)

    async def _start(self, sender: ToolContext, agent_id: str, text: str, *, waits: bool) -> Follower:
        _, runner = self._parts()
        otid = _otid(sender, agent_id)
        message = Message(
            id=new_id("message"), agent_id=agent_id, role="system", parts=(TextPart(text=text),), created_at=0,
            otid=otid, name=sender.agent.name, sender_id=sender.agent.id,
        )  # fmt: skip
        request = TurnRequest(
            agent_id=agent_id, input=(message,), background=True, otids=(otid,), run_type=RUN_TYPE,
            errand=Errand(sender.run_id, waits) if sender.run_id else None,
        )  # fmt: skip
        return await begin(runner, sender.tenant, request)

    def _parts(self) -> tuple[Database, Runner]:
        if self._bound is None:
            raise Unavailable("The server is starting. Try again.", retry_after=1)
        return self._bound


def answer_of(conn: Connection, tenant: str, run_id: str) -> Answer:
    """What an ended run said to whoever asked, and why it could not go on, if so."""
    run = run_store.get(conn, tenant, run_id)
    messages = message_store.history(
        conn, tenant, run_ids=(run_id,), roles=("assistant",), newest_first=False, limit=MOST_SAID
    )  # fmt: skip
    # What a caller put into its mouth it did not say.
    said = tuple(text for message in messages if message.step_id is not None and (text := spoken(message)))
    error: RunError | None = run.metadata.get("error") and RunError(**run.metadata["error"])
    if run.status == "completed" and run.stop_reason != "requires_approval":
        return Answer(said)
    if run.stop_reason == "requires_approval":
        return Answer(said, "it has to wait for a person's approval before it can go on")
    if run.status == "cancelled":
        return Answer(said, "its work was cancelled")
    return Answer(said, error.message if error is not None else "it failed")


def _otid(sender: ToolContext, agent_id: str) -> str:
    call = f"{sender.run_id} {sender.step_id} {sender.call_id} {agent_id}"
    return str(uuid.UUID(bytes=hashlib.sha256(call.encode()).digest()[:16], version=4))
