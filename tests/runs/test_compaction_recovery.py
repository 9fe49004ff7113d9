"""Killed around a compaction: the old context holds or the new one does, and runs end or go on as they were to."""

import asyncio

from perdure.domain.ids import DEFAULT_TENANT
from tests.rig.stores import Place
from tests.runs.compacting import compact, in_short, talkative, used
from tests.runs.house import Voice, call, ending, house, read, run, said, soon


def test_killed_while_the_summary_is_written_after_the_last_step(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 3)
            hold = asyncio.Event()
            at.voice.says("Yes.", used(7_900)).says("They", hold)
            reader = await at.ask(agent, "still there?")
            await soon(lambda: at.voice.said == 3)
            before = await in_short(at, agent)
            copy = place.crashed()
            hold.set()
        async with house(copy, Voice()) as at:
            found = await read(await at.follow(reader.run_id))
            assert (said(found), ending(found)) == ("Yes.", ("end_turn", None))
            ended = await at.run_of(reader.run_id)
            assert (ended.status, ended.usage.total_tokens, ended.usage.step_count) == ("completed", 7_900, 1)
            assert await in_short(at, agent) == before
            at.voice.says("Of course.")
            assert said(await read(await at.ask(agent, "and now?"))) == "Of course."

    run(go())


def test_killed_while_the_summary_is_written_before_a_step(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11)
            hold = asyncio.Event()
            at.voice.says("They", hold)
            reader = await at.ask(agent, "still there?")
            await soon(lambda: at.voice.said == 1)
            copy = place.crashed()
            hold.set()
            at.voice.says("Yes.")
        async with house(copy, Voice().says("They talked.").says("Yes.")) as at:
            found = await read(await at.follow(reader.run_id))
            assert (said(found), ending(found)) == ("Yes.", ("end_turn", None))
            now = await in_short(at, agent)
            assert (now[0], now[-2:]) == ("summary: They talked.", ["user: still there?", "assistant: Yes."])

    run(go())


def test_killed_after_a_compaction_took_out_what_the_same_run_had_said(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            hold = asyncio.Event()
            at.voice.says("Look. " * 1_800, call("nowhere", call_id="a"), used(4_000))
            at.voice.says("Look again. " * 700, call("nowhere", call_id="b"), used(7_900)).says("They looked.")
            at.voice.says(hold)
            reader = await at.ask(agent, "look for it", stream_tokens=True)
            await soon(lambda: len(at.voice.asked) == 4)
            before = await in_short(at, agent)
            assert before[0] == "summary: They looked."
            copy = place.crashed()
            hold.set()
        async with house(copy, Voice().says("Found.")) as at:
            found = await read(await at.follow(reader.run_id))
            assert ending(found) == ("end_turn", None)
            assert await in_short(at, agent) == [*before, "assistant: Found."]

    run(go())


def test_killed_during_a_compaction_that_was_asked_for(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4)
            hold = asyncio.Event()
            at.voice.says("They", hold)
            reader = await at.runner.start(DEFAULT_TENANT, compact(agent))
            await soon(lambda: at.voice.said == 1)
            copy = place.crashed()
            hold.set()
        async with house(copy, Voice().says("They talked.")) as at:
            assert ending(await read(await at.follow(reader.run_id))) == ("end_turn", None)
            now = await in_short(at, agent)
            assert now[0] == "summary: They talked."
            update = f"UPDATE runs SET status = 'running' WHERE id = '{reader.run_id}'"
            await at.db.write(lambda conn: conn.exec_driver_sql(update))
        async with house(copy, Voice()) as at:
            await soon(lambda: at.stored("SELECT count(*) FROM runs WHERE status = 'running'") == [(0,)])
            assert await in_short(at, agent) == now

    run(go())
