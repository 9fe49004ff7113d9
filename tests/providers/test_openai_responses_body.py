import json
from typing import Any

import msgspec
import pytest

from perdure.domain.messages import ApprovalPart, HiddenReasoningPart, ImagePart, ReasoningPart, TextPart
from perdure.domain.models import ModelSettings
from tests.providers.chat import ADD, HELLO, KINDS, SAY, SYSTEM, call, message, returned
from tests.providers.responses import SEAL, body

OWN = "openai_responses"
RESPONSES_ONLY = msgspec.structs.replace(KINDS["openai"], dialect="openai_responses", reasoning_dialect=None)
ITEM = {"id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}


def sealed(model: str = "openai/gpt-5", **item: Any) -> ReasoningPart:
    return ReasoningPart(text="Hm.", signature=SEAL, extra={OWN: {"model": model, "item": {**ITEM, **item}}})


def kinds(sent: dict[str, Any]) -> list[str]:
    return [item.get("type") or item["role"] for item in sent["input"]]


def test_the_plainest_requests() -> None:
    plain = {
        "input": [{"role": "user", "content": "Hello"}], "instructions": "Be kind.", "prompt_cache_key": "message-1",
        "stream": True, "store": False,
    }  # fmt: skip
    responses = {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}}
    assert body() == {"model": "gpt-5", **plain, **responses}
    assert body(kind=RESPONSES_ONLY, model="gpt-4o") == {"model": "gpt-4o", **plain}


def test_history_becomes_input_items() -> None:
    history = (
        SYSTEM,
        message("summary", "Before: greetings."),
        message("user", "Look", ImagePart(media_type="image/png", data="QUJD", detail="low")),
        message("assistant", sealed(), "Adding.", call("c1", '{"a": 1}'), call("c2", "[1]")),
        returned("c1", "3"),
        returned("c2", "4"),
        message("system", "An aside."),
        message("assistant", TextPart(text="Seven.", extra={OWN: {"model": "openai/gpt-5", "phase": "final_answer"}})),
    )
    assert body(*history)["input"] == [
        {"role": "user", "content": "Before: greetings."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
            ],
        },
        {"type": "reasoning", **ITEM, "encrypted_content": SEAL},
        {"type": "message", "role": "assistant", "content": "Adding."},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {"type": "function_call_output", "call_id": "c2", "output": "4"},
        {"role": "developer", "content": "An aside."},
        {"type": "message", "role": "assistant", "content": "Seven.", "phase": "final_answer"},
    ]


def test_hidden_reasoning_comes_back_as_it_was() -> None:
    item = {"id": "rs_1", "summary": [], "encrypted_content": SEAL}
    hidden = HiddenReasoningPart(state="omitted", extra={OWN: {"model": "openai/gpt-5", "item": item}})
    assert body(SYSTEM, HELLO, message("assistant", hidden, "Hi."), HELLO)["input"][1] == {"type": "reasoning", **item}


@pytest.mark.parametrize(
    "foreign",
    [
        ReasoningPart(text="Hm."),
        ReasoningPart(text="Hm.", signature="ErUB", extra={"anthropic": {"model": "claude"}}),
        HiddenReasoningPart(state="redacted", data="blob"),
        HiddenReasoningPart(state="omitted"),
        sealed("azure/gpt-5"),
        sealed("openai-two/gpt-5"),
    ],
    ids=str,
)
def test_the_reasoning_of_others_is_left_out(foreign: Any) -> None:
    said = TextPart(text="Hi.", extra={"google_ai": {"thought_signature": "x"}})
    sent = body(SYSTEM, HELLO, message("assistant", foreign, said), HELLO)
    assert kinds(sent) == ["user", "message", "user"]
    assert "Hm." not in json.dumps(sent)
    assert SEAL not in json.dumps(sent)


@pytest.mark.parametrize(("model", "kept"), [("gpt-5", True), ("gpt-6-astra", True), ("o3", True), ("gpt-4o", False)])
def test_reasoning_goes_back_to_any_reasoning_model_of_its_provider(model: str, kept: bool) -> None:
    sent = body(SYSTEM, HELLO, message("assistant", sealed(), "Hi."), HELLO, model=model, kind=RESPONSES_ONLY)
    assert ("reasoning" in kinds(sent)) is kept
    same = body(
        SYSTEM, HELLO, message("assistant", sealed(f"openai/{model}"), "Hi."), HELLO, model=model, kind=RESPONSES_ONLY
    )
    assert "reasoning" in kinds(same)


def test_reasoning_that_led_to_nothing_is_left_out() -> None:
    broken = message("assistant", sealed(), "Hi.", sealed(), sealed())
    assert kinds(body(SYSTEM, HELLO, broken, HELLO)) == ["user", "reasoning", "message", "user"]
    asked_first = (message("assistant", sealed()), message("approval", call("c1")))
    answered = (message("approval", ApprovalPart(call_id="c1", approve=True)), returned("c1"))
    sent = body(SYSTEM, HELLO, *asked_first, *answered)
    assert kinds(sent) == ["user", "reasoning", "function_call", "function_call_output"]


def test_thoughts_that_were_written_down_are_what_was_said() -> None:
    sent = body(SYSTEM, HELLO, message("assistant", ReasoningPart(text="I think.", native=False)), HELLO)
    assert sent["input"][1]["content"] == "I think."


def test_an_invented_tool_name_or_a_strangers_id_does_not_spoil_the_history() -> None:
    long_id = "toolu_" + "f" * 60
    made, answered = body(
        SYSTEM, HELLO, message("assistant", call(long_id, name="no such: tool!")), returned(long_id)
    )["input"][1:]  # fmt: skip
    assert made["name"] == "no_such__tool_"
    assert made["call_id"] == answered["call_id"]
    assert len(made["call_id"]) <= 40


@pytest.mark.parametrize(
    ("choice", "sent"),
    [("auto", "auto"), ("any", "required"), ("none", "none"), ("say", {"type": "function", "name": "say"})],
)
def test_tools_and_how_freely_to_use_them(choice: str, sent: object) -> None:
    made = body(tools=(ADD, SAY), tool_choice=choice, settings=ModelSettings(parallel_tool_calls=True))
    assert made["tool_choice"] == sent
    assert made["tools"] == [{"type": "function", **ADD, "strict": False}, {"type": "function", **SAY, "strict": False}]
    assert made["parallel_tool_calls"] is True
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body(tool_choice=choice).keys()


NESTED = {"type": "object", "properties": {"y": {"type": "number"}}, "required": ["y"]}


@pytest.mark.parametrize(
    ("properties", "required", "closed"),
    [
        ({}, [], 1),
        ({"x": {"type": "string"}, "n": NESTED, "l": {"type": "array", "items": NESTED}}, ["x", "n", "l"], 3),
        ({"x": {"type": "string"}}, [], 0),
        ({"x": {"type": "object"}}, ["x"], 0),
        ({"x": {"anyOf": [{"type": "string"}]}}, ["x"], 0),
        ({"x": {"type": "array", "items": {"type": "object"}}}, ["x"], 0),
        ({"x": {**NESTED, "additionalProperties": {"type": "string"}}}, ["x"], 0),
    ],
)
def test_strictness_is_asked_for_where_a_tool_allows_it(
    properties: dict[str, Any], required: list[str], closed: int
) -> None:
    """`closed` is how many objects have to say that they take nothing else."""
    parameters = {"type": "object", "properties": properties, "required": required}
    tool = {"name": "t", "description": "T.", "parameters": parameters}
    made = body(tools=(tool,), settings=ModelSettings(strict=True))["tools"][0]
    assert made["strict"] is bool(closed)
    assert json.dumps(made).count('"additionalProperties": false') == closed
    assert body(tools=(tool,))["tools"][0] == {"type": "function", **tool, "strict": False}


def test_settings_of_reasoning_and_of_ordinary_models() -> None:
    settings = ModelSettings(
        temperature=0.3, max_output_tokens=5, frequency_penalty=0.1, reasoning_effort="high", verbosity="low"
    )
    names = {"temperature", "max_output_tokens", "frequency_penalty", "reasoning", "text"}
    reasoning, ordinary = body(settings=settings), body(settings=settings, kind=RESPONSES_ONLY, model="gpt-4o")
    assert {k: v for k, v in reasoning.items() if k in names} == {
        "max_output_tokens": 16, "reasoning": {"effort": "high", "summary": "auto"}, "text": {"verbosity": "low"}
    }  # fmt: skip
    assert {k: v for k, v in ordinary.items() if k in names} == {"max_output_tokens": 16, "temperature": 0.3}
    assert "include" not in ordinary


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("o3", "low"), ("gpt-5", "minimal"), ("gpt-5-mini-2025-08-07", "minimal"), ("gpt-5.1", "none"),
        ("gpt-5.6-sol", "none"), ("gpt-5.1-codex", "low"), ("gpt-6-astra", "low"), ("gpt-6.1-sol", "none"),
        ("gpt-5-pro", None),
    ],
)  # fmt: skip
def test_reasoning_switched_off_is_the_least_a_model_allows(model: str, effort: str | None) -> None:
    asked = {"effort": effort} if effort else None
    assert body(model=model, settings=ModelSettings(reasoning=False)).get("reasoning") == asked


def test_response_formats() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    assert body(settings=ModelSettings(response_format=schema))["text"]["format"] == {
        "type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True
    }  # fmt: skip
    assert body(settings=ModelSettings(response_format={"type": "json_object"}))["text"] == {
        "format": {"type": "json_object"}
    }
    assert "text" not in body(settings=ModelSettings(response_format={"type": "text"}))
