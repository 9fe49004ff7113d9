"""After a crash: what was shown is kept, calls are answered, runs end or go on, and the next turn works."""

import asyncio

from sqlalchemy import text

from perdure.domain.agents import Agent
from perdure.domain.events import Piece
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.messages import ReasoningPart, TextPart, ToolCallPart, groups
from perdure.domain.models import ModelSettings
from perdure.loop.context import OUTCOME_UNKNOWN
from perdure.providers.base import AnyDelta, ReasoningDelta, TextDelta
from perdure.runs.follower import Follower
from perdure.store import messages
from tests.rig.stores import Place
from tests.runs import house as house_module
from tests.runs.house import House, Voice, call, ending, house, kinds, numbers, read, run, said, soon, until

INTERRUPTED = ("error", "run_interrupted")


async def shown_until(reader: Follower, kind: str) -> None:
    """Reads on until an event of this kind has come."""
    found: list[str] = []
    while kind not in found:
        batch = await reader.next()
        assert batch is not None
        found += kinds(batch)


async def next_turn(at: House, agent: Agent) -> list[str]:
    """What the model is shown when the agent is spoken to again."""
    at.voice.says("Here I am.")
    assert said(await read(await at.ask(agent, "Are you there?"))) == "Here I am."
    return at.voice.heard()


def test_text_that_was_shown_becomes_a_message(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent()
            before.voice.says(ReasoningDelta("I think"), "The answer", " is", asyncio.Event())
            reader = await before.ask(agent, "hi")
            early = await until(reader, " is")
            copy = place.crashed()
        async with house(copy) as after:
            found = await read(await after.follow(reader.run_id))
            assert found[: len(early)] == early
            assert numbers(found) == list(range(1, len(found) + 1))
            assert ending(found) == INTERRUPTED
            stored = await after.run_of(reader.run_id)
            assert (stored.status, stored.stop_reason) == ("failed", "error")
            assert stored.metadata["error"]["error_type"] == "run_interrupted"
            assert await after.history(agent) == ["hi", "The answer is"]
            assert await next_turn(after, agent) == ["hi", "The answer is", "Are you there?"]

    run(go())


def test_the_kept_message_has_the_ids_and_parts_that_were_shown(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent("slow", settings=ModelSettings(parallel_tool_calls=True))
            said_so_far: list[AnyDelta] = [
                ReasoningDelta("I think"), TextDelta("Let me"), call("slow", '{"wh'), call("slow", "{}", "call-2", 1)
            ]  # fmt: skip
            before.voice.says(said_so_far, "see.", asyncio.Event())
            reader = await before.ask(agent, "hi")
            await until(reader, "see.")
            copy = place.crashed()
        async with house(copy) as after:
            context = await after.db.read(lambda conn: messages.context(conn, agent.conversation_id))
            kept = context[2]
            found = [event for _, event in await read(await after.follow(reader.run_id)) if isinstance(event, Piece)]
            shown = [event for event in found if event.message_id == kept.id]
            assert list(dict.fromkeys(event.otid for event in shown)) == [otid for otid, _ in groups(kept)]
            assert {event.message_id for event in found[len(shown) :]} == {context[3].id}
            assert [type(part) for part in kept.parts] == [
                ReasoningPart,
                TextPart,
                ToolCallPart,
                ToolCallPart,
                TextPart,
            ]
            assert [each.call_id for each in kept.tool_calls] == ["call-1", "call-2"]
            assert kept.tool_calls[0].arguments == '{"wh'
            assert kept.run_id == reader.run_id
            assert [part.call_id for part in context[3].tool_returns] == ["call-1", "call-2"]
            assert all("not run" in part.text for part in context[3].tool_returns)
            await next_turn(after, agent)

    run(go())


def test_a_tool_that_was_running_is_answered_as_unknown_and_not_run_again(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent("slow")
            before.voice.says("I try.", call("slow", '{"what": "done"}')).says("Late.")
            reader = await before.ask(agent, "go")
            await soon(house_module.slow_began.is_set)
            copy = place.crashed()
            house_module.slow_may_end.set()
            await read(reader)
        house_module.slow_began.clear()
        async with house(copy, Voice().says("I see.")) as after:
            await read(await after.follow(reader.run_id))
            kept = ["go", 'I try. slow({"what": "done"})', f"error: {OUTCOME_UNKNOWN}"]
            assert (await after.history(agent))[:3] == kept
            await read(await after.ask(agent, "Are you there?"))
            assert not house_module.slow_began.is_set()

    run(go())


def test_a_crash_after_the_returns_keeps_them(place: Place) -> None:
    async def go() -> None:
        house_module.slow_may_end.set()
        async with house(place) as before:
            agent = await before.agent("slow")
            before.voice.says(call("slow", '{"what": "done"}')).says(asyncio.Event())
            reader = await before.ask(agent, "go")
            await shown_until(reader, "tool_return_message")
            copy = place.crashed()
        async with house(copy, Voice().says("I see.")) as after:
            await read(await after.follow(reader.run_id))
            assert (await after.history(agent))[:3] == ["go", 'slow({"what": "done"})', "success: done"]
            await read(await after.ask(agent, "Are you there?"))

    run(go())


def test_input_survives_a_crash_before_the_model_has_answered(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent, hold = await before.agent(), asyncio.Event()
            before.voice.says(hold)
            reader = await before.ask(agent, "remember me")
            await soon(lambda: before.voice.asked)
            copy = place.crashed()
        async with house(copy, Voice().says("I do.")) as after:
            await read(await after.follow(reader.run_id))
            assert (await after.history(agent))[0] == "remember me"
            assert (await after.run_of(reader.run_id)).completed_at is not None

    run(go())


def test_a_step_that_had_shown_nothing_is_asked_again(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent()
            before.voice.says(asyncio.Event())
            reader = await before.ask(agent, "hi")
            await soon(lambda: before.voice.asked)
            copy = place.crashed()
        async with house(copy, Voice().says("Hello")) as after:
            found = await read(await after.follow(reader.run_id))
            assert (said(found), ending(found)) == ("Hello", ("end_turn", None))
            assert await after.history(agent) == ["hi", "Hello"]

    run(go())


def test_waiting_runs_go_on_in_their_order(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent, other = await before.agent(), await before.agent()
            before.voice.says("one", asyncio.Event()).says("uno", asyncio.Event())
            readers = [await before.ask(agent, text) for text in "1234"]
            await until(readers[0], "one")
            apart = await before.ask(other, "x")
            await until(apart, "uno")
            copy = place.crashed()
        voice = Voice().says("two").says("three").says("four")
        async with house(copy, voice) as after:
            ends = [await read(await after.follow(reader.run_id)) for reader in readers]
            assert [ending(found) for found in ends] == [INTERRUPTED, *[("end_turn", None)] * 3]
            assert await after.history(agent) == ["1", "one", "2", "two", "3", "three", "4", "four"]
            assert await after.history(other) == ["x", "uno"]
            assert [numbers(found) for found in ends] == [list(range(1, len(found) + 1)) for found in ends]
            assert after.stored("SELECT count(*) FROM runs WHERE status IN ('created', 'running')") == [(0,)]

    run(go())


def test_a_waiting_run_can_be_followed_and_cancelled_right_after_recovery(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent()
            before.voice.says("one", asyncio.Event())
            readers = [await before.ask(agent, text) for text in "123"]
            await until(readers[0], "one")
            copy = place.crashed()
        async with house(copy, Voice().says("two", asyncio.Event())) as after:
            last = await after.follow(readers[2].run_id)
            await until(await after.follow(readers[1].run_id), "two")
            assert len(await after.runner.cancel(DEFAULT_TENANT, agent_id=agent.id)) == 2
            assert ending(await read(last)) == ("cancelled", None)

    run(go())


def test_a_second_recovery_finds_nothing_to_do(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent()
            before.voice.says("half", asyncio.Event())
            reader = await before.ask(agent, "hi")
            await until(reader, "half")
            copy = place.crashed()
        async with house(copy) as after:
            once = await read(await after.follow(reader.run_id))
        async with house(copy) as again:
            assert await read(await again.follow(reader.run_id)) == once
            assert await again.history(agent) == ["hi", "half"]

    run(go())


def test_steps_that_were_not_shown_token_by_token_leave_no_half_message(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent()
            before.voice.says("half", asyncio.Event())
            reader = await before.ask(agent, "hi", stream_tokens=False)
            await soon(lambda: before.voice.said == 1)
            copy = place.crashed()
        async with house(copy, Voice().says("Whole.")) as after:
            await read(await after.follow(reader.run_id))
            assert "half" not in await after.history(agent)

    run(go())


def test_an_intact_file_is_left_alone(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent()
            before.voice.says("Hello")
            found = await read(await before.ask(agent, "hi"))
            copy = place.crashed()
        async with house(copy) as after:
            runs = after.stored("SELECT id FROM runs")
            assert await read(await after.follow(runs[0][0])) == found
            assert await after.history(agent) == ["hi", "Hello"]

    run(go())


def test_a_run_that_cannot_be_read_ends_and_keeps_no_server_from_its_start(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            damaged, other = await at.agent(), await at.agent()
            at.voice.says(asyncio.Event()).says(asyncio.Event())
            lost, waiting, whole = [(await at.ask(agent, "hi")).run_id for agent in (damaged, damaged, other)]
            await soon(lambda: len(at.voice.asked) == 2)
            spoil = text("UPDATE runs SET request = '{' WHERE id = :id")
            await at.db.write(lambda conn: conn.execute(spoil, {"id": lost}))
            left = place.crashed()
        async with house(left, at.voice.says("One.").says("Two.").says("Three.")) as at:
            ends = [ending(await read(await at.follow(run_id))) for run_id in (lost, waiting, whole)]
            assert ends == [("error", "run_interrupted"), ("end_turn", None), ("end_turn", None)]
            assert said(await read(await at.ask(damaged, "and now?"))) == "Three."

    run(go())


def test_a_conversation_that_cannot_be_read_ends_its_run_and_no_other(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            at.voice.says("One.").says("Two.")
            await read(await at.ask(agent, "hi"))
            await at.db.write(lambda conn: conn.execute(text("UPDATE messages SET parts = '{' WHERE role = 'user'")))
            reader = await at.ask(agent, "again")
            assert ending(await read(reader)) == ("error", "internal_error")
            assert (await at.run_of(reader.run_id)).status == "failed"
            assert ending(await read(await at.ask(await at.agent(), "hi"))) == ("end_turn", None)

    run(go())
