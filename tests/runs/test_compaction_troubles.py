"""Compactions that meet with trouble: models that fail, calls under way, shared messages. None blocks an agent."""

import asyncio
from typing import Any

import msgspec
import pytest

from perdure.agents.conversations import fork_conversation
from perdure.domain.approvals import Decision
from perdure.domain.errors import ModelError
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.requests import TurnRequest
from perdure.providers.base import TextDelta
from perdure.store import conversations, steps
from perdure.store import messages as message_store
from tests.rig.stores import Place
from tests.runs.compacting import TOO_LONG, brief, compact, history, in_short, summary_of, talkative, used
from tests.runs.house import MODEL, OTHER, House, Said, call, ending, house, message_of, read, run, said, soon

DOWN = ModelError("llm_error", "out of order")
LOST = "left this context without a summary"


async def text_of(at: House, agent: Any) -> str:
    summary = (await summary_of(at, agent)).summary
    assert summary is not None
    return summary.text


@pytest.mark.parametrize("answer", [(DOWN,), (), ("  \n",), (call("tool"),)], ids=["fails", "silent", "blank", "calls"])
def test_without_a_summary_a_note_takes_its_place(place: Place, answer: tuple[Said, ...]) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11, 1_000, "conversation_search")
            at.voice.says(*answer).says("Yes.")
            found = await read(await at.ask(agent, "still there?"))
            assert (said(found), ending(found)) == ("Yes.", ("end_turn", None))
            text = await text_of(at, agent)
            assert LOST in text
            assert "conversation_search finds" in text
            assert (await in_short(at, agent))[-2:] == ["user: still there?", "assistant: Yes."]

    run(go())


def test_a_failed_summary_loses_none_that_came_before(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11)
            at.voice.says("They talked of tea.").says("Yes.")
            await read(await at.ask(agent, "still there?"))
            for _ in range(3):
                more = [message_of(agent.id, "more " * 200) for _ in range(20)]
                await at.db.write(
                    lambda conn, more=more: message_store.append(conn, DEFAULT_TENANT, agent.conversation_id, more)
                )
                at.voice.says(DOWN).says("Yes.")
                assert ending(await read(await at.ask(agent, "and now?"))) == ("end_turn", None)
            text = await text_of(at, agent)
            assert text.startswith("They talked of tea.")
            assert LOST in text

    run(go())


def test_what_can_wait_waits_for_a_summary(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 3)
            before = await in_short(at, agent)
            at.voice.says("Yes.", used(7_900)).says(DOWN)
            reader = await at.ask(agent, "still there?")
            assert ending(await read(reader)) == ("end_turn", None)
            assert await in_short(at, agent) == [*before, "user: still there?", "assistant: Yes."]
            taken = await at.db.read(lambda conn: steps.of_run(conn, DEFAULT_TENANT, reader.run_id))
            assert [(step.status, step.error and step.error.detail) for step in taken] == [
                ("success", None), ("failed", "out of order"),
            ]  # fmt: skip
            at.voice.says(DOWN)
            assert ending(await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))) == (
                "llm_api_error", "llm_error",
            )  # fmt: skip
            assert await in_short(at, agent) == [*before, "user: still there?", "assistant: Yes."]

    run(go())


def test_where_the_model_that_is_set_fails_the_agents_own_sums_up(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4, compaction_settings={"model": OTHER.handle})
            at.voice.says(DOWN).says("They talked.")
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))
            assert [request.model for request in at.voice.asked] == [OTHER, MODEL]
            unknown = {"model": "nobody/knows"}
            at.voice.says("They talked on.")
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent, settings={"mode": "all", **unknown})))
            assert at.voice.asked[-1].model == MODEL
            assert await text_of(at, agent) == "They talked on."

    run(go())


def test_a_transcript_that_is_too_long_is_tried_shorter(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11)
            at.voice.says(TOO_LONG).says("They talked.")
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))
            first, second = (len(request.messages[-1].text) for request in at.voice.asked)
            assert second < first / 2
            assert await text_of(at, agent) == "They talked."

    run(go())


def test_a_transcript_fits_the_one_who_is_to_read_it(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4, 100_000)
            at.voice.says("They talked.")
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))
            (asked,) = at.voice.asked
            assert len(asked.messages[-1].text) < 8_000 * 3
            assert "question 0" in asked.messages[-1].text
            assert "answer 1" in asked.messages[-1].text

    run(go())


@pytest.mark.parametrize("chars", [20, None])
def test_a_summary_that_is_too_long_is_cut_and_not_waited_for(place: Place, chars: int | None) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 11, compaction_settings={"clip_chars": chars})
            at.voice.says(*(TextDelta("word " * 500) for _ in range(1_000))).says("Yes.")
            found = await read(await at.ask(agent, "still there?"))
            assert said(found) == "Yes."
            assert at.voice.said < 100
            assert len(await text_of(at, agent)) <= (chars or 2_400)

    run(go())


def test_calls_and_their_returns_stay_together_within_a_long_turn(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 1)
            for number in range(16):
                at.voice.says("Look." * 300, call("nowhere", call_id=f"call-{number}"))
            at.voice.says("Found.")
            summaries = 0

            def summed_up() -> None:
                nonlocal summaries
                if "<transcript>" in at.voice.heard()[-1]:
                    summaries += 1
                    at.voice.says_next(f"They looked {summaries} times.")

            at.voice.when_asked = summed_up
            found = await read(await at.ask(agent, "look for it"))
            assert ending(found) == ("end_turn", None)
            assert said(found).endswith("Found.")
            now = await in_short(at, agent)
            assert now[0] == "summary: They looked"
            assert now[1] == "user: look for"
            assert now[-1] == "assistant: Found."
            asked = [request for request in at.voice.asked if request.messages[-1].role != "user"]
            assert all("look for it" in [message.text for message in request.messages] for request in asked)
            kept = [entry for entry in await history(at, agent) if entry.startswith("assistant: Look")]
            assert len(kept) == 16
            assert summaries in (1, 2)

    run(go())


def test_a_pending_approval_stays_and_can_be_given_afterwards(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            rule = {"type": "requires_approval", "tool_name": "conversation_search"}
            agent = await talkative(at, 4, 1_000, "conversation_search", tool_rules=(rule,))
            at.voice.says("May I?", call("conversation_search", '{"query": "tea"}', "call-7"))
            assert ending(await read(await at.ask(agent, "tea?"))) == ("requires_approval", None)
            at.voice.says("They talked.")
            asked = compact(agent, settings={"mode": "all"})
            assert ending(await read(await at.runner.start(DEFAULT_TENANT, asked))) == ("end_turn", None)
            now = await in_short(at, agent)
            assert now[:3] == ["summary: They talked.", "user: tea?", "assistant: May I?"]
            assert [entry.split(":")[0] for entry in now[3:]] == ["approval"]
            at.voice.says("Yes, tea.")
            answer = TurnRequest(agent_id=agent.id, input=(), decisions=(Decision(target="call-7", approve=True),))
            assert ending(await read(await at.runner.start(DEFAULT_TENANT, answer))) == ("end_turn", None)

    run(go())


def test_a_fork_and_its_source_are_compacted_each_by_itself(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4)
            source = await at.db.read(lambda conn: conversations.get(conn, DEFAULT_TENANT, agent.conversation_id))
            fork = (
                await at.db.write(
                    lambda conn: fork_conversation(conn, DEFAULT_TENANT, source, up_to=None, hidden=False)
                )
            ).conversation
            shared = await in_short(at, agent)
            assert await in_short(at, agent, fork.id) == shared
            at.voice.says("They talked.")
            request = compact(agent, settings={"mode": "all"})
            await read(await at.runner.start(DEFAULT_TENANT, msgspec.structs.replace(request, conversation_id=fork.id)))
            assert await in_short(at, agent, fork.id) == ["summary: They talked.", *shared[-2:]]
            assert await in_short(at, agent) == shared
            at.voice.says("We talked.")
            await read(await at.runner.start(DEFAULT_TENANT, request))
            assert await in_short(at, agent) == ["summary: We talked.", *shared[-2:]]
            again = (
                await at.db.write(lambda conn: fork_conversation(conn, DEFAULT_TENANT, fork, up_to=None, hidden=False))
            ).conversation
            assert await in_short(at, agent, again.id) == ["summary: They talked.", *shared[-2:]]

    run(go())


@pytest.mark.parametrize("mode", ["self_compact_all", "self_compact_sliding_window"])
def test_an_agent_may_sum_up_itself_in_its_own_context(place: Place, mode: str) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4, 1_000, "conversation_search", compaction_settings={"mode": mode})
            at.voice.says("We talked.")
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))
            (asked,) = at.voice.asked
            assert asked.model == MODEL
            assert asked.tool_choice == "none"
            assert [tool["name"] for tool in asked.tools] == ["conversation_search"]
            gone = 3 if mode.endswith("all") else 2
            assert [brief(message) for message in asked.messages[1:-1]] == [
                entry for turn in range(gone) for entry in (f"user: question {turn}", f"assistant: answer {turn}")
            ]
            assert asked.messages[0].text == "You help."
            assert (await in_short(at, agent))[0] == "summary: We talked."

    run(go())


def test_where_an_agent_cannot_sum_up_itself_a_transcript_is_used(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 4, compaction_settings={"mode": "self_compact_all"})
            at.voice.says(TOO_LONG).says("They talked.")
            await read(await at.runner.start(DEFAULT_TENANT, compact(agent)))
            assert "<transcript>" in at.voice.asked[1].messages[-1].text
            assert await text_of(at, agent) == "They talked."

    run(go())


def test_an_agent_that_keeps_no_history_begins_each_turn_with_an_empty_context(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await at.agent(message_buffer_autoclear=True)
            for text in ("one", "two", "three"):
                at.voice.says(f"{text}!")
                await read(await at.ask(agent, text))
                assert at.voice.heard() == [text]
            assert await in_short(at, agent) == ["user: three", "assistant: three!"]
            assert len(await history(at, agent)) == 6

    run(go())


def test_the_second_message_waits_while_the_first_ones_turn_is_compacted(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent = await talkative(at, 3)
            hold = asyncio.Event()
            at.voice.says("Yes.", used(7_900)).says(hold, "They talked.").says("Also yes.")
            first = await at.ask(agent, "one?")
            await soon(lambda: len(at.voice.asked) == 2)
            second = await at.ask(agent, "two?")
            hold.set()
            assert [ending(await read(reader)) for reader in (first, second)] == [("end_turn", None)] * 2
            assert (await in_short(at, agent))[-4:] == [
                "user: one?",
                "assistant: Yes.",
                "user: two?",
                "assistant: Also yes.",
            ]

    run(go())
