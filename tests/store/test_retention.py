"""Event logs past their keeping go a little at a time."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, event, func, select

from perdure.domain.agents import Agent
from perdure.domain.events import Started
from perdure.store import retention, runs
from perdure.store.retention import forget_events
from perdure.store.tables import run_events
from tests.memory.home import Home
from tests.rig.stores import Place
from tests.store.test_runs import end, new_run

ROWS = 25
"""Rows of each run's log."""


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


def logged(home: Home, agent: Agent, *, ended: int | None, otids: str | None = None) -> str:
    """A run with an event log, ended at a time or not."""
    run = new_run(home, agent, otids=otids)
    rows = [(run.id, number, (Started(1, "ping"),)) for number in range(1, ROWS + 1)]
    home.write(lambda conn: runs.log(conn, rows))
    if ended is not None:
        end(home, run, ended)
    return run.id


def left(home: Home) -> dict[str, int]:
    """How many rows each run has."""
    found = select(run_events.c.run_id, func.count()).group_by(run_events.c.run_id)
    return dict(home.read(lambda conn: conn.execute(found).all()))


def test_only_logs_of_runs_that_ended_before_go(home: Home) -> None:
    agent = home.agent()
    old = [logged(home, agent, ended=100) for _ in range(5)]
    kept = [logged(home, agent, ended=200), logged(home, agent, ended=None)]
    assert home.run(forget_events(home.db, 150)) == ROWS * len(old)
    assert left(home) == dict.fromkeys(kept, ROWS)
    assert home.run(forget_events(home.db, 150)) == 0


def test_no_transaction_drops_more_than_a_little(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_ROWS", 10)
    monkeypatch.setattr(retention, "MOST_RUNS", 3)
    agent = home.agent()
    for number in range(7):
        logged(home, agent, ended=100, otids=f"{number}")
    sizes: list[int] = []
    write = home.db.write

    async def measured(unit: object) -> object:
        before = await home.db.read(counted)
        result = await write(unit)
        sizes.append(before - await home.db.read(counted))
        return result

    monkeypatch.setattr(home.db, "write", measured)
    assert home.run(forget_events(home.db, 150)) == 7 * ROWS
    assert max(sizes) <= 10
    assert sum(sizes) == 7 * ROWS
    monkeypatch.undo()
    agent_thread = agent.conversation_id
    assert [home.read(lambda conn, n=n: runs.find_by_otids(conn, agent_thread, f"{n}")) for n in range(7)] == [None] * 7


def counted(conn: Connection) -> int:
    return conn.execute(select(func.count()).select_from(run_events)).scalar_one()


def test_others_write_meanwhile(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_ROWS", 5)
    agent = home.agent()
    for _ in range(20):
        logged(home, agent, ended=100)

    async def go() -> tuple[int, int]:
        forgetting = asyncio.create_task(forget_events(home.db, 150))
        written = 0
        while not forgetting.done():
            await home.db.write(lambda conn: None)
            written += 1
        return await forgetting, written

    dropped, written = home.run(go())
    assert dropped == 20 * ROWS
    assert written > 20


@pytest.mark.stores("sqlite")
def test_looking_for_old_runs_does_not_read_the_logs_of_others(home: Home) -> None:
    agent = home.agent()
    logged(home, agent, ended=200)
    plans: list[str] = []

    def explain(conn: Connection) -> None:
        @event.listens_for(conn, "before_cursor_execute")
        def note(connection: Connection, cursor: object, statement: str, params: object, *_: object) -> None:
            if statement.startswith("SELECT") and not statement.startswith("EXPLAIN"):
                rows = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", params)
                plans.extend(row[3] for row in rows)

        retention._forget_some(conn, 150, "")

    home.write(explain)
    assert plans
    assert not [plan for plan in plans if "SCAN" in plan and "run_events" in plan], plans
