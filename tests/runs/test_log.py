"""The event log: what it numbers, when it releases, and whom a failure reaches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import Unavailable
from perdure.domain.events import AnyEvent, Started
from perdure.domain.ids import DEFAULT_TENANT, now
from perdure.domain.runs import Usage
from perdure.runs import log as log_module
from perdure.runs.follower import Follower
from perdure.runs.lease import Lease
from perdure.runs.log import EventLog, RunLog
from perdure.store import agents, runs
from tests.rig.stores import Place
from tests.runs.house import House, Numbered, event, house, numbers, read, run, soon, turns


class Desk:
    """An event log on a real file, and runs to write of."""

    def __init__(self, inside: House, log: EventLog, agent: Agent) -> None:
        self.house, self.log, self.agent = inside, log, agent

    async def run(self, shown: Callable[[AnyEvent], bool] = lambda _: True) -> RunLog:
        return RunLog(await self.house.new_run(self.agent), shown)

    def reader(self, live: RunLog, after: int = 0) -> Follower:
        return Follower(self.house.db, live, after, self.house.runner._log_of)

    async def stored(self, live: RunLog) -> list[str]:
        """The texts of a run's events that are durable."""
        found = await self.house.db.read(lambda conn: runs.events_after(conn, live.run_id, 0, limit=10_000))
        assert numbers(found) == list(range(1, len(found) + 1))
        return texts(found)


def texts(found: list[Numbered]) -> list[str]:
    return [each.ping_id for _, each in found if isinstance(each, Started)]


@contextlib.asynccontextmanager
async def desk(place: Place, patience: float = 5.0) -> AsyncIterator[Desk]:
    async with house(place, patience=patience, recovers=False) as inside:
        lease = Lease(inside.db, lambda: None)
        await lease.register()
        log = EventLog(lease)
        yield Desk(inside, log, await inside.agent())
        await log.close()


def adds(*said: str) -> Callable[[Connection], list[AnyEvent]]:
    """A write that changes nothing and gives events."""
    return lambda _: [event(text) for text in said]


def fails(conn: Connection) -> list[AnyEvent]:
    """A write that has changed something by the time it fails."""
    conn.exec_driver_sql("UPDATE agents SET name = 'half done'")
    raise ZeroDivisionError("no good")


def test_numbers_follow_one_another_in_the_order_of_appending(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            one, other = await at.run(), await at.run()
            async with at.house.place.held():
                at.log.append(one, [event("a"), event("b")])
                at.log.append(other, [event("A")])
                first = at.log.write(one, adds("c", "d"))
                at.log.append(one, [event("e")])
                await turns()
                at.log.append(one, [event("f")])
                last = at.log.write(one, adds("g"), ends=True)
            await asyncio.gather(first, last)
            await at.log.write(other, adds("B"), ends=True)
            assert await at.stored(one) == list("abcdefg")
            assert await at.stored(other) == ["A", "B"]
            assert texts(await read(at.reader(one))) == list("abcdefg")
            assert (one.last, one.ended, one.pending) == (7, True, 0)

    run(go())


def test_what_is_not_shown_has_no_number(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live = await at.run(lambda each: isinstance(each, Started) and each.ping_id != "hidden")
            at.log.append(live, [event("hidden")])
            at.log.append(live, [event("a"), event("hidden"), event("b")])
            await at.log.write(live, adds("hidden", "c", "hidden"), ends=True)
            assert await at.stored(live) == ["a", "b", "c"]
            assert numbers(await read(at.reader(live))) == [1, 2, 3]

    run(go())


def test_nothing_is_released_before_it_is_durable(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            waiting = asyncio.ensure_future(at.reader(live).next())
            async with at.house.place.held():
                at.log.append(live, [event("a")])
                done = at.log.write(live, adds("b"))
                await turns()
                assert not waiting.done()
                assert not done.done()
                assert (live.last, live.pending) == (0, 1)
            # The reader runs as soon as it is released: by then another connection sees the same.
            assert texts(await waiting or []) == ["a", "b"]
            assert at.house.stored("SELECT count(*) FROM run_events WHERE last = 2") == [(1,)]
            await done

    run(go())


def test_a_write_that_raises_fails_its_own_run_alone(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            bad, good = await at.run(), await at.run()
            async with at.house.place.held():
                at.log.append(bad, [event("before")])
                failing = at.log.write(bad, fails)
                at.log.append(bad, [event("after")])
                fine = at.log.write(good, adds("fine"))
            with pytest.raises(ZeroDivisionError):
                await failing
            await fine
            await at.log.write(bad, adds("end"), ends=True)
            assert await at.stored(bad) == ["before", "after", "end"]
            assert await at.stored(good) == ["fine"]
            assert at.house.stored("SELECT name FROM agents") == [("Ada",)]

    run(go())


def test_a_run_that_is_gone_fails_alone_and_its_readers_end(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            gone, good = await at.run(), await at.run()
            reader = asyncio.ensure_future(read(at.reader(gone)))
            await at.house.db.write(
                lambda conn: conn.exec_driver_sql(f"DELETE FROM runs WHERE id = '{gone.run_id}'").rowcount
            )
            async with at.house.place.held():
                at.log.append(gone, [event("lost")])
                failing = at.log.write(gone, adds("lost too"), ends=True)
                fine = at.log.write(good, adds("fine"))
            await asyncio.wait({failing})
            assert failing.exception() is not None
            await fine
            assert await reader == []
            assert await at.stored(good) == ["fine"]

    run(go())


def test_a_producer_waits_for_room_and_goes_on_after_the_commit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_PENDING", 10)

    async def go() -> None:
        async with desk(place) as at:
            live, other = await at.run(), await at.run()
            async with at.house.place.held():
                at.log.append(live, [event()] * 11)
                at.log.append(other, [event()] * 10)
                await asyncio.wait_for(at.log.room(other), 10)
                waiting = asyncio.ensure_future(at.log.room(live))
                await turns()
                assert not waiting.done()
            await waiting
            assert live.pending == 0

    run(go())


def test_a_reader_far_behind_reads_from_the_database(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "TAIL", 4)

    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            slow, quick = at.reader(live), at.reader(live)
            said: list[str] = []
            for number in range(1, 41):
                await at.log.write(live, adds(str(number)))
                said += texts(await quick.next() or [])
            assert live.after(0) is None
            assert len(live.after(live.last - 4) or []) == 4
            await at.log.write(live, adds("41"), ends=True)
            everything = [str(number) for number in range(1, 42)]
            assert said + texts(await read(quick)) == everything
            found = await read(slow)
            assert (texts(found), numbers(found)) == (everything, list(range(1, 42)))
            assert numbers(await read(at.reader(live, after=30))) == list(range(31, 42))

    run(go())


def test_a_reader_that_waits_gets_what_one_commit_brought_however_much(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "TAIL", 4)

    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            reader = asyncio.ensure_future(read(at.reader(live)))
            await turns()
            async with at.house.place.held():
                at.log.append(live, [event(f"{number}") for number in range(1, 41)])
                done = at.log.write(live, adds("41"), ends=True)
            await done
            assert numbers(await reader) == list(range(1, 42))

    run(go())


def test_a_slow_reader_holds_up_nobody(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            slow = at.reader(live)
            await at.log.write(live, adds("a"))
            assert texts(await slow.next() or []) == ["a"]
            quick = asyncio.ensure_future(read(at.reader(live)))
            await at.log.write(live, adds(*"bcde"))
            await at.log.write(live, adds("f"), ends=True)
            assert texts(await quick) == list("abcdef")
            assert texts(await read(slow)) == list("bcdef")
            assert await slow.next() is None

    run(go())


def test_an_ended_run_is_read_from_the_database_from_any_number(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            for number in range(100):
                await at.log.write(live, adds(f"{number}", f"{number}+"))
            await at.house.db.write(
                lambda conn: runs.finish(
                    conn, live.run_id, status="completed", stop_reason="end_turn", usage=Usage(), metadata={}, at=now(),
                    ttft_ns=None, total_ns=1,
                )
            )  # fmt: skip
            for after in (0, 1, 99, 150, 199, 200, 1000):
                found = await read(await at.house.follow(live.run_id, after))
                assert numbers(found) == list(range(after + 1, 201))

    run(go())


def test_a_reader_is_woken_after_a_silence(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            waiting = asyncio.ensure_future(at.reader(live).next())
            await turns()
            live.wake()
            assert await waiting == []

    run(go())


def test_closing_commits_what_is_pending(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live, lease = await at.run(), Lease(at.house.db, lambda: None)
            await lease.register()
            log = EventLog(lease)
            log.append(live, [event("a")])
            await log.close()
            assert await at.stored(live) == ["a"]

    run(go())


def test_what_comes_while_a_log_closes_is_kept_or_refused_and_waits_for_nothing(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live, lease = await at.run(), Lease(at.house.db, lambda: None)
            await lease.register()
            log = EventLog(lease)

            async def write_twice() -> None:
                await log.write(live, adds("a"))
                await log.write(live, adds("b"), ends=True)

            writing = asyncio.ensure_future(write_twice())
            await turns()
            await log.close()
            async with asyncio.timeout(10):
                (refused,) = await asyncio.gather(writing, return_exceptions=True)
                with pytest.raises(Unavailable):
                    await log.write(live, adds("c"))
            assert refused is None or isinstance(refused, Unavailable)
            assert await at.stored(live) == (["a", "b"] if refused is None else ["a"])

    run(go())


def test_while_the_database_is_locked_streams_wait_and_lose_nothing(
    place: Place, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    async def go() -> None:
        async with desk(place, patience=0.1) as at:
            live = await at.run()
            async with place.held():
                at.log.append(live, [event("a")])
                done = at.log.write(live, adds("b"))
                complained = await soon(logged)
                assert live.last == 0
            await done
            assert complained[0]["event"].startswith("event log cannot be written")
            assert await at.stored(live) == ["a", "b"]

    run(go())


def test_while_the_disk_is_full_streams_wait_and_lose_nothing(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            big = "x" * 1_000_000
            async with place.full(at.house.db):
                at.log.append(live, [event(big)])
                done = at.log.write(live, adds("b"), ends=True)
                await asyncio.wait({done}, timeout=0.3)
                assert not done.done()
                assert live.last == 0
            await done
            assert await at.stored(live) == [big, "b"]

    run(go())


def test_an_event_that_cannot_be_stored_fails_its_own_run_alone(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            bad, good = await at.run(), await at.run()
            failing = at.log.write(bad, adds("\ud800"))
            fine = at.log.write(good, adds("fine"))
            await asyncio.wait({failing, fine}, timeout=5)
            assert fine.done()
            assert failing.exception() is not None
            assert await at.stored(good) == ["fine"]

    run(go())


def test_an_agent_deleted_with_runs_under_way_takes_their_logs_along(place: Place) -> None:
    async def go() -> None:
        async with desk(place) as at:
            live = await at.run()
            await at.log.write(live, adds("a"))
            await at.house.db.write(lambda conn: agents.delete(conn, DEFAULT_TENANT, at.agent.id))
            ending = at.log.write(live, adds("b"), ends=True)
            await asyncio.wait({ending})
            assert ending.exception() is not None
            assert texts(await read(at.reader(live))) == ["a"]
            assert await at.stored(live) == []

    run(go())
