"""Runs from their acceptance to their end: one at a time per conversation, followed by any number of readers."""

import asyncio
from typing import Any

import pytest

from perdure.domain import events
from perdure.domain.errors import Busy, Expired, NotFound
from perdure.domain.ids import example_id
from perdure.providers.base import ReasoningDelta, TextDelta
from perdure.runs import log as log_module
from perdure.runs import work as work_module
from perdure.store.retention import forget_events
from tests.rig.stores import Place
from tests.runs import house as house_module
from tests.runs.house import (
    MODEL,
    call,
    ending,
    house,
    kinds,
    numbers,
    read,
    run,
    said,
    soon,
    turns,
    until,
)

END = ["stop_reason", "usage_statistics"]


def test_a_turn_from_input_to_end(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says("Hel", "lo")
            reader = await at.ask(agent, "hi")
            found = await read(reader)
            assert kinds(found) == ["ping", "assistant_message", *END]
            assert numbers(found) == [1, 2, 3, 4, 5]
            assert said(found) == "Hello"
            assert ending(found) == ("end_turn", None)
            assert await at.history(agent) == ["hi", "Hello"]
            stored = await at.run_of(reader.run_id)
            assert (stored.status, stored.stop_reason, stored.usage.step_count) == ("completed", "end_turn", 1)
            assert stored.completed_at is not None
            assert stored.completed_at >= stored.created_at

    run(go())


def test_input_is_durable_before_the_model_is_asked(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            seen: list[Any] = []
            at.voice.says("Hello").when_asked = lambda: seen.extend(
                at.stored("SELECT role, parts FROM messages ORDER BY seq")
            )
            await read(await at.ask(agent, "hi"))
            assert [role for role, _ in seen] == ["system", "user"]
            assert "hi" in seen[1][1]

    run(go())


def test_calls_are_durable_before_a_tool_starts_and_returns_before_they_are_shown(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent("slow")
            at.voice.says("I try.", call("slow", '{"what": "done"}')).says("It worked.")
            reader = await at.ask(agent, "go")
            await soon(house_module.slow_began.is_set)
            assert at.stored("SELECT role FROM messages ORDER BY seq DESC LIMIT 1") == [("assistant",)]
            house_module.slow_may_end.set()
            while (batch := await reader.next()) is not None:
                if any(isinstance(event, events.ToolReturns) for _, event in batch):
                    assert ("tool",) in at.stored("SELECT role FROM messages")
            assert await at.history(agent) == [
                "go", 'I try. slow({"what": "done"})', "success: done", "It worked."
            ]  # fmt: skip

    run(go())


def test_only_what_is_asked_for_is_numbered(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says(ReasoningDelta("hm"), "Hello")
            found = await read(await at.ask(agent, "hi", message_types=frozenset({"reasoning_message"})))
            assert kinds(found) == ["ping", "reasoning_message", *END]
            assert numbers(found) == [1, 2, 3, 4]

    run(go())


def test_messages_to_a_busy_conversation_wait_first_in_first_out(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("one", hold).says("two").says("three")
            readers = [await at.ask(agent, text) for text in "123"]
            await until(readers[0], "one")
            assert kinds(await readers[1].next() or []) == ["ping"]
            await turns()
            assert await at.history(agent) == ["1"]
            assert [(await at.run_of(reader.run_id)).status for reader in readers] == ["running", "created", "created"]
            hold.set()
            assert [said(await read(reader)) for reader in readers] == ["", "two", "three"]
            assert await at.history(agent) == ["1", "one", "2", "two", "3", "three"]

    run(go())


def test_another_conversation_does_not_wait(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            busy, free, hold = await at.agent(), await at.agent(), asyncio.Event()
            at.voice.says("one", hold).says("two")
            first = await at.ask(busy, "1")
            await until(first, "one")
            assert said(await read(await at.ask(free, "2"))) == "two"
            hold.set()
            await read(first)

    run(go())


@pytest.mark.parametrize(("policy", "taken"), [({"queue": False}, 1), ({"max_queued": 2}, 3)])
def test_what_the_operator_does_not_let_wait_is_refused(place: Place, policy: dict[str, Any], taken: int) -> None:
    async def go() -> None:
        async with house(place, **policy) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says(hold, "done")
            readers = [await at.ask(agent, f"{n}") for n in range(taken)]
            with pytest.raises(Busy) as refused:
                await at.ask(agent, "too much")
            assert refused.value.details["run_id"] == readers[0].run_id
            assert at.stored("SELECT count(*) FROM runs") == [(taken,)]
            hold.set()
            await read(readers[0])

    run(go())


def test_a_run_is_read_by_many_from_anywhere_while_it_lasts_and_after(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("a", "b", hold, "c", "d")
            first = await at.ask(agent, "hi")
            early = await until(first, "ab")
            middle = await at.follow(first.run_id, after=2)
            beyond = await at.follow(first.run_id, after=100)
            hold.set()
            late = await at.follow(first.run_id)
            whole = early + await read(first)
            assert await read(late) == whole
            assert await read(middle) == whole[2:]
            assert await read(beyond) == []
            for after in (0, 3, len(whole), len(whole) + 5):
                assert await read(await at.follow(first.run_id, after)) == whole[after:]

    run(go())


def test_nobody_follows_a_run_that_is_not_there(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            with pytest.raises(NotFound):
                await at.follow(example_id("run"))
            agent = await at.agent()
            reader = await at.ask(agent, "hi") if at.voice.says("Hello") else None
            assert reader is not None
            await read(reader)
            with pytest.raises(NotFound):
                await at.runner.follow("org-somebody-else", reader.run_id)

    run(go())


def test_a_reader_that_stands_still_holds_up_neither_run_nor_reader(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "TAIL", 8)
    for module in (log_module, work_module):
        monkeypatch.setattr(module, "MAX_PENDING", 4)

    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says(*(f"{n} " for n in range(200)))
            slow = await at.ask(agent, "count")
            quick = await at.follow(slow.run_id)
            found = await read(quick)
            assert ending(found) == ("end_turn", None)
            again = await read(slow)
            assert again == found
            assert numbers(again) == list(range(1, len(again) + 1))
            assert said(again).split() == [str(n) for n in range(200)]

    run(go())


def test_a_run_goes_on_when_nobody_reads(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("a", hold, "b")
            run_id = (await at.ask(agent, "hi")).run_id
            hold.set()
            assert said(await read(await at.follow(run_id))) == "ab"

    run(go())


def test_a_model_faster_than_the_disk_has_to_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (log_module, work_module):
        monkeypatch.setattr(module, "MAX_PENDING", 20)

    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says(hold, *([TextDelta("x")] * 5 for _ in range(100)))
            reader = await at.ask(agent, "hi")
            async with at.place.held():
                hold.set()
                await soon(lambda: at.voice.said >= 4)
                await turns()
                assert at.voice.said <= 6
            assert said(await read(reader)) == "x" * 500

    run(go())


def test_a_full_disk_holds_a_turn_up_and_loses_nothing(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            big = "x" * 1_000_000
            at.voice.says("It is: ", hold, big)
            reader = await at.ask(agent, "hi")
            await until(reader, "It is: ")
            async with at.place.full(at.db):
                hold.set()
                await soon(lambda: at.voice.said == 2)
                waiting = asyncio.ensure_future(reader.next())
                await asyncio.wait({waiting}, timeout=0.3)
                assert not waiting.done()
            found = [*(await waiting or []), *await read(reader)]
            assert said(found) == big
            assert ending(found) == ("end_turn", None)
            assert await at.history(agent) == ["hi", f"It is: {big}"]

    run(go())


def test_a_model_asked_for_once_is_asked_or_nothing_begins(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            with pytest.raises(NotFound):
                await at.ask(agent, "hi", override_model="voice/nobody")
            assert at.stored("SELECT count(*) FROM runs") == [(0,)]
            at.voice.says("Hello")
            await read(await at.ask(agent, "hi", override_model=MODEL.handle))
            assert at.voice.asked[0].model == MODEL

    run(go())


def test_a_silent_run_wakes_its_readers(place: Place) -> None:
    async def go() -> None:
        async with house(place, ping_seconds=0.05) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("wait", hold)
            reader = await at.ask(agent, "hi")
            await until(reader, "wait")
            assert [await reader.next() for _ in range(2)] == [[], []]
            hold.set()
            await read(reader)

    run(go())


def test_event_logs_are_dropped_after_their_time_and_history_stays(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("Hello").says("wait", hold)
            ended = await at.ask(agent, "hi")
            found = await read(ended)
            live = await at.ask(agent, "again")
            early = await until(live, "wait")
            completed = (await at.run_of(ended.run_id)).completed_at or 0
            await forget_events(at.db, completed)
            assert await read(await at.follow(ended.run_id)) == found
            await forget_events(at.db, completed + 1)
            with pytest.raises(Expired):
                await at.follow(ended.run_id)
            hold.set()
            late = await read(live)
            assert await read(await at.follow(live.run_id)) == early + late
            assert await at.history(agent) == ["hi", "Hello", "again", "wait"]

    run(go())


def test_many_runs_at_once_keep_apart(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            made = [await at.agent() for _ in range(8)]

            async def talk(number: int) -> None:
                found = await read(await at.ask(made[number], f"hi {number}"))
                assert numbers(found) == list(range(1, len(found) + 1))
                assert ending(found) == ("end_turn", None)

            for _ in range(24):
                at.voice.says(*"abcdefgh")
            await asyncio.gather(*(talk(number % 8) for number in range(24)))
            for number, agent in enumerate(made):
                assert await at.history(agent) == [f"hi {number}", "abcdefgh"] * 3

    run(go())


def test_a_locked_database_does_not_end_the_pings(place: Place) -> None:
    async def go() -> None:
        async with house(place, patience=0.1, ping_seconds=0.1, approval_seconds=0.1) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("wait", hold)
            reader = await at.ask(agent, "hi")
            await until(reader, "wait")
            async with place.held():
                assert [await reader.next() for _ in range(3)] == [[], [], []]
            assert [await reader.next() for _ in range(3)] == [[], [], []]
            hold.set()
            await read(reader)

    run(go())
