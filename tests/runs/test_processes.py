"""Several processes on one PostgreSQL: a run is worked by one, followed and cancelled through any, and outlives it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text

from perdure.domain.ids import DEFAULT_TENANT
from perdure.runs.follower import Follower
from perdure.runs.runner import Policy
from perdure.store import tools
from tests.rig import postgres
from tests.rig.stores import PostgresPlace
from tests.runs.house import House, Voice, call, ending, numbers, read, run, said, soon, until


@contextlib.asynccontextmanager
async def houses(count: int = 2) -> AsyncIterator[list[House]]:
    """So many processes, as far as the database can tell; each has a voice of its own."""
    place = PostgresPlace(postgres.borrow())
    made: list[House] = []
    try:
        for _ in range(count):
            db = await place.open()
            house = House(place, db, Voice(), Policy(drain_seconds=0.0, lease_seconds=1.0))
            made.append(house)
            await db.write(lambda conn, house=house: tools.seed(conn, DEFAULT_TENANT, house.builtin))
            await house.runner.recover()
        yield made
    finally:
        for house in made:
            await house.runner.close()
            await house.db.close()
        place.close()
    assert [house.voice.faults for house in made] == [[]] * count


async def die(house: House) -> None:
    """As a killed process would: nothing more is done, and nobody is told."""
    tasks = [work.task for work in house.runner._works.values() if work.task] + house.runner._chores.tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    house.runner._works.clear()


async def rows(house: House, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await house.db.read(lambda conn: conn.execute(text(query)).all())]


def test_a_run_is_followed_through_another_process_while_it_goes_on() -> None:
    async def go() -> None:
        async with houses() as (one, other):
            agent, hold = await one.agent(), asyncio.Event()
            one.voice.says("first", hold, " second")
            here = await one.ask(agent, "hi")
            await until(here, "first")
            there = await other.follow(here.run_id)
            found = await until(there, "first")
            hold.set()
            found += await read(there)
            assert (said(found), ending(found)) == ("first second", ("end_turn", None))
            assert numbers(found) == list(range(1, len(found) + 1))
            assert await read(await other.follow(here.run_id)) == found == await read(await one.follow(here.run_id))

    run(go())


def test_a_run_is_cancelled_through_another_process() -> None:
    async def go() -> None:
        async with houses() as (one, other):
            agent, hold = await one.agent(), asyncio.Event()
            one.voice.says("first", hold)
            here = await one.ask(agent, "hi")
            await until(here, "first")
            assert await other.runner.cancel(DEFAULT_TENANT, agent_id=agent.id) == [here.run_id]
            assert (await one.run_of(here.run_id)).status == "cancelled"
            assert ending(await read(here)) == ("cancelled", None)
            one.voice.says("again")
            assert said(await read(await one.ask(agent, "and now?"))) == "again"

    run(go())


def test_runs_of_one_conversation_wait_for_each_other_across_processes() -> None:
    async def go() -> None:
        async with houses() as (one, other):
            agent, hold = await one.agent(), asyncio.Event()
            one.voice.says("one", hold).says("three")
            other.voice.says("two")
            first = await one.ask(agent, "1")
            await until(first, "one")
            second, third = await other.ask(agent, "2"), await one.ask(agent, "3")
            hold.set()
            assert [said(await read(reader)) for reader in (second, third)] == ["two", "three"]
            assert await other.history(agent) == ["1", "one", "2", "two", "3", "three"]

    run(go())


def test_the_runs_of_a_dead_process_are_taken_over() -> None:
    async def go() -> None:
        async with houses(3) as (dead, *others):
            silent, talking, waiting = [await dead.agent() for _ in range(3)]
            dead.voice.says(asyncio.Event()).says("half", asyncio.Event()).says("x", asyncio.Event())
            quiet = await dead.ask(silent, "1")
            await soon(lambda: len(dead.voice.asked) == 1)
            cut = await dead.ask(talking, "2")
            await until(cut, "half")
            running, queued = await dead.ask(waiting, "3"), await dead.ask(waiting, "4")
            await until(running, "x")
            for house in others:
                house.voice.says("whole").says("whole")
            await die(dead)
            ends = {
                reader.run_id: await read(await others[0].follow(reader.run_id))
                for reader in (quiet, cut, running, queued)
            }
            assert [(said(found), ending(found)) for found in ends.values()] == [
                ("whole", ("end_turn", None)),
                ("half", ("error", "run_interrupted")),
                ("x", ("error", "run_interrupted")),
                ("whole", ("end_turn", None)),
            ]
            assert all(numbers(found) == list(range(1, len(found) + 1)) for found in ends.values())
            assert await others[0].history(waiting) == ["3", "x", "4", "whole"]

    run(go())


def test_what_a_late_process_writes_is_refused_and_it_serves_on() -> None:
    async def go() -> None:
        async with houses() as (late, other):
            agent, hold = await late.agent(), asyncio.Event()
            late.voice.says("half", hold, " and more").says("new")
            reader = await late.ask(agent, "hi")
            before = await until(reader, "half")
            stopped = late.runner._chores.tasks.pop()
            stopped.cancel()
            await soon_async(lambda: _finished(other, reader))
            hold.set()
            found = before + await read(reader)
            assert (said(found), ending(found)) == ("half", ("error", "run_interrupted"))
            assert found == await read(await other.follow(reader.run_id))
            assert await other.history(agent) == ["hi", "half"]
            assert said(await read(await late.ask(agent, "again"))) == "new"
            assert await other.history(agent) == ["hi", "half", "again", "new"]
            assert len(await rows(other, "SELECT id FROM servers")) == 2

    run(go())


def test_a_late_process_starts_no_tool() -> None:
    async def go() -> None:
        async with houses() as (late, other):
            agent, hold = await late.agent("slow"), asyncio.Event()
            late.voice.says(hold, call("slow", '{"what": "done"}'))
            other.voice.says("Asked again.")
            reader = await late.ask(agent, "go")
            await soon(lambda: late.voice.asked)
            late.runner._chores.tasks.pop().cancel()
            await soon_async(lambda: _finished(other, reader))
            hold.set()
            assert said(await read(reader)) == "Asked again."
            assert await other.history(agent) == ["go", "Asked again."]

    run(go())


def test_an_orderly_stop_leaves_what_waits_to_the_others() -> None:
    async def go() -> None:
        async with houses() as (leaving, other):
            agent = await leaving.agent()
            leaving.voice.says("x", asyncio.Event())
            other.voice.says("taken over")
            running, queued = await leaving.ask(agent, "1"), await leaving.ask(agent, "2")
            await until(running, "x")
            await leaving.runner.close()
            assert ending(await read(await other.follow(running.run_id))) == ("error", "run_interrupted")
            assert said(await read(await other.follow(queued.run_id))) == "taken over"
            assert await other.history(agent) == ["1", "x", "2", "taken over"]

    run(go())


def test_where_nobody_is_woken_looking_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with houses() as (one, other):
            for house in (one, other):
                monkeypatch.setattr(type(house.db), "wakes", False)
                monkeypatch.setattr(house.runner, "_heard", lambda _: None)
            agent, hold = await one.agent(), asyncio.Event()
            one.voice.says("first", hold, " second").says("third", asyncio.Event())
            here = await one.ask(agent, "hi")
            there = await other.follow(here.run_id)
            await until(there, "first")
            hold.set()
            assert said(await read(there)) == " second"
            await until(await one.ask(agent, "again"), "third")
            async with asyncio.timeout(5):
                assert len(await other.runner.cancel(DEFAULT_TENANT, agent_id=agent.id)) == 1

    run(go())


async def _finished(house: House, reader: Follower) -> bool:
    return (await house.run_of(reader.run_id)).completed_at is not None


async def soon_async(check: Callable[[], Awaitable[bool]]) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.02)
