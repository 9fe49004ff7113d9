"""A context that fills: when it is compacted, what stays, and what a reader is told. History keeps everything."""

import asyncio
from typing import Any

import pytest

from perdure.domain import events
from perdure.domain.ids import DEFAULT_TENANT
from perdure.providers.base import TextDelta
from perdure.store import steps
from tests.rig.stores import Place
from tests.runs.compacting import TOO_LONG, compact, history, in_short, summary_of, talkative, used
from tests.runs.house import MODEL, OTHER, call, ending, house, kinds, read, run, said, soon


def test_what_does_not_fit_is_summed_up_before_the_model_is_asked(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11)
            before = await history(at, agent)
            at.voice.says("They talked.", used(500)).says("Yes.", used(900))
            found = await read(await at.ask(agent, "still there?"))
            assert ending(found) == ("end_turn", None)
            assert said(found) == "Yes."
            asked, answered = at.voice.asked
            assert asked.model == MODEL
            assert (asked.tools, [message.role for message in asked.messages]) == ((), ["system", "user"])
            assert "question 0" in asked.messages[1].text
            assert "question 10" not in asked.messages[1].text
            now = await in_short(at, agent)
            assert now[0] == "summary: They talked."
            assert now[-4:] == ["user: question 10", "assistant: answer 10", "user: still there?", "assistant: Yes."]
            assert [message.role for message in answered.messages[:3]] == ["system", "summary", "user"]
            assert "earlier messages are outside this context" in answered.messages[0].text
            assert [entry for entry in await history(at, agent) if not entry.startswith("summary")] == [
                *before, "user: still there?", "assistant: Yes.",
            ]  # fmt: skip

    run(go())


def test_a_context_that_fits_is_left_alone(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 9)
            at.voice.says("Yes.", used(7_000))
            await read(await at.ask(agent, "still there?"))
            assert len(at.voice.asked) == 1
            assert len(await in_short(at, agent)) == 20

    run(go())


def test_who_asks_for_it_is_told_first_that_it_begins_and_then_what_came_of_it(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11)
            at.voice.says("They talked.").says("Yes.")
            kept = {"include_compaction_messages": True, "message_types": frozenset({"assistant_message"})}
            found = await read(await at.ask(agent, "still there?", **kept))
            assert kinds(found) == [
                "ping", "event_message", "summary_message", "assistant_message", "stop_reason", "usage_statistics",
            ]  # fmt: skip
            began, summed_up = found[1][1], found[2][1]
            assert isinstance(began, events.CompactionBegan)
            assert isinstance(summed_up, events.Summary)
            stats = summed_up.stats
            assert stats is not None
            assert (began.trigger, began.context_window) == ("context_window_exceeded", 8_000)
            assert stats.trigger == "context_window_exceeded"
            assert began.context_tokens == stats.context_tokens_before > 7_200
            assert stats.context_tokens_after < 0.7 * 8_000
            assert (stats.messages_count_before, stats.messages_count_after) == (24, len(await at.context(agent)) - 1)
            stored = await summary_of(at, agent)
            assert (stored.id, stored.run_id) == (summed_up.message_id, (await at.run_of(stored.run_id or "")).id)
            assert stored.summary is not None
            assert (stored.summary.text, stored.summary.stats, stored.summary.announced) == (
                "They talked.",
                stats,
                True,
            )

    run(go())


def test_after_a_step_that_leaves_too_little_room_the_rest_of_the_turn_waits_for_a_compaction(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 3)
            at.voice.says("Yes.", used(7_500)).says("They talked.")
            found = await read(await at.ask(agent, "still there?", include_compaction_messages=True))
            assert kinds(found)[1:4] == ["assistant_message", "event_message", "summary_message"]
            assert ending(found) == ("end_turn", None)
            began = next(event for _, event in found if isinstance(event, events.CompactionBegan))
            assert began.trigger == "post_step_context_check"
            now = await in_short(at, agent)
            assert now[0] == "summary: They talked."
            assert now[-2:] == ["user: still there?", "assistant: Yes."]

    run(go())


def test_reasoning_does_not_fill_a_context(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 3)
            at.voice.says("Yes.", used(7_500, reasoning_tokens=3_000))
            assert ending(await read(await at.ask(agent, "still there?"))) == ("end_turn", None)
            assert len(at.voice.asked) == 1

    run(go())


def test_what_a_summary_costs_counts_and_is_a_step(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11)
            at.voice.says("They talked.", used(5_000)).says("Yes.", used(3_000))
            reader = await at.ask(agent, "still there?")
            await read(reader)
            usage = (await at.run_of(reader.run_id)).usage
            assert (usage.total_tokens, usage.step_count) == (8_000, 2)
            taken = await at.db.read(lambda conn: steps.of_run(conn, DEFAULT_TENANT, reader.run_id))
            assert [(step.status, step.stop_reason, step.usage.total_tokens) for step in taken] == [
                ("success", None, 5_000), ("success", "end_turn", 3_000),
            ]  # fmt: skip
            assert (await summary_of(at, agent)).step_id == taken[0].id

    run(go())


def test_a_prompt_refused_as_too_long_is_compacted_and_asked_again(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4)
            at.voice.says(TOO_LONG).says("They talked.").says("Yes.")
            found = await read(await at.ask(agent, "still there?", include_compaction_messages=True))
            assert kinds(found)[1:4] == ["event_message", "summary_message", "assistant_message"]
            assert ending(found) == ("end_turn", None)
            assert len(at.voice.asked[2].messages) < len(at.voice.asked[0].messages)

    run(go())


def test_a_model_that_holds_far_less_than_is_said_of_it_is_asked_for_less_and_less(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 8)
            at.voice.says(TOO_LONG).says("They talked.").says(TOO_LONG).says("They talked.").says(TOO_LONG).says("Yes.")
            assert said(await read(await at.ask(agent, "still there?"))) == "Yes."
            assert await in_short(at, agent) == ["summary: They talked.", "user: still there?", "assistant: Yes."]
            at.voice.says("Of course.")
            assert said(await read(await at.ask(agent, "and now?"))) == "Of course."

    run(go())


def test_a_refusal_that_does_not_end_ends_the_run_and_not_the_agent(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent()
            for _ in range(4):
                at.voice.says(TOO_LONG)
            assert ending(await read(await at.ask(agent, "hi"))) == ("llm_api_error", "llm_bad_request")
            at.voice.says("Yes.")
            assert said(await read(await at.ask(agent, "still there?"))) == "Yes."
            assert await in_short(at, agent) == ["user: hi", "user: still there?", "assistant: Yes."]

    run(go())


def test_once_something_was_shown_a_refusal_is_the_end(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4)
            at.voice.says("Well,", TOO_LONG)
            found = await read(await at.ask(agent, "still there?"))
            assert (said(found), ending(found)) == ("Well,", ("llm_api_error", "llm_bad_request"))
            assert len(at.voice.asked) == 1

    run(go())


def test_a_system_message_larger_than_the_window_ends_the_run_before_anyone_is_asked(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent(system="Too much. " * 5_000)
            overfull = "context_window_overflow_in_system_prompt"
            reader = await at.ask(agent, "hi")
            assert ending(await read(reader)) == (overfull, overfull)
            assert (await at.run_of(reader.run_id)).status == "failed"
            assert at.voice.asked == []
            at.voice.says("Yes.")
            assert said(await read(await at.ask(agent, "hi", override_system="Short."))) == "Yes."

    run(go())


def test_a_refusal_because_of_the_system_message_says_so(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent(system="Too much. " * 2_500)
            for _ in range(4):
                at.voice.says(TOO_LONG)
            overfull = "context_window_overflow_in_system_prompt"
            assert ending(await read(await at.ask(agent, "hi"))) == (overfull, overfull)

    run(go())


def test_a_message_larger_than_the_window_is_cut_in_what_is_sent_and_stored_whole(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 2)
            book = "Begin. " + "Page. " * 20_000 + "End."
            at.voice.says("They talked.").says("Read.")
            assert said(await read(await at.ask(agent, book))) == "Read."
            sent = at.voice.asked[1].messages[-1].text
            assert len(sent) < 24_000
            assert sent.startswith("Begin.")
            assert sent.endswith("End.")
            assert "bytes left out" in sent
            assert [message.text for message in (await at.context(agent))[2:]] == [book, "Read."]
            at.voice.says("Yes.")
            assert said(await read(await at.ask(agent, "did you?"))) == "Yes."

    run(go())


def test_tool_returns_are_sent_up_to_a_share_of_the_window(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent("conversation_search")
            at.voice.says(call("nowhere", "{}")).says("Well.")
            await read(await at.ask(agent, "x" * 100))
            (returned,) = [part for message in await at.context(agent) for part in message.tool_returns]
            assert returned.text in at.voice.heard()[-1]

    run(go())


@pytest.mark.parametrize("trigger", ["before", "after", "refused"])
def test_a_cancel_during_a_compaction_leaves_the_context_as_it_was(place: Place, trigger: str) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11 if trigger == "before" else 4)
            hold = asyncio.Event()
            answers: list[Any] = {"before": [], "after": [("Yes.", used(7_900))], "refused": [(TOO_LONG,)]}[trigger]
            for answer in answers:
                at.voice.says(*answer)
            at.voice.says("They", hold)
            reader = await at.ask(agent, "still there?")
            await soon(lambda: len(at.voice.asked) == len(answers) + 1 and at.voice.said)
            before = await in_short(at, agent)
            assert await at.runner.cancel(DEFAULT_TENANT, agent_id=agent.id) == [reader.run_id]
            assert ending(await read(reader)) == ("cancelled", None)
            assert await in_short(at, agent) == before
            hold.set()

    run(go())


def test_somebody_can_ask_for_it(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4)
            at.voice.says("They talked.")
            reader = await at.runner.start(DEFAULT_TENANT, compact(agent, settings={"mode": "all"}))
            found = await read(reader)
            assert (kinds(found), ending(found)) == (["ping", "stop_reason", "usage_statistics"], ("end_turn", None))
            assert await in_short(at, agent) == ["summary: They talked.", "user: question 3", "assistant: answer 3"]
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))
            assert len(at.voice.asked) == 1

    run(go())


def test_the_model_that_is_set_sums_up(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            settings = {"model": OTHER.handle, "prompt": "Sum up!", "prompt_acknowledgement": True}
            agent = await talkative(at, 4, compaction_settings=settings)
            at.voice.says(TextDelta(" They talked.\n"))
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))
            (asked,) = at.voice.asked
            assert asked.model == OTHER
            assert [message.role for message in asked.messages] == ["system", "user", "assistant", "user"]
            assert asked.messages[0].text == "Sum up!"
            assert (await in_short(at, agent))[0] == "summary: They talked."

    run(go())
