"""A clock that is set an hour forward or back: order, durations, approvals and what is kept do not suffer."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from perdure.domain import ids
from perdure.runs import tidy
from perdure.store import approvals
from perdure.store.approvals import ApprovalFilter
from tests.rig.stores import Place
from tests.runs.house import call, ending, house, read, run, said, soon, until

HOUR = 3600


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of this process some seconds forward or back; what nobody can set goes on as it did."""
    offset = [0]
    clock = SimpleNamespace(
        time_ns=lambda: time.time_ns() + offset[0] * 1_000_000_000,
        clock_gettime_ns=time.clock_gettime_ns,
        CLOCK_MONOTONIC=time.CLOCK_MONOTONIC,
        **({"CLOCK_BOOTTIME": time.CLOCK_BOOTTIME} if hasattr(time, "CLOCK_BOOTTIME") else {}),
    )
    monkeypatch.setattr(ids, "time", clock)

    def set_to(seconds: int) -> None:
        offset[0] = seconds

    return set_to


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_runs_that_wait_keep_their_order_and_last_no_negative_time(
    place: Place, set_clock: Callable[[int], None], seconds: int
) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("one", hold).says("two").says("three").says("four")
            readers = [await at.ask(agent, "1"), await at.ask(agent, "2")]
            await until(readers[0], "one")
            set_clock(seconds)
            readers += [await at.ask(agent, "3")]
            set_clock(0)
            readers += [await at.ask(agent, "4")]
            hold.set()
            for reader in readers:
                assert ending(await read(reader)) == ("end_turn", None)
                assert (await at.run_of(reader.run_id)).total_duration_ns >= 0
            assert await at.history(agent) == ["1", "one", "2", "two", "3", "three", "4", "four"]

    run(go())


def test_a_turn_goes_on_while_the_clock_is_set(place: Place, set_clock: Callable[[int], None]) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, holds = await at.agent(), [asyncio.Event(), asyncio.Event()]
            at.voice.says("a", holds[0], "b", holds[1], "c").says("d")
            reader = await at.ask(agent, "hi")
            found = await until(reader, "a")
            set_clock(-HOUR)
            holds[0].set()
            found += await until(reader, "b")
            set_clock(HOUR)
            holds[1].set()
            found += await read(reader)
            assert said(found) == "abc"
            set_clock(-HOUR)
            assert said(await read(await at.ask(agent, "again"))) == "d"
            assert await at.history(agent) == ["hi", "abc", "again", "d"]

    run(go())


def test_nothing_looks_older_than_it_is(tmp_path: Path, set_clock: Callable[[int], None]) -> None:
    began = ids.surely_now()
    set_clock(HOUR)
    assert ids.surely_now() - began < 60_000_000
    set_clock(-HOUR)
    assert ids.surely_now() < began


def test_event_logs_and_approvals_outlive_a_clock_that_was_set_forward(
    place: Place, set_clock: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "TIDY_SECONDS", 0.0)
    rounds = _count_rounds(monkeypatch)

    async def go() -> None:
        async with house(place, retention_hours=0.5, approval_seconds=60.0) as at:
            agent, asking = (
                await at.agent(),
                await at.agent("slow", tool_rules=({"type": "requires_approval", "tool_name": "slow"},)),
            )
            at.voice.says("Hello").says(call("slow", '{"what": "x"}'))
            ended = await at.ask(agent, "hi")
            found = await read(ended)
            assert ending(await read(await at.ask(asking, "go"))) == ("requires_approval", None)
            for seconds in (HOUR, -HOUR, 0):
                set_clock(seconds)
                done = len(rounds)
                await soon(lambda done=done: len(rounds) > done + 1)
            assert await read(await at.follow(ended.run_id)) == found
            assert len(await at.db.read(lambda conn: approvals.list_all(conn, ApprovalFilter()))) == 1

    run(go())


def _count_rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows each time that event logs were looked through."""
    rounds: list[int] = []
    forget = tidy.forget_events

    async def counting(db: object, before: int) -> int:
        dropped = await forget(db, before)
        rounds.append(dropped)
        return dropped

    monkeypatch.setattr(tidy, "forget_events", counting)
    return rounds
