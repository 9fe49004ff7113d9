"""Runs as stored: found by their otids, told, deleted, forgotten."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from perdure.domain.agents import Agent
from perdure.domain.errors import Busy, NotFound
from perdure.domain.events import Started
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.runs import Run, Step, Usage
from perdure.store import runs, servers, steps
from perdure.store.pages import Page
from perdure.store.retention import forget_events
from perdure.store.runs import RunFilter
from perdure.store.steps import StepFilter
from tests.memory.home import Home
from tests.rig.stores import Place

OTHER = "org-00000000-0000-4000-8000-000000000001"


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


def new_run(home: Home, agent: Agent, *, at: int = 1, otids: str | None = None, **fields: Any) -> Run:
    """A stored run, waiting for its turn."""
    run = Run(
        id=new_id("run"), agent_id=agent.id, conversation_id=agent.conversation_id, status="created", created_at=at,
        **fields,
    )  # fmt: skip
    home.write(lambda conn: runs.create(conn, DEFAULT_TENANT, run, runs.Origin(request=b"{}", otids=otids)))
    return run


def end(home: Home, run: Run, at: int = 100) -> None:
    home.write(
        lambda conn: runs.finish(
            conn, run.id, status="completed", stop_reason="end_turn", usage=Usage(), metadata={}, at=at, ttft_ns=1,
            total_ns=2,
        )
    )  # fmt: skip


def test_otids_find_their_run_in_their_conversation(home: Home) -> None:
    agent, other = home.agent(), home.agent()
    run = new_run(home, agent, otids="a")
    found = home.read(lambda conn: runs.find_by_otids(conn, agent.conversation_id, "a"))
    assert found == run.id
    assert home.read(lambda conn: runs.find_by_otids(conn, other.conversation_id, "a")) is None
    assert home.read(lambda conn: runs.find_by_otids(conn, agent.conversation_id, "b")) is None


def test_the_database_itself_allows_one_run_for_the_same_otids(home: Home) -> None:
    agent, other = home.agent(), home.agent()
    new_run(home, agent, otids="a")
    new_run(home, other, otids="a")
    for _ in range(2):
        new_run(home, agent)
    with pytest.raises(IntegrityError):
        new_run(home, agent, otids="a")


def test_otids_are_forgotten_with_the_events_of_their_run(home: Home) -> None:
    agent = home.agent()
    old, young, unfinished = (new_run(home, agent, otids=name) for name in ("old", "young", "unfinished"))
    for run in (old, young, unfinished):
        home.write(lambda conn, run=run: runs.log(conn, [(run.id, 1, (Started(1, "ping"),))]))
    end(home, old, at=100)
    end(home, young, at=200)
    assert home.run(forget_events(home.db, 150)) == 1
    known = [
        home.read(lambda conn, name=name: runs.find_by_otids(conn, agent.conversation_id, name))
        for name in ("old", "young", "unfinished")
    ]
    assert known == [None, young.id, unfinished.id]
    assert home.read(lambda conn: runs.events_after(conn, young.id, 0)) != []


def test_who_is_still_to_be_told(home: Home) -> None:
    agent = home.agent()
    late, early, told, under_way = (new_run(home, agent, callback_url="http://x.example") for _ in range(4))
    quiet = new_run(home, agent)
    for run, at in ((late, 3), (early, 1), (told, 2), (quiet, 1)):
        end(home, run, at)
    home.write(lambda conn: runs.record_callback(conn, told.id, sent_at=9, status_code=None, error="no answer"))
    home.write(lambda conn: servers.register(conn, "server-1", "this", 60_000_000))
    assert home.write(lambda conn: runs.claim_untold(conn, "server-1")) == [early.id, late.id]
    assert home.write(lambda conn: runs.claim_untold(conn, "server-2")) == [], "the first is alive and about to"
    home.write(lambda conn: servers.remove(conn, ["server-1"]))
    assert home.write(lambda conn: runs.claim_untold(conn, "server-2")) == [early.id, late.id]
    kept = home.read(lambda conn: runs.get(conn, DEFAULT_TENANT, told.id))
    assert (kept.callback_sent_at, kept.callback_status_code, kept.callback_error) == (9, None, "no answer")
    assert under_way.completed_at is None


def test_a_run_is_deleted_with_its_steps_once_it_has_ended(home: Home) -> None:
    agent = home.agent()
    run = new_run(home, agent)
    step = Step(id=new_id("step"), run_id=run.id, agent_id=agent.id, status="success", created_at=1)
    home.write(lambda conn: runs.record_step(conn, DEFAULT_TENANT, step))
    with pytest.raises(Busy):
        home.write(lambda conn: runs.delete(conn, DEFAULT_TENANT, run.id))
    end(home, run)
    with pytest.raises(NotFound):
        home.write(lambda conn: runs.delete(conn, OTHER, run.id))
    assert home.write(lambda conn: runs.delete(conn, DEFAULT_TENANT, run.id)).status == "completed"
    for gone in (
        lambda conn: runs.get(conn, DEFAULT_TENANT, run.id),
        lambda conn: steps.get(conn, DEFAULT_TENANT, step.id),
    ):
        with pytest.raises(NotFound):
            home.read(gone)


def test_nothing_of_another_tenant_is_seen(home: Home) -> None:
    agent = home.agent()
    run = new_run(home, agent)
    step = Step(id=new_id("step"), run_id=run.id, agent_id=agent.id, status="success", created_at=1)
    home.write(lambda conn: runs.record_step(conn, DEFAULT_TENANT, step))
    assert home.read(lambda conn: runs.list_page(conn, OTHER, RunFilter(), Page())) == []
    assert home.read(lambda conn: steps.list_page(conn, OTHER, StepFilter(), Page())) == []
    assert home.read(lambda conn: steps.of_run(conn, OTHER, run.id)) == []
    for hidden in (
        lambda conn: runs.list_page(conn, OTHER, RunFilter(), Page(after=run.id)),
        lambda conn: steps.list_page(conn, OTHER, StepFilter(), Page(after=step.id)),
        lambda conn: steps.rate(conn, OTHER, step.id, {"feedback": "negative"}),
    ):
        with pytest.raises(NotFound):
            home.write(hidden)


def test_pages_of_runs_made_at_one_moment_miss_none(home: Home) -> None:
    agent = home.agent()
    made = {new_run(home, agent, at=7).id for _ in range(5)}

    def after(cursor: str | None) -> list[str]:
        page = Page(limit=2, after=cursor)
        return [run.id for run in home.read(lambda conn: runs.list_page(conn, DEFAULT_TENANT, RunFilter(), page))]

    seen = after(None)
    while found := after(seen[-1]):
        seen += found
    assert sorted(seen) == sorted(made)
