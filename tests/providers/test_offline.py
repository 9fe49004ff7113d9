"""The offline model: what it notes, what it answers, what it admits, and that nothing makes it raise."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain.messages import AnyPart, ImagePart, Message, Role, TextPart, ToolCallPart, ToolReturnPart
from perdure.domain.models import ModelSettings
from perdure.domain.runs import Usage
from perdure.providers.base import (
    AnyDelta,
    Finished,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from perdure.providers.offline import OFFLINE_MODEL, OfflineProvider


def block(label: str, value: str, *, read_only: bool = False) -> str:
    """A block as the system message shows it."""
    note = "- read_only=true\n" if read_only else ""
    head = f"<{label}>\n<description>\nabout\n</description>\n<metadata>\n{note}- chars_current={len(value)}\n"
    return f"{head}- chars_limit=5000\n</metadata>\n<value>\n{value}\n</value>\n</{label}>"


def system(*blocks: str) -> Message:
    joined = "\n".join(blocks)
    return message("system", f"Prompt.\n\n<memory_blocks>\nAn introduction.\n{joined}\n</memory_blocks>\n\nThe end.")


def message(role: Role, *parts: str | AnyPart) -> Message:
    made = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return Message(id="message-1", agent_id="agent-1", role=role, parts=made, created_at=0)


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """A schema whose arguments are all required, but for `insert_line` and `request_heartbeat`."""
    required = [key for key in properties if key not in ("insert_line", "request_heartbeat")]
    return {
        "name": name,
        "description": "A tool.",
        "parameters": {"type": "object", "properties": properties, "required": required},
    }


TEXT = {"type": "string"}
INSERT = tool("memory_insert", label=TEXT, new_string=TEXT, insert_line={"type": "integer"})
REPLACE = tool("memory_replace", label=TEXT, old_string=TEXT, new_string=TEXT)
SEARCH = tool("conversation_search", query=TEXT)
SEND = tool("send_message", message=TEXT, request_heartbeat={"type": "boolean"})
TOOLS = (INSERT, REPLACE, SEARCH)


class Answer(msgspec.Struct, frozen=True):
    """What one model call gave, put together."""

    reasoning: str
    text: str
    tool: str | None
    arguments: dict[str, Any]
    usage: Usage
    finished: str
    deltas: list[AnyDelta]

    @property
    def history(self) -> Message:
        """This answer as the assistant message of the next request."""
        call = ToolCallPart(call_id="call-1", name=self.tool or "", arguments=json.dumps(self.arguments))
        return message("assistant", call) if self.tool else message("assistant", self.text)


def request_for(
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]] = TOOLS,
    choice: str = "auto",
    model_settings: ModelSettings | None = None,
) -> ModelRequest:
    return ModelRequest(
        model=OFFLINE_MODEL,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        settings=model_settings or ModelSettings(),
    )


def stream(request: ModelRequest) -> list[Sequence[AnyDelta]]:
    async def collect() -> list[Sequence[AnyDelta]]:
        return [batch async for batch in OfflineProvider().stream(request)]

    return asyncio.run(collect())


def ask(
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]] = TOOLS,
    choice: str = "auto",
    model_settings: ModelSettings | None = None,
) -> Answer:
    batches = stream(request_for(messages, tools, choice, model_settings))
    assert all(batches)
    deltas = [delta for batch in batches for delta in batch]
    usage, finished = deltas[-2:]
    assert isinstance(usage, UsageDelta)
    assert isinstance(finished, Finished)
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    return Answer(
        reasoning="".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)),
        text="".join(delta.text for delta in deltas if isinstance(delta, TextDelta)),
        tool=calls[0].name if calls else None,
        arguments=json.loads("".join(call.arguments for call in calls)) if calls else {},
        usage=usage.usage,
        finished=finished.reason,
        deltas=deltas,
    )


def say(text: str, *blocks: str, **options: Any) -> Answer:
    return ask([system(*blocks), message("user", text)], **options)


def returned(answer: Answer, text: str, *, failed: bool = False) -> Message:
    part = ToolReturnPart(call_id="call-1", name=answer.tool or "", status="error" if failed else "success", text=text)
    return message("tool", part)


EMPTY = block("human", "")
BOB = block("human", "Name: Bob\nLikes: tea")


def test_it_says_what_it_is() -> None:
    [model] = asyncio.run(OfflineProvider().models())
    assert (model.handle, model.provider_type, model.context_window) == ("perdure/offline", "letta", 32_768)
    assert "no language model" in (model.display_name or "")
    answer = say("Who are you?", block("persona", "I am Sam."))
    assert "no language model behind it" in answer.text
    assert '"I am Sam."' in answer.text
    assert say("hello there", EMPTY).text.startswith("Hello!")


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        ("My name is Ada", ["Name: Ada"]),
        ("Hi, I’m Ada 🎉", ["Name: Ada"]),
        ("call me Ishmael.", ["Name: Ishmael"]),
        ("I live in St. Louis. I like figs and hate fog!", ["Lives in: St. Louis", "Likes: figs", "Dislikes: fog"]),
        ("I'm a nurse, and my favourite colour is teal", ["Is: a nurse", "Favourite colour: teal"]),
        ("My dog's name is Rex", ["Dog's name: Rex"]),
        ("Please remember that the gate code is 4711", ["Note: the gate code is 4711"]),
        ("Remember that I prefer trains.", ["Prefers: trains"]),
        ("I'm German", ["Is: German"]),
    ],
)
def test_it_notes_what_it_is_told(said: str, lines: list[str]) -> None:
    answer = say(said, EMPTY)
    assert answer.tool == "memory_insert"
    assert answer.arguments == {"label": "human", "new_string": "\n".join(lines), "insert_line": -1}
    assert answer.finished == "tool_calls"
    assert lines[0] in answer.reasoning


@pytest.mark.parametrize(
    "said", ["Call me tomorrow", "I love you", "I have a question", "I'm fine", "Do you remember my name?", "It rained"]
)
def test_it_does_not_note_what_is_no_fact(said: str) -> None:
    assert say(said, EMPTY).tool is None


def test_another_value_for_a_slot_replaces_the_old_one() -> None:
    answer = say("My name is Ada", BOB)
    assert answer.tool == "memory_replace"
    assert answer.arguments == {"label": "human", "old_string": "Name: Bob", "new_string": "Name: Ada"}


def test_what_it_replaces_occurs_once() -> None:
    value = "Name: Bob\nAlso known as Name: Bob"
    old = say("My name is Ada", block("human", value)).arguments["old_string"]
    assert value.count(old) == 1


def test_what_is_known_is_not_noted_again() -> None:
    answer = say("my name is bob", BOB)
    assert answer.tool is None
    assert '"Name: Bob"' in answer.text


def test_several_changes_go_one_call_after_the_other() -> None:
    history = [system(BOB), message("user", "My name is Ada and I live in Lisbon. What is my name?")]
    first = ask(history)
    assert first.tool == "memory_replace"
    history += [first.history, returned(first, "done")]
    second = ask(history)
    assert second.arguments["new_string"] == "Lives in: Lisbon"
    history += [second.history, returned(second, "done")]
    last = ask(history)
    assert last.finished == "stop"
    assert last.text.startswith('I noted "Name: Ada" and "Lives in: Lisbon" in my `human` block.')
    assert "Your name is Ada." in last.text


def test_a_refused_note_is_reported_with_its_reason() -> None:
    history = [system(EMPTY), message("user", "My name is Ada")]
    call = ask(history)
    answer = ask([*history, call.history, returned(call, "The block is full.", failed=True)])
    assert answer.tool is None
    assert "could not note" in answer.text
    assert "The block is full." in answer.text


def test_it_does_not_repeat_a_call_whose_arguments_a_rule_changed() -> None:
    history = [system(EMPTY), message("user", "My name is Ada")]
    changed = message("assistant", ToolCallPart(call_id="call-1", name="memory_insert", arguments='{"label": "x"}'))
    answer = ask([*history, changed, returned(ask(history), "done")])
    assert answer.tool is None


@pytest.mark.parametrize(
    ("blocks", "tools", "reason"),
    [
        ([], TOOLS, "no `human` block"),
        ([block("human", "", read_only=True)], TOOLS, "read-only"),
        ([EMPTY], (), "no tool"),
    ],
)
def test_it_says_why_it_cannot_note(blocks: list[str], tools: Sequence[dict[str, Any]], reason: str) -> None:
    answer = say("My name is Ada", *blocks, tools=tools)
    assert answer.tool is None
    assert reason in answer.text


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("What is my name?", "Your name is Ada."),
        ("what's my favorite colour", "Your favorite colour is teal."),
        ("Where do I live?", "You live in Lisbon."),
        ("What do I like?", "You like figs and tea."),
        ("Do I like figs?", '"Likes: figs"'),
        ("What do you know about me?", '"Lives in: Lisbon"'),
        ("When is the launch?", '"Launch: 3 March" (my `project` block)'),
    ],
)
def test_it_answers_from_its_blocks(question: str, quote: str) -> None:
    human = block("human", "Name: Ada\nLives in: Lisbon\nLikes: figs\nLikes: tea\nFavourite colour: teal")
    answer = say(question, human, block("project", "Launch: 3 March"))
    assert answer.tool is None
    assert quote in answer.text


def test_a_block_may_hold_tags() -> None:
    tricky = "Name: Ada\n</value>\n</human>\n<x>\n<description>"
    answer = say("What is my name? What's in your memory?", block("human", tricky), block("notes", "Door: red"))
    assert "Your name is Ada." in answer.text
    assert '"Door: red" (my `notes` block)' in answer.text


def test_without_a_block_it_still_answers_from_the_conversation() -> None:
    history = [system(), message("user", "My name is Ada"), message("assistant", "Hm."), message("user", "My name?")]
    assert "Your name is Ada. (From earlier in this conversation" in ask(history).text


def test_what_nobody_told_it_is_not_made_up() -> None:
    assert "nothing about that" in say("Where do I live?", BOB).text


def test_it_searches_the_conversation_and_quotes_what_was_found() -> None:
    question = "Do you remember when I told you about figs?"
    history = [system(BOB), message("user", question)]
    call = ask(history)
    assert (call.tool, call.arguments) == ("conversation_search", {"query": "figs"})
    found = {
        "results": [
            {"timestamp": "2026-11-22", "role": "user", "content": question},
            {"timestamp": "2026-11-20", "role": "assistant", "content": "Figs are sweet"},
            {"timestamp": "2026-11-21", "role": "user", "content": "I ate figs in Faro"},
        ]
    }
    answer = ask([*history, call.history, returned(call, json.dumps(found))])
    assert 'you said on 2026-11-21: "I ate figs in Faro"' in answer.text
    assert answer.text.index("2026-11-21") < answer.text.index("2026-11-20")
    assert "2026-11-22" not in answer.text
    nothing = ask([*history, call.history, returned(call, '{"results": []}')])
    assert "found nothing" in nothing.text


@pytest.mark.parametrize("wish", ["Write a poem about the sea", "What is the capital of Peru?", "Can you book it?"])
def test_what_it_cannot_do_it_admits_with_a_remedy(wish: str) -> None:
    answer = say(wish, EMPTY)
    assert "I cannot" in answer.text
    assert "no language model behind it" in answer.text
    assert "OPENAI_API_KEY" in answer.text


def test_it_says_that_it_sees_no_images() -> None:
    image = ImagePart(media_type="image/png", data="AAAA")
    answer = ask([system(EMPTY), message("user", "What is this?", image)])
    assert "cannot see images" in answer.text


def test_it_calls_a_tool_by_name_with_the_arguments_given() -> None:
    weather = tool("weather", city=TEXT, days={"type": "integer", "minimum": 2})
    answer = say('Please use the tool weather with {"city": "Faro"}', EMPTY, tools=[weather])
    assert (answer.tool, answer.arguments) == ("weather", {"city": "Faro", "days": 2})
    history = [system(EMPTY), message("user", "call weather"), answer.history, returned(answer, "Sunny")]
    assert ask(history, tools=[weather]).text == 'weather returned: "Sunny"'


def test_a_forced_tool_is_called_with_valid_arguments() -> None:
    schema = tool(
        "book",
        when={"type": "string", "format": "date"},
        kind={"enum": ["train", "bus"]},
        seats={"type": "array", "items": {"$ref": "#/$defs/Seat"}, "minItems": 2},
        note={"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 3}]},
    )
    schema["parameters"]["$defs"] = {"Seat": {"type": "object", "properties": {"row": {"type": "integer"}}}}
    answer = say("Hello", EMPTY, tools=[*TOOLS, schema], choice="book")
    assert answer.tool == "book"
    assert answer.arguments == {"when": "2026-01-01", "kind": "train", "seats": [{}, {}], "note": "Hel"}


def test_where_a_call_is_required_it_speaks_through_send_message() -> None:
    insert = tool("memory_insert", label=TEXT, new_string=TEXT, request_heartbeat={"type": "boolean"})
    history = [system(EMPTY), message("user", "My name is Ada")]
    noted = ask(history, tools=[SEND, insert], choice="required")
    assert (noted.tool, noted.arguments["request_heartbeat"]) == ("memory_insert", True)
    heartbeat = message("user", '{"type": "heartbeat", "reason": "memory_insert was called", "time": "now"}')
    spoken = ask([*history, noted.history, returned(noted, "done"), heartbeat], tools=[SEND, insert], choice="required")
    assert spoken.tool == "send_message"
    assert spoken.arguments["request_heartbeat"] is False
    assert 'I noted "Name: Ada"' in spoken.arguments["message"]


def test_no_tool_is_called_where_none_may_be() -> None:
    assert say("My name is Ada", EMPTY, choice="none").tool is None


def test_it_streams_word_by_word_with_reasoning_first_and_counts_what_it_said() -> None:
    answer = say("What is my name?", BOB)
    kinds = [type(delta) for delta in answer.deltas]
    assert kinds.index(TextDelta) > kinds.index(ReasoningDelta)
    assert kinds[-2:] == [UsageDelta, Finished]
    assert kinds.count(TextDelta) == len(answer.text.split())
    said = len((answer.reasoning + answer.text).encode())
    assert answer.usage.completion_tokens == -(-said // 4)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.step_count == 1


def test_the_same_request_gives_the_same_deltas() -> None:
    request = request_for([system(BOB), message("user", "My name is Ada")])
    assert stream(request) == stream(request)


def test_settings_hold_for_it_too() -> None:
    silent = say("Hello", EMPTY, model_settings=ModelSettings(reasoning=False))
    assert silent.reasoning == ""
    short = say("Hello", EMPTY, model_settings=ModelSettings(max_output_tokens=20))
    assert short.finished == "length"
    assert short.usage.completion_tokens <= 24


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "items", "anyOf", "$ref"])
    | st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
WORDS = st.sampled_from(["my name is", "Ada", "{", "}", "?", "remember that", "search", "call", "odd", "\n", "I like"])
ODD_TEXT = st.text(max_size=40) | st.lists(WORDS, max_size=12).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(
    said=st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool", "system"]), ODD_TEXT), max_size=4),
    memory=ODD_TEXT,
    parameters=JSON,
    choice=st.sampled_from(["auto", "none", "required", "any", "odd", "nobody"]),
)
def test_nothing_makes_it_raise(said: list[tuple[Role, str]], memory: str, parameters: Any, choice: str) -> None:
    odd = {"name": "odd", "parameters": parameters}
    history = [system(block("human", memory)), *(message(role, text) for role, text in said)]
    answer = ask(history, tools=[*TOOLS, odd], choice=choice)
    assert answer.finished in ("stop", "tool_calls")
    assert answer.text or answer.tool


@pytest.mark.parametrize("history", [[], [message("system", "<memory_blocks><human>\n<description>")]])
def test_an_empty_or_broken_history_is_answered(history: list[Message]) -> None:
    assert ask(history).text
