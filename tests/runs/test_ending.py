"""How runs end that do not end by themselves: cancelled, failed, deleted, cut off. What was said is never lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.domain.errors import ModelError, Unavailable
from perdure.domain.ids import DEFAULT_TENANT
from perdure.store import agents
from tests.rig.stores import Place
from tests.runs import house as house_module
from tests.runs.house import (
    LIMIT,
    Voice,
    call,
    ending,
    house,
    read,
    run,
    said,
    soon,
    turns,
    until,
)


def test_a_cancel_keeps_what_was_said_and_ends_those_that_wait(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
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


def test_a_cancel_while_a_tool_runs_answers_its_call(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
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


def test_deleting_an_agent_under_a_live_run_ends_its_readers(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
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


def test_a_model_that_fails_ends_its_run_with_the_reason(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
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
    place: Place, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says("half of", ZeroDivisionError("a bug")).says("Hello again.")
            reader = await at.ask(agent, "hi")
            assert ending(await read(reader)) == ("error", "internal_error")
            assert (await at.run_of(reader.run_id)).status == "failed"
            assert said(await read(await at.ask(agent, "again"))) == "Hello again."
            assert reader.run_id in [line.get("run_id") for line in logged()]

    run(go())


def test_text_that_was_shown_is_kept_after_a_fault_of_our_own(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says("half of", ZeroDivisionError("a bug"))
            assert said(await read(await at.ask(agent, "hi"))) == "half of"
            assert await at.history(agent) == ["hi", "half of"]

    run(go())


def test_a_run_whose_answer_cannot_be_kept_does_not_end_as_if_it_were(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("half of", hold, " it")
            reader = await at.ask(agent, "hi")
            await until(reader, "half of")
            await at.db.write(lambda conn: conn.exec_driver_sql("DELETE FROM conversations").rowcount)
            hold.set()
            assert ending(await read(reader)) == ("error", "internal_error")
            assert (await at.run_of(reader.run_id)).status == "failed"

    run(go())


# ---- closing


def test_closing_lets_runs_finish(place: Place) -> None:
    async def go() -> None:
        async with house(place, drain_seconds=LIMIT) as at:
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


def test_closing_cuts_off_what_takes_too_long_and_keeps_what_was_said(place: Place) -> None:
    async def go() -> None:
        async with house(place, drain_seconds=0.01) as at:
            agent = await at.agent()
            at.voice.says("half", asyncio.Event())
            reader = await at.ask(agent, "hi")
            await until(reader, "half")
            await at.runner.close()
            assert ending(await read(reader)) == ("error", "run_interrupted")
            assert await at.history(agent) == ["hi", "half"]
            assert (await at.run_of(reader.run_id)).status == "failed"

    run(go())


def test_what_waits_when_the_server_stops_is_worked_after_the_next_start(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says("half", asyncio.Event())
            readers = [await at.ask(agent, text) for text in "123"]
            await until(readers[0], "half")
        voice = Voice().says("two").says("three")
        async with house(place, voice) as at:
            assert [said(await read(await at.follow(reader.run_id))) for reader in readers] == ["half", "two", "three"]
            assert await at.history(agent) == ["1", "half", "2", "two", "3", "three"]

    run(go())


def test_a_run_cancelled_before_its_first_step_ends(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says("fine")
            reader = await at.ask(agent, "hi")
            async with asyncio.timeout(5):
                assert await at.runner.cancel(DEFAULT_TENANT, agent_id=agent.id) == [reader.run_id]
                assert ending(await read(reader)) == ("cancelled", None)
                assert said(await read(await at.ask(agent, "again"))) == "fine"

    run(go())
