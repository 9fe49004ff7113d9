"""What two processes do to a conversation at once: no run waits for ever, none has its turn beside another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Connection

from perdure.agents import conversations, update
from perdure.domain.agents import Agent
from perdure.domain.approvals import Decision
from perdure.domain.errors import Busy, Conflict, Invalid, NotFound
from perdure.domain.ids import DEFAULT_TENANT, now
from perdure.domain.messages import Message, ToolCallPart
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Usage
from perdure.runs.accept import Accepted, Repeated, Snapshots, Terms, accept, hand_over
from perdure.runs.pending import refuse_pending
from perdure.store import messages, runs
from perdure.store.secrets import Vault
from tests.rig.races import Work, race, unit
from tests.rig.stores import PostgresPlace
from tests.runs.house import House, house, message_of, new_id, run

pytestmark = pytest.mark.stores("postgresql")


class Scene:
    """An agent in a house where nobody works."""

    def __init__(self, at: House, place: PostgresPlace, agent: Agent) -> None:
        self.at, self.place, self.agent = at, place, agent

    async def race(self, first: Work, second: Work) -> list[Any]:
        return await race(self.place, self.at.db, first, second)

    def ask(self, text: str = "hi", **fields: Any) -> Work:
        """A request comes in, at any process."""
        request = TurnRequest(agent_id=self.agent.id, input=(message_of(self.agent.id, text),), **fields)
        terms = Terms(owner="server-1", attempt=None, queue=True, max_queued=100)
        return unit(lambda conn: accept(conn, DEFAULT_TENANT, request, Snapshots(), terms))

    def decide(self, target: str) -> Work:
        request = TurnRequest(agent_id=self.agent.id, input=(), decisions=(Decision(target=target),))
        terms = Terms(owner="server-1", attempt=None, queue=True, max_queued=100)
        return unit(lambda conn: accept(conn, DEFAULT_TENANT, request, Snapshots(), terms))

    def end(self, run_id: str, status: Any = "completed") -> Work:
        """A run ends, and hands its turn over."""

        def end(conn: Connection) -> str | None:
            runs.finish(
                conn, run_id, status=status, stop_reason="end_turn", usage=Usage(), metadata={}, at=now(),
                ttft_ns=None, total_ns=1,
            )  # fmt: skip
            return hand_over(conn, self.agent.conversation_id)

        return unit(end)

    async def begun(self) -> str:
        """A run that has its turn."""
        return (await self.ask()(self.at.db)).run.id

    async def asks_for_approval(self) -> Message:
        asking = Message(
            id=new_id("message"), agent_id=self.agent.id, role="approval", created_at=now(), run_id="run-1",
            parts=(ToolCallPart(call_id="call-1", name="slow", arguments="{}"),),
        )  # fmt: skip
        thread = self.agent.conversation_id
        await self.at.db.write(lambda conn: messages.append(conn, DEFAULT_TENANT, thread, (asking,)))
        return asking

    async def in_order(self) -> bool:
        """Whether one run has its turn, or none waits."""
        found = await self.at.db.read(lambda conn: runs.active(conn, self.agent.conversation_id))
        statuses = [status for _, status in found]
        return statuses.count("running") == 1 if statuses else True


@asynccontextmanager
async def scene(place: PostgresPlace) -> AsyncIterator[Scene]:
    async with house(place, recovers=False) as at:
        yield Scene(at, place, await at.agent())


@pytest.mark.parametrize("turned", [False, True], ids=["so", "the other way round"])
def test_who_comes_while_a_run_ends_gets_a_turn(place: PostgresPlace, turned: bool) -> None:
    async def go() -> None:
        async with scene(place) as at:
            works = [at.ask("and?"), at.end(await at.begun())]
            results = await at.race(*works[:: -1 if turned else 1])
            assert not any(isinstance(result, BaseException) for result in results), results
            assert await at.in_order()

    run(go())


def test_two_who_come_at_once_take_turns(place: PostgresPlace) -> None:
    async def go() -> None:
        async with scene(place) as at:
            one, other = await at.race(at.ask("one"), at.ask("other"))
            assert (one.running, other.running) == (True, False)
            assert await at.in_order()

    run(go())


def test_the_same_names_at_once_start_one_run(place: PostgresPlace) -> None:
    async def go() -> None:
        async with scene(place) as at:
            one, other = await at.race(at.ask(otids=("a",)), at.ask(otids=("a",)))
            assert isinstance(one, Accepted)
            assert isinstance(other, Repeated)
            assert other.run_id == one.run.id

    run(go())


@pytest.mark.parametrize("turned", [False, True], ids=["so", "the other way round"])
def test_a_waiting_run_is_cancelled_while_it_gets_its_turn(place: PostgresPlace, turned: bool) -> None:
    async def go() -> None:
        async with scene(place) as at:
            first = await at.begun()
            second, third = [(await at.ask(text)(at.at.db)).run.id for text in "23"]
            works = [at.end(first), at.end(second, "cancelled")]
            results = await at.race(*works[:: -1 if turned else 1])
            assert not any(isinstance(result, BaseException) for result in results), results
            found = await at.at.db.read(lambda conn: runs.active(conn, at.agent.conversation_id))
            assert found == [(third, "running")]
            # What was cancelled before its turn has not entered.
            assert await at.at.history(at.agent) == (["hi", "3"] if turned else ["hi", "2", "3"])

    run(go())


@pytest.mark.parametrize("turned", [False, True], ids=["so", "the other way round"])
def test_an_approval_is_answered_once(place: PostgresPlace, turned: bool) -> None:
    async def go() -> None:
        async with scene(place) as at:
            await at.asks_for_approval()
            works = [at.decide("call-1"), unit(lambda conn: refuse_pending(conn, "too late"))]
            results = await at.race(*works[:: -1 if turned else 1])
            assert all(not isinstance(result, BaseException) or isinstance(result, Invalid) for result in results)
            found = await at.at.db.read(lambda conn: messages.context(conn, at.agent.conversation_id))
            answers = [message for message in found if message.role == "approval" and not message.tool_calls]
            assert len(answers) == 1

    run(go())


def test_two_decide_at_once(place: PostgresPlace) -> None:
    async def go() -> None:
        async with scene(place) as at:
            await at.asks_for_approval()
            one, other = await at.race(at.decide("call-1"), at.decide("call-1"))
            assert isinstance(one, Accepted)
            assert isinstance(other, Invalid)

    run(go())


@pytest.mark.parametrize("turned", [False, True], ids=["so", "the other way round"])
@pytest.mark.parametrize("what", ["delete", "reset", "fork", "delete a conversation"])
def test_nothing_goes_that_a_run_begins_to_work_on(place: PostgresPlace, what: str, turned: bool) -> None:
    async def go() -> None:
        async with scene(place) as at:
            agent, db, vault = at.agent, at.at.db, Vault(lambda: bytes(32))
            thread = await conversations.create_conversation(db, at.at.voice, DEFAULT_TENANT, agent.id, {})
            doings: dict[str, Any] = {
                "delete": lambda conn: update.delete_agent(conn, DEFAULT_TENANT, agent.id),
                "reset": lambda conn: update.reset_messages(
                    conn, DEFAULT_TENANT, vault, agent.id, add_default_initial_messages=True
                ),
                "fork": lambda conn: conversations.fork_conversation(
                    conn, DEFAULT_TENANT, thread.conversation, up_to=None, hidden=False
                ),
                "delete a conversation": lambda conn: conversations.delete_conversation(
                    conn, DEFAULT_TENANT, thread.conversation.id
                ),
            }
            where = thread.conversation.id if what in ("fork", "delete a conversation") else None
            works = [at.ask(conversation_id=where), unit(doings[what])]
            asked, done = (await at.race(*works[:: -1 if turned else 1]))[:: -1 if turned else 1]
            if turned and what.startswith("delete"):
                assert isinstance(asked, NotFound)
                return
            assert isinstance(asked, Accepted)
            assert isinstance(done, Busy) != turned
            heard = await db.read(lambda conn: messages.context(conn, asked.conversation_id))
            assert heard[-1].text == "hi"

    run(go())


def test_a_hundred_messages_at_once_take_turns(place: PostgresPlace) -> None:
    async def go() -> None:
        async with scene(place) as at:
            accepted = await asyncio.gather(*(at.ask(str(number))(at.at.db) for number in range(100)))
            assert [one.running for one in accepted].count(True) == 1
            assert await at.in_order()

    run(go())


def test_a_message_while_an_approval_is_pending_is_refused(place: PostgresPlace) -> None:
    async def go() -> None:
        async with scene(place) as at:
            await at.asks_for_approval()
            results = await at.race(at.decide("call-1"), at.ask())
            assert isinstance(results[0], Accepted)
            assert isinstance(results[1], Accepted | Conflict)
            assert await at.in_order()

    run(go())
