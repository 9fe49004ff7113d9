"""What the model sees: a system message made of the agent's blocks, and a history that no provider refuses."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain.agents import Agent
from perdure.domain.blocks import Block
from perdure.domain.ids import new_id
from perdure.domain.messages import (
    SUMMARY_NOTE,
    AnyPart,
    ApprovalPart,
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    SummaryPart,
    TextPart,
    ToolCallPart,
)
from perdure.domain.messages import ToolReturnPart as Return
from perdure.domain.requests import TurnRequest
from perdure.loop.context import MOST_COUNTED, OUTCOME_UNKNOWN, assemble, compile_system, local_time, mended, unanswered
from perdure.memory.blocks import LINE_NUMBER_WARNING
from perdure.providers.base import ModelRequest
from perdure.providers.openai_body import Quirks, chat_body
from tests.memory.home import MODEL, new_block
from tests.rig.history import faults_of

NOW = 1_795_359_900_000_000
"""2026-11-22 15:05 UTC."""


def message(role: Role, *parts: AnyPart | str, **fields: Any) -> Message:
    made = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return Message(id=new_id("message"), agent_id="agent", role=role, parts=made, created_at=1, **fields)


def call(call_id: str, name: str = "f", arguments: str = "{}") -> ToolCallPart:
    return ToolCallPart(call_id=call_id, name=name, arguments=arguments)


def returned(*call_ids: str, **fields: Any) -> Message:
    return message(
        "tool", *(Return(call_id=each, name="f", status="success", text=each) for each in call_ids), **fields
    )


SYSTEM = message("system", "You help.")
HI = message("user", "hi")


def faults(history: Sequence[Message]) -> list[str]:
    """What a strict provider would refuse in this history."""
    return faults_of(json.loads(chat_body(ModelRequest(model=MODEL, messages=history), Quirks())))


def agent(**fields: Any) -> Agent:
    made: dict[str, Any] = {
        "id": "agent-1", "name": "Ada", "conversation_id": "conv-1", "system": "You help.", "model": MODEL,
        "context_window": 8_000, "created_at": 1, "updated_at": 1,
    }  # fmt: skip
    return Agent(**{**made, **fields})


def compiled(*blocks: Block, **fields: Any) -> str:
    return compile_system(of := agent(**fields), blocks, now=NOW).under(of.system)


# ---- mended


def test_a_whole_history_is_left_as_it_is() -> None:
    asked = message("assistant", "Looking.", call("a"), call("b"))
    history = [SYSTEM, HI, asked, returned("b", "a"), message("assistant", "Found."), HI]
    assert mended(history) == history
    assert faults(history) == []


def test_returns_may_come_in_several_messages() -> None:
    history = [SYSTEM, HI, message("assistant", call("a"), call("b")), returned("a"), returned("b"), HI]
    assert mended(history) == history


def test_a_call_without_a_return_is_answered_with_what_is_known() -> None:
    asked = message("assistant", call("a", "save"), call("b"), seq=7, run_id="run-1", step_id="step-1")
    found = mended([SYSTEM, HI, asked, returned("b"), HI])
    (part,) = found[4].tool_returns
    assert (part.call_id, part.name, part.status, part.text) == ("a", "save", "error", OUTCOME_UNKNOWN)
    assert [each.role for each in found] == ["system", "user", "assistant", "tool", "tool", "user"]


def test_what_answers_for_a_call_stands_where_the_call_stood() -> None:
    asked = message("assistant", call("a"), seq=7, run_id="run-1", step_id="step-1")
    answer = unanswered(asked, asked.tool_calls, "why")
    assert (answer.seq, answer.run_id, answer.step_id, answer.role) == (7, "run-1", "step-1", "tool")


def test_a_return_without_a_call_is_left_out() -> None:
    asked = message("assistant", call("a"))
    history = [SYSTEM, returned("z"), HI, asked, returned("a", "y", seq=9), returned("a"), HI]
    found = mended(history)
    assert [each.role for each in found] == ["system", "user", "assistant", "tool", "user"]
    assert [part.call_id for part in found[3].tool_returns] == ["a"]
    assert (found[3].id, found[3].seq) == (history[4].id, 9)


def test_a_return_that_comes_after_others_spoke_is_too_late() -> None:
    found = mended([SYSTEM, HI, message("assistant", call("a")), HI, returned("a"), HI])
    assert [each.role for each in found] == ["system", "user", "assistant", "tool", "user", "user"]
    assert found[3].tool_returns[0].status == "error"


def test_an_id_that_comes_back_in_a_later_answer_is_another_call() -> None:
    asked = [message("assistant", call("a")), message("assistant", call("a"))]
    history = [SYSTEM, HI, asked[0], returned("a"), asked[1], returned("a"), HI]
    assert mended(history) == history


def test_a_call_at_the_very_end_is_answered_too() -> None:
    assert faults(mended([SYSTEM, HI, message("assistant", call("a"))])) == []


def test_a_request_and_the_calls_beside_it_are_answered_together() -> None:
    for kind in ("request", "calls and request"):
        history = [SYSTEM, HI, *step(kind, "step-1"), HI]
        assert mended(history) == history
        assert faults(history) == []
        pending = history[: -2 - (history[-2].role == "tool")]
        assert faults(mended([*pending, HI])) == []


def test_nothing_stays_nothing() -> None:
    assert mended([]) == []


WORDS = st.text(min_size=1, max_size=5)
CALLS = st.builds(call, st.sampled_from("abcd"), st.text(max_size=3), st.sampled_from(["{}", '{"x": 1}', "{", "", "1"]))
HISTORIES = st.lists(
    st.one_of(
        st.builds(lambda said: message("user", said), WORDS),
        st.builds(lambda said: message("system", said), WORDS),
        st.builds(lambda said: message("summary", said), WORDS),
        st.builds(lambda said: message("assistant", said), WORDS),
        st.builds(lambda said: message("assistant", ReasoningPart(text=said)), WORDS),
        st.builds(
            lambda said, calls: message("assistant", *said, *calls),
            st.lists(WORDS, max_size=1),
            st.lists(CALLS, min_size=1, max_size=3, unique_by=lambda part: part.call_id),
        ),
        st.builds(lambda ids: returned(*ids), st.lists(st.sampled_from("abcd"), min_size=1, max_size=4)),
    ),
    max_size=12,
)


@st.composite
def edited(draw: st.DrawFn) -> list[Message]:
    """A history as the loop makes it, of which somebody has taken any messages away. Ids come back in later steps."""
    found: list[Message] = []
    for _ in range(draw(st.integers(0, 4))):
        found.append(message("user", "Go on."))
        for _ in range(draw(st.integers(0, 3))):
            found += step(draw(st.sampled_from(["text", "calls", "request", "calls and request"])), new_id("step"))
    kept = draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    return [each for each, keep in zip(found, kept, strict=True) if keep]


def step(kind: str, step_id: str) -> list[Message]:
    """The messages of one step; calls of a `request` wait for approval and are approved."""
    if kind == "text":
        return [message("assistant", "I say.", step_id=step_id)]
    first = [call("a"), call("b")] if "calls" in kind else ["Hm."]
    made, called = [message("assistant", *first, step_id=step_id)], "ab" if "calls" in kind else ""
    if "request" in kind:
        made.append(message("approval", call("c"), call("d"), step_id=step_id))
        made.append(message("approval", *(ApprovalPart(call_id=each, approve=True) for each in "cd"), step_id=step_id))
        called += "cd"
    return [*made, returned(*called, step_id=step_id)]


@settings(deadline=None, max_examples=300)
@given(HISTORIES)
def test_any_history_becomes_one_that_a_provider_takes(history: list[Message]) -> None:
    found = mended([SYSTEM, *history, HI])
    assert faults(found) == []


@settings(deadline=None, max_examples=300)
@given(edited())
def test_a_history_with_anything_taken_away_is_still_one_that_a_provider_takes(history: list[Message]) -> None:
    found = mended([SYSTEM, *history, HI])
    assert faults(found) == []


@settings(deadline=None)
@given(HISTORIES | edited())
def test_mending_adds_answers_and_takes_returns_and_touches_nothing_else(history: list[Message]) -> None:
    found = mended(history)
    assert [each for each in found if each.role != "tool"] == [each for each in history if each.role != "tool"]
    assert mended(found) == found


# ---- assemble


def assembled(*history: Message, **options: Any) -> list[Message]:
    return assemble(agent(), TurnRequest(agent_id="agent-1", input=(), **options), history)


def test_a_request_may_replace_the_system_message_and_bring_skills() -> None:
    skill = {"name": "bake", "location": "/skills/bake", "description": "Bakes bread."}
    found = assembled(SYSTEM, HI, override_system="You bake.", client_skills=(skill,))
    assert found[0].text.startswith("You bake.\n\n<available_skills>\n")
    assert "bake (/skills/bake): Bakes bread." in found[0].text
    assert found[1:] == [HI]
    assert assembled(SYSTEM, HI)[0].text == "You help."


def test_a_summary_reads_like_any_text() -> None:
    found = assembled(SYSTEM, message("summary", SummaryPart(text="They met.")), HI)
    assert found[1].text == f"{SUMMARY_NOTE}\n\nThey met."
    assert faults(found) == []


def test_images_reach_the_model() -> None:
    picture = message("user", "See?", ImagePart(media_type="image/png", data="AAAA"))
    assert faults(assembled(SYSTEM, picture)) == []


# ---- compile_system


def test_blocks_and_facts_follow_the_prompt_in_their_order() -> None:
    text = compiled(
        new_block("human", "Bob", description="Who it is."), new_block("persona", "I am Ada.", read_only=True)
    )
    assert text.startswith("You help.\n\n<memory_blocks>\n")
    assert text.index("<human>") < text.index("Who it is.") < text.index("Bob") < text.index("<persona>")
    assert text.count("- read_only=true") == 1
    assert "- chars_current=3" in text
    assert "- AGENT_ID: agent-1" in text
    assert "- CONVERSATION_ID: default" in text
    assert "03:05:00 PM UTC+0000" in text
    assert "conversation_search" not in text


def test_a_prompt_says_itself_where_its_memory_goes() -> None:
    text = compiled(new_block("human", "Bob"), system="Before. {CORE_MEMORY} After.")
    assert text.startswith("Before. <memory_blocks>")
    assert text.endswith("</memory_metadata> After.")


@pytest.mark.parametrize("kind", ["react_agent", "workflow_agent"])
def test_some_types_are_not_shown_their_blocks(kind: str) -> None:
    assert "Bob" not in compiled(new_block("human", "Bob"), agent_type=kind)


def test_messages_out_of_view_are_counted() -> None:
    text = compile_system(agent(), (), now=NOW, conversation_id="conv-9", recall_count=12).facts
    assert "- CONVERSATION_ID: conv-9" in text
    assert "- 12 earlier messages are outside this context" in text
    text = compile_system(agent(), (), now=NOW, recall_count=MOST_COUNTED).facts
    assert "- At least 1000 earlier messages are outside this context" in text


def test_times_are_the_agents_own() -> None:
    assert local_time(NOW, "Asia/Kolkata") == "2026-11-22 08:35:00 PM IST+0530"


@pytest.mark.parametrize(
    ("kind", "endpoint", "numbered"),
    [
        ("letta_v1_agent", "anthropic", True),
        ("sleeptime_agent", "anthropic", True),
        ("memgpt_agent", "anthropic", False),
        ("letta_v1_agent", "bedrock", False),
        ("letta_v1_agent", "openai", False),
    ],
)
def test_models_that_anthropic_serves_see_numbered_lines(kind: str, endpoint: str, numbered: bool) -> None:
    model = msgspec.structs.replace(MODEL, endpoint_type=endpoint)
    text = compiled(new_block("human", "Ada\n\ntea"), new_block("empty", ""), agent_type=kind, model=model)
    shown = "1→ Ada\n2→ \n3→ tea" if numbered else "Ada\n\ntea"
    assert "<human>\n<description>\n\n</description>\n<metadata>\n- chars_current=8\n" in text
    assert f"<value>\n{shown}\n</value>" in text
    assert "<value>\n\n</value>" in text
    assert text.count(f"<warning>\n{LINE_NUMBER_WARNING}\n</warning>") == numbered
