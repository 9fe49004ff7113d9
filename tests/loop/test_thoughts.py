"""Thoughts written as an argument: cut from the call, shown first, and put back for the model."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain import events
from perdure.domain.agents import Agent, AgentType, thinks_in_arguments
from perdure.domain.ids import new_id, otid
from perdure.domain.messages import VOICE, Message, ReasoningPart, TextPart, ToolCallPart, Voice
from perdure.domain.models import Model, ModelSettings
from perdure.loop.answer import Answer, whole
from perdure.loop.thoughts import recalled, with_thoughts
from perdure.providers.base import AnyDelta, Finished, ToolCallDelta

CITY = {"thinking": "Ada asked.", "city": "Oslo"}


def take(arguments: str, size: int = 3, name: str = "weather", voice: Voice | None = None) -> tuple[Answer, list[Any]]:
    """An answer of one call, its arguments in fragments of `size`, and the events that show it."""
    taken = Answer(
        agent_id=new_id("agent"), run_id=new_id("run"), step_id=new_id("step"), show_tokens=True, parallel_calls=False,
        single_calls=False, voice=voice, text_is_thought=True, held=lambda name: name == "ask",
        thinks=lambda name: True,
    )  # fmt: skip
    fragments = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    deltas: list[AnyDelta] = [ToolCallDelta(0, "", "c1", name), *(ToolCallDelta(0, each) for each in fragments)]
    return taken, [event for delta in deltas for event in taken.take([delta])]


def message_of(taken: Answer) -> Message:
    message = taken.message()
    assert message is not None
    return message


def calls_in(messages: list[Message]) -> list[Any]:
    return [json.loads(call.arguments) for message in messages for call in message.tool_calls]


@pytest.mark.parametrize("size", range(1, 50))
def test_thoughts_come_first_and_are_no_argument(size: int) -> None:
    taken, shown = take(json.dumps(CITY), size)
    kinds = [type(event) for event in shown]
    assert kinds == sorted(kinds, key=[events.Reasoning, events.ToolCallDelta].index)
    thoughts = [event for event in shown if isinstance(event, events.Reasoning)]
    assert "".join(event.text for event in thoughts) == "Ada asked."
    assert {(event.native, event.otid) for event in thoughts} == {(False, otid(taken.message_id, 0))}
    called = [event for event in shown if isinstance(event, events.ToolCallDelta)]
    assert (called[0].name, {event.name for event in called[1:]} - {None}) == ("weather", set())
    assert json.loads("".join(event.arguments or "" for event in called)) == {"city": "Oslo"}
    message = message_of(taken)
    assert message.parts[0] == ReasoningPart(text="Ada asked.", native=False, call_id="c1")
    assert calls_in([message]) == [{"city": "Oslo"}]
    assert calls_in(recalled([message])) == [CITY]
    assert recalled([message])[0].parts == recalled([message])[0].tool_calls


def test_the_call_is_held_back_while_it_may_still_begin_with_thoughts() -> None:
    assert take('{"thinking": "Ada')[1][-1].text.endswith("a")
    assert all(isinstance(event, events.Reasoning) for event in take('{"thinking": "Ada", "city')[1])
    assert take("{ ")[1] == []
    first = next(event for event in take('{"city": "Oslo", "thinking": "late"}')[1])
    assert isinstance(first, events.ToolCallDelta)


def test_an_answer_that_breaks_among_thoughts_has_no_call() -> None:
    taken, _ = take('{"thinking": "I was goi')
    message = message_of(taken)
    assert message.parts == (ReasoningPart(text="I was goi", native=False, call_id="c1"),)
    assert recalled([message]) == [message]


@pytest.mark.parametrize(("text", "kept"), [("", "{}"), ("{", "{}"), ('{"thinking": "hm', "{}"), ("what?", "what?")])
def test_a_call_that_ends_among_thoughts_is_made_all_the_same(text: str, kept: str) -> None:
    taken, shown = take(text)
    shown += taken.take([Finished("tool_calls")])
    (named,) = [event for event in shown if isinstance(event, events.ToolCallDelta) and event.name]
    assert named.name == "weather"
    assert message_of(taken).tool_calls == (ToolCallPart(call_id="c1", name="weather", arguments=kept),)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_is_said_by_the_voice_comes_after_what_is_thought(size: int) -> None:
    written = {"thinking": 'Greet "her".', "message": "Hi Ada", "request_heartbeat": False}
    taken, shown = take(json.dumps(written), size, "send_message", VOICE)
    assert "".join(event.text for event in shown if isinstance(event, events.Reasoning)) == 'Greet "her".'
    assert "".join(event.text for event in shown if isinstance(event, events.AssistantText)) == "Hi Ada"
    assert [type(event) for event in shown].index(events.AssistantText) > 0
    stored = whole(message_of(taken), single_calls=False, voice=VOICE)
    assert [(type(event), event.text) for event in stored if hasattr(event, "text")] == [
        (events.Reasoning, 'Greet "her".'), (events.AssistantText, "Hi Ada"),
    ]  # fmt: skip


def test_thoughts_of_a_call_that_needs_approval() -> None:
    taken, shown = take(json.dumps(CITY), name="ask")
    request = taken.request()
    assert request is not None
    assert json.loads(request.tool_calls[0].arguments) == {"city": "Oslo"}
    message = message_of(taken)
    assert [part.text for part in message.parts if isinstance(part, ReasoningPart)] == ["Ada asked."]
    assert isinstance(shown[-1], events.ApprovalDelta)
    assert calls_in(recalled([message, request])) == [CITY]
    assert recalled([message]) == [message]


@given(st.dictionaries(st.sampled_from(["thinking", "a", "b"]), st.text() | st.integers()), st.integers(1, 20))
def test_however_it_is_written_and_split(written: dict[str, Any], size: int) -> None:
    taken, shown = take(json.dumps(written), size)
    shown += taken.take([Finished("tool_calls")])
    asked = "".join(event.arguments or "" for event in shown if isinstance(event, events.ToolCallDelta))
    assert json.loads(asked) == {name: value for name, value in written.items() if name != "thinking"}
    assert [call.arguments for call in message_of(taken).tool_calls] == [asked]
    thought = written.get("thinking")
    if isinstance(thought, str) and thought:
        assert calls_in(recalled([message_of(taken)])) == [{**written, "thinking": thought.replace("\0", "\ufffd")}]


def test_only_the_call_they_belong_to_gets_thoughts_back() -> None:
    taken, _ = take(json.dumps(CITY))
    other = msgspec.structs.replace(message_of(take('{"city": "Rome"}')[0]), step_id="step-2")
    plain = Message(id="m", agent_id="a", role="user", parts=(TextPart(text="hi"),), created_at=0)
    assert calls_in(recalled([plain, message_of(taken), other])) == [CITY, {"city": "Rome"}]
    assert recalled([plain]) == [plain]


def test_the_argument_stands_in_front_and_is_required() -> None:
    schema = {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}, "required": ["a"]}}
    parameters = with_thoughts(schema)["parameters"]
    assert (list(parameters["properties"]), parameters["required"]) == (["thinking", "a"], ["thinking", "a"])
    assert list(with_thoughts({"name": "f"})["parameters"]["properties"]) == ["thinking"]
    own = {"name": "f", "parameters": {"properties": {"thinking": {"type": "integer"}}}}
    assert with_thoughts(own) == own


@pytest.mark.parametrize(
    ("kind", "name", "settings", "expected"),
    [
        ("memgpt_agent", "gpt-4o", ModelSettings(), True),
        ("memgpt_v2_agent", "openai/gpt-5-chat-latest", ModelSettings(), True),
        ("react_agent", "claude-3-5-sonnet", ModelSettings(), True),
        ("memgpt_agent", "grok-4-fast-non-reasoning", ModelSettings(), True),
        ("memgpt_agent", "gpt-5-mini", ModelSettings(), False),
        ("memgpt_agent", "o3", ModelSettings(), False),
        ("memgpt_agent", "claude-sonnet-4-5", ModelSettings(), False),
        ("memgpt_agent", "gemini-2.5-pro", ModelSettings(), False),
        ("memgpt_agent", "gpt-4o", ModelSettings(reasoning=False), False),
        ("memgpt_agent", "gpt-4o", ModelSettings(thoughts_in_arguments=False), False),
        ("memgpt_agent", "o3", ModelSettings(thoughts_in_arguments=True), True),
        ("letta_v1_agent", "gpt-4o", ModelSettings(thoughts_in_arguments=True), False),
        ("sleeptime_agent", "gpt-4o", ModelSettings(), False),
    ],
)
def test_who_thinks_so(kind: AgentType, name: str, settings: ModelSettings, expected: bool) -> None:
    model = Model(
        handle=f"x/{name}", name=name, provider_name="x", provider_type="x", endpoint_type="x", context_window=8000
    )
    agent = Agent(
        id="agent-1", name="Ada", conversation_id="conv-1", system="", model=model, context_window=8000, created_at=0,
        updated_at=0, agent_type=kind, settings=settings,
    )  # fmt: skip
    assert thinks_in_arguments(agent, model) is expected
