"""What a turn asks of the database costs the same after ten turns and after thousands."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.events import Started
from perdure.domain.ids import DEFAULT_TENANT, new_id, now
from perdure.domain.messages import Message, SummaryPart, TextPart
from perdure.domain.runs import Run, Usage
from perdure.store import messages, runs
from tests.memory.home import Home
from tests.rig.stores import SQLITE, Place

IN_CONTEXT = 20
EACH = 10
"""The database's own steps between two counts."""


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


def lived(home: Home, agent: Agent, turns: int) -> Run:
    """So many turns of an agent, all but the last messages out of its context; returns the last run."""
    made: list[Run] = []

    def live(conn: Connection) -> None:
        for _ in range(turns):
            run = Run(
                id=new_id("run"), agent_id=agent.id, conversation_id=agent.conversation_id, status="running",
                created_at=now(),
            )  # fmt: skip
            runs.create(conn, DEFAULT_TENANT, run, runs.Origin(request=b"{}"))
            said = (TextPart(text="It rains on the stone."),)
            pair = [
                Message(id=new_id("message"), agent_id=agent.id, role=role, parts=said, created_at=1, run_id=run.id)
                for role in ("user", "assistant")
            ]
            messages.append(conn, DEFAULT_TENANT, agent.conversation_id, pair)
            runs.log(conn, [(run.id, 1, (Started(1, "ping"),))])
            runs.finish(
                conn, run.id, status="completed", stop_reason="end_turn", usage=Usage(), metadata={}, at=now(),
                ttft_ns=None, total_ns=1,
            )  # fmt: skip
            made.append(run)
        found = messages.context(conn, agent.conversation_id)
        messages.leave_context(conn, agent.conversation_id, [each.seq for each in found[1:-IN_CONTEXT]])

    home.write(live)
    return made[-1]


def steps(home: Home, unit: Callable[[Connection], object]) -> int:
    """What a unit of work costs the database."""
    counted = [0]

    def tick() -> int:
        counted[0] += EACH
        return 0

    def count(conn: Connection) -> None:
        conn.info["driver"].set_progress_handler(tick, EACH)
        try:
            unit(conn)
        finally:
            conn.info["driver"].set_progress_handler(None, 0)

    home.write(count)
    return counted[0]


@pytest.mark.stores(SQLITE)
def test_what_a_turn_and_a_compaction_ask_for_does_not_grow_with_history(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "system", "You help.")

    def everything(run: Run) -> dict[str, int]:
        thread = agent.conversation_id
        first, *others = home.read(lambda conn: messages.context(conn, thread))
        summary = Message(
            id=new_id("message"), agent_id=agent.id, role="summary", parts=(SummaryPart(text="x"),), created_at=1
        )
        assert first.role == "system"
        asked: dict[str, Callable[[Connection], object]] = {
            "busy": lambda conn: runs.active(conn, thread),
            "context": lambda conn: messages.context(conn, thread),
            "pending": lambda conn: messages.last_role(conn, thread),
            "answer": lambda conn: messages.history(
                conn, DEFAULT_TENANT, run_ids=(run.id,), roles=("assistant", "tool"), newest_first=False, limit=100_000
            ),
            "outside": lambda conn: messages.count_outside_context(conn, thread, 10),
            "summary": lambda conn: messages.stand_before(conn, DEFAULT_TENANT, thread, summary, others[4].seq),
            "leave": lambda conn: messages.leave_context(conn, thread, [each.seq for each in others[:4]]),
        }
        return {name: steps(home, unit) for name, unit in asked.items()}

    before = everything(lived(home, agent, 30))
    after = everything(lived(home, agent, 1_500))
    assert {name: (before[name], after[name]) for name in before if after[name] > before[name] * 2 + 200} == {}
