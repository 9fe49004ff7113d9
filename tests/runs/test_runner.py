"""Runs from their acceptance to their end: one at a time per conversation, followed by any number of readers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from perdure.domain import events
from perdure.domain.errors import Busy, ModelError, NotFound, Unavailable
from perdure.domain.ids import DEFAULT_TENANT, example_id
from perdure.providers.base import ReasoningDelta, TextDelta
from perdure.runs import log as log_module
from perdure.runs import runner as runner_module
from perdure.runs.runner import Runner
from perdure.store import agents
from tests.runs import house as house_module
from tests.runs.house import (
    LIMIT,
    MODEL,
    Voice,
    call,
    ending,
    held,
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


@pytest.fixture(autouse=True)
def ready_slow_tool() -> None:
    house_module.slow_began.clear()
    house_module.slow_may_end.clear()


def test_a_turn_from_input_to_end(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
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


def test_input_is_durable_before_the_model_is_asked(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent()
            seen: list[Any] = []
            at.voice.says("Hello").when_asked = lambda: seen.extend(
                at.stored("SELECT role, parts FROM messages ORDER BY seq")
            )
            await read(await at.ask(agent, "hi"))
            assert [role for role, _ in seen] == ["system", "user"]
            assert "hi" in seen[1][1]

    run(go())


def test_calls_are_durable_before_a_tool_starts_and_returns_before_they_are_shown(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
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


def test_only_what_is_asked_for_is_numbered(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent()
            at.voice.says(ReasoningDelta("hm"), "Hello")
            found = await read(await at.ask(agent, "hi", message_types=frozenset({"reasoning_message"})))
            assert kinds(found) == ["ping", "reasoning_message", *END]
            assert numbers(found) == [1, 2, 3, 4]

    run(go())


def test_messages_to_a_busy_conversation_wait_first_in_first_out(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
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


def test_another_conversation_does_not_wait(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            busy, free, hold = await at.agent(), await at.agent(), asyncio.Event()
            at.voice.says("one", hold).says("two")
            first = await at.ask(busy, "1")
            await until(first, "one")
            assert said(await read(await at.ask(free, "2"))) == "two"
            hold.set()
            await read(first)

    run(go())


@pytest.mark.parametrize(("policy", "taken"), [({"queue": False}, 1), ({"max_queued": 2}, 3)])
def test_what_the_operator_does_not_let_wait_is_refused(tmp_path: Path, policy: dict[str, Any], taken: int) -> None:
    async def go() -> None:
        async with house(tmp_path, **policy) as at:
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


def test_a_run_is_read_by_many_from_anywhere_while_it_lasts_and_after(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
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


def test_nobody_follows_a_run_that_is_not_there(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "TAIL", 8)
    for module in (log_module, runner_module):
        monkeypatch.setattr(module, "MAX_PENDING", 4)

    async def go() -> None:
        async with house(tmp_path) as at:
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


def test_a_run_goes_on_when_nobody_reads(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("a", hold, "b")
            run_id = (await at.ask(agent, "hi")).run_id
            hold.set()
            assert said(await read(await at.follow(run_id))) == "ab"

    run(go())


def test_a_model_faster_than_the_disk_has_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (log_module, runner_module):
        monkeypatch.setattr(module, "MAX_PENDING", 20)

    async def go() -> None:
        async with house(tmp_path) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says(hold, *([TextDelta("x")] * 5 for _ in range(100)))
            reader = await at.ask(agent, "hi")
            async with held(at.db):
                hold.set()
                await soon(lambda: at.voice.said >= 4)
                await turns()
                assert at.voice.said <= 6
            assert said(await read(reader)) == "x" * 500

    run(go())


def test_a_full_disk_holds_a_turn_up_and_loses_nothing(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent, hold = await at.agent(), asyncio.Event()
            big = "x" * 1_000_000
            at.voice.says("It is: ", hold, big)
            reader = await at.ask(agent, "hi")
            await until(reader, "It is: ")
            await at.db.write(lambda conn: limit(conn, at.stored("PRAGMA page_count")[0][0]))
            hold.set()
            await soon(lambda: at.voice.said == 2)
            waiting = asyncio.ensure_future(reader.next())
            await asyncio.wait({waiting}, timeout=0.3)
            assert not waiting.done()
            await at.db.write(lambda conn: limit(conn, 1_000_000))
            found = [*(await waiting or []), *await read(reader)]
            assert said(found) == big
            assert ending(found) == ("end_turn", None)
            assert await at.history(agent) == ["hi", f"It is: {big}"]

    run(go())


def limit(conn: Connection, pages: int) -> None:
    """Lets the data file grow to so many pages, as a full disk would."""
    conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def test_a_cancel_keeps_what_was_said_and_ends_those_that_wait(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent, other = await at.agent(), await at.agent()
            hold = asyncio.Event()
            at.voice.says("half of", hold, " it").says("untouched", hold)
            first, second = await at.ask(agent, "1"), await at.ask(agent, "2")
            await until(first, "half of")
            bystander = await at.ask(other, "3")
            await until(bystander, "untouched")
            ended = await at.runner.cancel(DEFAULT_TENANT, agent_id=agent.id)
            assert sorted(ended) == sorted([first.run_id, second.run_id])
            assert [ending(await read(reader)) for reader in (first, second)] == [("cancelled", None)] * 2
            assert [(await at.run_of(run_id)).status for run_id in ended] == ["cancelled"] * 2
            assert await at.history(agent) == ["1", "half of"]
            assert at.voice.left == [1]
            hold.set()
            assert ending(await read(bystander)) == ("end_turn", None)
            at.voice.says("Yes.")
            assert said(await read(await at.ask(agent, "still there?"))) == "Yes."

    run(go())


def test_a_cancel_while_a_tool_runs_answers_its_call(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent("slow")
            at.voice.says(call("slow", '{"what": "done"}')).says("Sorry.")
            reader = await at.ask(agent, "go")
            await soon(house_module.slow_began.is_set)
            await at.runner.cancel(DEFAULT_TENANT, agent_id=agent.id)
            assert ending(await read(reader)) == ("cancelled", None)
            house_module.slow_may_end.set()
            assert (await at.history(agent))[-1].startswith("error: ")
            await read(await at.ask(agent, "and now?"))

    run(go())


def test_deleting_an_agent_under_a_live_run_ends_its_readers(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            doomed, other, hold = await at.agent(), await at.agent(), asyncio.Event()
            at.voice.says("half of", hold, " it").says("fine")
            first, waiting = await at.ask(doomed, "1"), await at.ask(doomed, "2")
            await until(first, "half of")
            await at.db.write(lambda conn: agents.delete(conn, DEFAULT_TENANT, doomed.id))
            hold.set()
            async with asyncio.timeout(5):
                await read(first)
                await read(waiting)
            assert said(await read(await at.ask(other, "hi"))) == "fine"
            assert await at.runner.cancel(DEFAULT_TENANT, agent_id=doomed.id) == []

    run(go())


def test_a_model_that_fails_ends_its_run_with_the_reason(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent()
            at.voice.says("half of", ModelError("llm_rate_limit", "slow down")).says("Hello again.")
            reader = await at.ask(agent, "hi")
            assert ending(await read(reader)) == ("llm_api_error", "llm_rate_limit")
            stored = await at.run_of(reader.run_id)
            assert (stored.status, stored.metadata["error"]["detail"]) == ("failed", "slow down")
            assert await at.history(agent) == ["hi", "half of"]
            assert ending(await read(await at.ask(agent, "again"))) == ("end_turn", None)

    run(go())


def test_a_fault_of_our_own_ends_one_run_and_is_logged(
    tmp_path: Path, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent()
            at.voice.says("half of", ZeroDivisionError("a bug")).says("Hello again.")
            reader = await at.ask(agent, "hi")
            assert ending(await read(reader)) == ("error", "internal_error")
            assert (await at.run_of(reader.run_id)).status == "failed"
            assert said(await read(await at.ask(agent, "again"))) == "Hello again."
            assert reader.run_id in [line.get("run_id") for line in logged()]

    run(go())


def test_text_that_was_shown_is_kept_after_a_fault_of_our_own(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent()
            at.voice.says("half of", ZeroDivisionError("a bug"))
            assert said(await read(await at.ask(agent, "hi"))) == "half of"
            assert await at.history(agent) == ["hi", "half of"]

    run(go())


def test_a_run_whose_answer_cannot_be_kept_does_not_end_as_if_it_were(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("half of", hold, " it")
            reader = await at.ask(agent, "hi")
            await until(reader, "half of")
            await at.db.write(lambda conn: conn.exec_driver_sql("DELETE FROM conversations").rowcount)
            hold.set()
            assert ending(await read(reader)) == ("error", "internal_error")
            assert (await at.run_of(reader.run_id)).status == "failed"

    run(go())


def test_a_model_asked_for_once_is_asked_or_nothing_begins(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent()
            with pytest.raises(NotFound):
                await at.ask(agent, "hi", override_model="voice/nobody")
            assert at.stored("SELECT count(*) FROM runs") == [(0,)]
            at.voice.says("Hello")
            await read(await at.ask(agent, "hi", override_model=MODEL.handle))
            assert at.voice.asked[0].model == MODEL

    run(go())


def test_a_silent_run_wakes_its_readers(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path, ping_seconds=0.05) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("wait", hold)
            reader = await at.ask(agent, "hi")
            await until(reader, "wait")
            assert [await reader.next() for _ in range(2)] == [[], []]
            hold.set()
            await read(reader)

    run(go())


def test_event_logs_are_dropped_after_their_time_and_history_stays(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path, retention_hours=0.0) as at:
            agent = await at.agent()
            at.voice.says("Hello")
            reader = await at.ask(agent, "hi")
            await read(reader)
            again = Runner(at.rooms, at.runner.policy)
            await soon(lambda: at.stored("SELECT count(*) FROM run_events") == [(0,)])
            assert await read(await again.follow(DEFAULT_TENANT, reader.run_id)) == []
            assert await at.history(agent) == ["hi", "Hello"]
            await again.close()

    run(go())


# ---- closing


def test_closing_lets_runs_finish(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path, drain_seconds=LIMIT) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("half", hold, " and half")
            reader = await at.ask(agent, "hi")
            await until(reader, "half")
            closing = asyncio.ensure_future(at.runner.close())
            await turns()
            with pytest.raises(Unavailable):
                await at.ask(agent, "too late")
            hold.set()
            await closing
            assert ending(await read(reader)) == ("end_turn", None)
            await at.runner.close()

    run(go())


def test_closing_cuts_off_what_takes_too_long_and_keeps_what_was_said(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path, drain_seconds=0.01) as at:
            agent = await at.agent()
            at.voice.says("half", asyncio.Event())
            reader = await at.ask(agent, "hi")
            await until(reader, "half")
            await at.runner.close()
            assert ending(await read(reader)) == ("error", "run_interrupted")
            assert await at.history(agent) == ["hi", "half"]
            assert (await at.run_of(reader.run_id)).status == "failed"

    run(go())


def test_what_waits_when_the_server_stops_is_worked_after_the_next_start(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
            agent = await at.agent()
            at.voice.says("half", asyncio.Event())
            readers = [await at.ask(agent, text) for text in "123"]
            await until(readers[0], "half")
        voice = Voice().says("two").says("three")
        async with house(tmp_path, voice) as at:
            await at.runner.recover()
            assert [said(await read(await at.follow(reader.run_id))) for reader in readers] == ["half", "two", "three"]
            assert await at.history(agent) == ["1", "half", "2", "two", "3", "three"]

    run(go())


def test_many_runs_at_once_keep_apart(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(tmp_path) as at:
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
