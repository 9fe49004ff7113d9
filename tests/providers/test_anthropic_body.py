"""What Anthropic is asked: history by turns, tools, marks for its cache, and forms of answers."""

import base64
import json
from typing import Any

import pytest

from perdure.domain.messages import (
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.providers.anthropic_body import messages_body
from perdure.providers.anthropic_history import GO_ON
from perdure.providers.anthropic_schema import held_schema
from perdure.providers.images import media_type
from tests.providers.chat import ADD, HELLO, SAY, SYSTEM, call, message, returned
from tests.providers.claude import MODEL, SEAL, asked, blacked_out, ours, request, sse, thought, whole
from tests.providers.scripted import streams

CACHED = {"type": "ephemeral"}


def body(*messages: Message, **fields: Any) -> dict[str, Any]:
    """The body as it is sent."""
    return asked(streams(*sse(*whole())), *messages, **fields)[1].json


def spoken(*messages: Message, **fields: Any) -> list[tuple[str, list[Any]]]:
    """The turns, without marks for the cache; text blocks as their text."""
    turns = body(SYSTEM, *messages, **fields)["messages"]
    for block in (block for turn in turns for block in turn["content"]):
        block.pop("cache_control", None)
    plain = [[b["text"] if b["type"] == "text" else b for b in turn["content"]] for turn in turns]
    return [(turn["role"], blocks) for turn, blocks in zip(turns, plain, strict=True)]


def test_a_plain_request() -> None:
    sent = asked(streams(*sse(*whole())), settings={"reasoning": False})[1]
    assert sent.path == "/messages"
    assert sent.json == {
        "model": MODEL,
        "stream": True,
        "max_tokens": 32_000,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": CACHED}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": CACHED}]}],
        "thinking": {"type": "disabled"},
    }
    assert "anthropic-beta" not in sent.headers


def test_beta_features_are_named_in_a_header() -> None:
    sent = asked(streams(*sse(*whole())), model="claude-opus-5-5")[1]
    assert sent.headers["anthropic-beta"] == "thinking-binding-controls-2026-08-01"


def test_turns_alternate_and_returns_come_first() -> None:
    history = (
        HELLO,
        message("assistant", "Two calls.", call("c1"), call("c2", '{"a": 1}')),
        message("user", "By the way"),
        message("tool", ToolReturnPart(call_id="c1", name="add", status="success", text="3")),
        message("tool", ToolReturnPart(call_id="c2", name="add", status="error", text="no")),
        message("summary", "So far."),
    )
    assert spoken(*history) == [
        ("user", ["Hello"]),
        ("assistant", [
            "Two calls.",
            {"type": "tool_use", "id": "c1", "name": "add", "input": {}},
            {"type": "tool_use", "id": "c2", "name": "add", "input": {"a": 1}},
        ]),
        ("user", [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "3"}]},
            {"type": "tool_result", "tool_use_id": "c2", "is_error": True, "content": [{"type": "text", "text": "no"}]},
            "By the way",
            "So far.",
        ]),
    ]  # fmt: skip


def test_calls_that_awaited_approval_belong_to_the_answer_before() -> None:
    answer, held = message("assistant", "Well.", call("c1")), message("approval", call("c2"))
    roles = [role for role, _ in spoken(HELLO, answer, held, returned("c1"), returned("c2"))]
    assert roles == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("history", "roles"),
    [
        ((message("assistant", "I begin."), HELLO), ["user", "assistant", "user"]),
        ((HELLO, message("assistant", "I end.")), ["user", "assistant", "user"]),
        ((message("assistant", "I only."),), ["user", "assistant", "user"]),
        ((HELLO, message("assistant", "  "), message("user", "Well?")), ["user"]),
        ((message("user", " \n"),), ["user"]),
    ],
)
def test_the_user_speaks_first_and_last(history: tuple[Message, ...], roles: list[str]) -> None:
    found = spoken(*history)
    assert [role for role, _ in found] == roles
    assert all(blocks for _, blocks in found)


def test_what_is_put_in_says_that_it_goes_on() -> None:
    assert spoken(message("assistant", "I only."))[0] == ("user", [GO_ON])


def test_a_later_system_message_is_marked_as_one() -> None:
    assert spoken(HELLO, message("system", "It is late.")) == [("user", ["Hello", "<system>It is late.</system>"])]


def test_several_opening_system_messages_are_blocks_of_one_prompt() -> None:
    system = body(SYSTEM, message("system", "Be brief."), HELLO)["system"]
    assert [block["text"] for block in system] == ["Be kind.", "Be brief."]
    assert [block.get("cache_control") for block in system] == [None, CACHED]


def test_thoughts_come_back_word_for_word_in_their_places() -> None:
    parts = (
        thought("First."), blacked_out(), TextPart(text="Said."), call("c1"), thought("Then.", "c2Vjb25k"),
        HiddenReasoningPart(state="omitted", extra=ours(signature="dGhpcmQ=")), call("c2"),
    )  # fmt: skip
    [_, (_, blocks), _] = spoken(HELLO, message("assistant", *parts), returned("c1"), returned("c2"))
    assert [(b if isinstance(b, str) else b["type"]) for b in blocks] == [
        "thinking", "redacted_thinking", "Said.", "tool_use", "thinking", "thinking", "tool_use",
    ]  # fmt: skip
    assert blocks[0] == {"type": "thinking", "thinking": "First.", "signature": SEAL}
    assert blocks[1] == {"type": "redacted_thinking", "data": "abc"}
    assert blocks[4]["signature"] == "c2Vjb25k"
    assert blocks[5] == {"type": "thinking", "thinking": "", "signature": "dGhpcmQ="}


def test_an_answer_that_broke_off_in_thought_ends_before_it() -> None:
    cut = message("assistant", "Well.", thought("hm"), blacked_out())
    assert spoken(HELLO, cut, HELLO)[1] == ("assistant", ["Well."])
    assert spoken(HELLO, message("assistant", thought("hm")), HELLO) == [("user", ["Hello", "Hello"])]
    held = spoken(HELLO, message("assistant", thought("hm")), message("approval", call("c1")), returned("c1"))
    assert [block["type"] for block in held[1][1]] == ["thinking", "tool_use"]


@pytest.mark.parametrize(
    "part",
    [
        ReasoningPart(text="hm", signature="from a stranger"),
        ReasoningPart(text="hm", signature="g", extra={"google_ai": {"thought_signature": "x"}}),
        thought("hm", seal=None),
        thought("hm", model="claude-sonnet-4-5"),
        HiddenReasoningPart(state="redacted", data="abc"),
        HiddenReasoningPart(state="omitted"),
    ],
)
def test_thoughts_of_others_are_left_out(part: Any) -> None:
    assert spoken(HELLO, message("assistant", part, "Yes."), HELLO)[1] == ("assistant", ["Yes."])


def test_without_thinking_no_thought_comes_back() -> None:
    history = (HELLO, message("assistant", thought("hm"), "Yes."), HELLO)
    assert spoken(*history, settings={"reasoning": False})[1] == ("assistant", ["Yes."])


def test_thoughts_the_model_was_asked_to_write_are_text() -> None:
    part = ReasoningPart(text="I should look.", native=False)
    assert spoken(HELLO, message("assistant", part, call("c1")), returned("c1"))[1][1][0] == "I should look."


def test_images_are_inlined_and_strange_ones_named() -> None:
    png, bmp = ImagePart(media_type="image/png", data="aGk="), ImagePart(media_type="image/bmp", data="aGk=")
    [(_, blocks)] = spoken(message("user", png, bmp, "See?"))
    assert blocks[0]["source"] == {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert "image/bmp" in blocks[1]
    assert blocks[2] == "See?"


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"), (b"RIFF\x10\0\0\0WAVEfmt ", "image/heic"),
    ],
)  # fmt: skip
def test_an_image_is_what_its_bytes_say(beginning: bytes, kind: str) -> None:
    """Anthropic refuses one that is called something else."""
    data = base64.b64encode(beginning + bytes(20)).decode()
    assert media_type(ImagePart(media_type="image/heic", data=data)) == kind


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "null", '{"a": NaN}', '{"a": "\\ud83d"}'])
def test_arguments_that_are_no_object_do_not_make_history_unusable(arguments: str) -> None:
    [_, (_, [block]), _] = spoken(HELLO, message("assistant", call("c1", arguments)), returned("c1"))
    assert block["input"] == {}


def test_arguments_go_back_as_they_were_written() -> None:
    written = '{"b":1.50,  "a":"\\u00e9 \U0001f600"}'
    raw = asked(streams(*sse(*whole())), HELLO, message("assistant", call("c1", written)), returned("c1"))[1].body
    assert written.encode() in raw


def test_names_and_ids_of_other_vendors_are_made_to_fit() -> None:
    odd = ToolCallPart(call_id="functions.add:0", name="my tool!", arguments="{}")
    [_, (_, [use]), (_, [result])] = spoken(HELLO, message("assistant", odd), returned("functions.add:0"))
    assert use["name"] == "my_tool_"
    assert use["id"] == result["tool_use_id"]
    assert use["id"].startswith("toolu_")


def test_images_that_a_call_returned_are_part_of_the_return() -> None:
    png = ImagePart(media_type="image/png", data="iVBORw0KGgo=")
    seen = message("tool", ToolReturnPart(call_id="c1", name="add", status="success", text="Seen.", images=(png,)))
    [_, _, (_, [result])] = spoken(HELLO, message("assistant", call("c1")), seen)
    assert [block["type"] for block in result["content"]] == ["text", "image"]
    assert result["content"][1]["source"]["data"] == png.data


def test_a_return_without_text_has_no_content() -> None:
    [_, _, (_, [result])] = spoken(HELLO, message("assistant", call("c1")), returned("c1", " "))
    assert result == {"type": "tool_result", "tool_use_id": "c1"}


def test_tools_stream_their_arguments_and_end_in_a_mark() -> None:
    bare = {"name": "bare"}
    tools = body(tools=(ADD, bare))["tools"]
    assert tools == [
        {"name": "add", "description": "Adds.", "input_schema": ADD["parameters"], "eager_input_streaming": True},
        {"name": "bare", "input_schema": {"type": "object"}, "eager_input_streaming": True, "cache_control": CACHED},
    ]


def test_calls_are_held_to_schemas_that_allow_it() -> None:
    def tool(name: str, **field: Any) -> dict[str, Any]:
        return {"name": name, "parameters": {"type": "object", "properties": {"x": field}}}

    closed = tool("closed", type="string", minLength=1)
    open_ones = [
        tool("free", type="object"), tool("named", type="object", additionalProperties={"type": "string"}),
        tool("several", type=["string", "null"]), tool("either", anyOf=[{"type": "string"}]), tool("any"),
    ]  # fmt: skip
    settings = {"strict": True}
    first, *others = body(tools=(closed, *open_ones), settings=settings)["tools"]
    x = {"type": "string", "description": "minLength: 1"}
    assert first == {
        "name": "closed", "strict": True,
        "input_schema": {"type": "object", "properties": {"x": x}, "additionalProperties": False},
    }  # fmt: skip
    assert ["strict" in each for each in others] == [False] * len(open_ones)
    many = body(tools=[{"name": f"t{n}"} for n in range(30)], settings=settings)["tools"]
    assert [each.get("strict", False) for each in many] == [True] * 20 + [False] * 10
    assert not any(
        "strict" in each for each in body(tools=(closed,), model="claude-sonnet-4-0", settings=settings)["tools"]
    )


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        ("auto", True, {"type": "auto"}),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ("required", True, {"type": "any"}),
        ("say", True, {"type": "tool", "name": "say"}),
    ],
)
def test_how_freely_tools_are_used(choice: str, parallel: bool, sent: dict[str, Any]) -> None:
    settings = {"parallel_tool_calls": parallel}
    assert body(tools=(ADD, SAY), tool_choice=choice, settings=settings)["tool_choice"] == sent


def test_calls_in_history_are_of_tools_that_are_shown() -> None:
    sent = body(HELLO, message("assistant", call("c1")), returned("c1"))
    assert [tool["name"] for tool in sent["tools"]] == ["add"]
    assert sent["tool_choice"] == {"type": "none"}


def test_at_most_four_marks_on_what_stays_the_same() -> None:
    history = [
        SYSTEM, HELLO, message("assistant", thought("hm"), call("c1")), returned("c1"), message("assistant", "Three."),
        message("user", "And?"),
    ]  # fmt: skip
    sent = body(*history, tools=(ADD, SAY))
    marked = [turn["content"][-1].get("cache_control") for turn in sent["messages"]]
    assert marked == [None, None, CACHED, None, CACHED]
    assert json.dumps(sent).count("cache_control") == 4


def test_an_answer_can_be_held_to_a_schema() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"all": {"type": "array", "items": inner}}}
    answer = {"type": "json_schema", "json_schema": {"name": "found", "schema": schema}}
    sent = messages_body(request(settings={"response_format": answer})).body["output_config"]["format"]
    assert sent["type"] == "json_schema"
    assert sent["schema"]["additionalProperties"] is False
    assert sent["schema"]["properties"]["all"]["items"] == {**inner, "additionalProperties": False}


def test_what_an_answer_cannot_be_held_to_is_told() -> None:
    field = {"type": "string", "format": "color", "minLength": 2, "description": "A name."}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": True,
        "properties": {
            "name": field, "when": {"type": "string", "format": "date"}, "r": {"$ref": "#/$defs/R", "title": "It"},
            "n": {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        },
        "$defs": {"R": {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 9}},
        "required": ["name"],
    }  # fmt: skip
    assert held_schema(schema) == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": 'A name.\n\nformat: "color"; minLength: 2'},
            "when": {"type": "string", "format": "date"},
            "r": {"$ref": "#/$defs/R"},
            "n": {"anyOf": [{"type": "integer", "description": "minimum: 1"}, {"type": "null"}]},
        },
        "$defs": {
            "R": {
                "type": "array", "items": {"type": "object", "additionalProperties": False}, "minItems": 1,
                "description": "maxItems: 9",
            }
        },
        "required": ["name"],
        "additionalProperties": False,
    }  # fmt: skip
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"type": "array", "items": deep}
    assert held_schema(deep)["type"] == "array"
    assert held_schema(["no schema"]) == {}


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (MODEL, {"type": "text"}),
        (MODEL, {"type": "json_object"}),
        ("claude-sonnet-4-20250514", {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}),
    ],
)
def test_other_forms_of_answers_are_not_asked_for(model: str, answer: dict[str, Any]) -> None:
    assert "output_config" not in body(model=model, settings={"response_format": answer})
