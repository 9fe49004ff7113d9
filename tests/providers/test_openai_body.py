import json
import re

import msgspec
import pytest

from perdure.domain.messages import (
    ApprovalPart,
    ImagePart,
    ReasoningPart,
)
from perdure.domain.models import ModelSettings
from perdure.providers.base import ToolCallDelta
from perdure.providers.openai_body import UNANSWERED, chat_messages
from tests.providers.chat import (
    ADD,
    HELLO,
    KINDS,
    SAY,
    SYSTEM,
    body,
    call,
    chunk,
    deltas,
    fragment,
    message,
    returned,
)


def test_the_plainest_request() -> None:
    assert body() == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_history_becomes_chat_messages() -> None:
    history = (
        SYSTEM,
        message("summary", "Before: greetings."),
        message("user", "Look", ImagePart(media_type="image/png", data="QUJD", detail="low")),
        message("assistant", ReasoningPart(text="hm"), "Adding.", call("c1", '{"a": 1}'), call("c2")),
        returned("c1", "3"),
        returned("c2", "4"),
        message("assistant", ReasoningPart(text="only thought")),
        message("assistant", "Seven."),
    )
    assert body(*history)["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Before: greetings."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Adding.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "add", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "tool", "tool_call_id": "c2", "content": "4"},
        {"role": "assistant", "content": "Seven."},
    ]


def test_calls_that_awaited_approval_belong_to_the_answer_before_them() -> None:
    history = (
        SYSTEM,
        HELLO,
        message("assistant", "Both.", call("c1")),
        message("approval", call("c2", name="say")),
        message("approval", ApprovalPart(call_id="c2", approve=True)),
        message("tool", *returned("c1").parts, *returned("c2").parts),
    )
    sent = body(*history)["messages"][2:]
    assert [each["role"] for each in sent] == ["assistant", "tool", "tool"]
    assert [each["id"] for each in sent[0]["tool_calls"]] == ["c1", "c2"]
    assert sent[0]["content"] == "Both."


def test_an_approval_alone_is_an_answer_of_its_own() -> None:
    sent = body(SYSTEM, HELLO, message("approval", "May I?", call("c1")), returned("c1"))["messages"]
    assert [each["role"] for each in sent] == ["system", "user", "assistant", "tool"]
    assert sent[2]["content"] == "May I?"


@pytest.mark.parametrize("arguments", ["", "null", "[1]", '{"a":', '{"a":1}{"b":2}', "[" * 5000])
def test_arguments_that_are_no_object_are_sent_empty(arguments: str) -> None:
    sent = body(SYSTEM, HELLO, message("assistant", call("c1", arguments)), returned("c1"))["messages"]
    assert sent[2]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_an_invented_tool_name_or_a_strangers_id_does_not_spoil_the_history() -> None:
    long_id = "chatcmpl-tool-" + "f" * 32
    history = (SYSTEM, HELLO, message("assistant", call(long_id, name="no such: tool!")), returned(long_id))
    sent = body(*history)["messages"]
    assert sent[2]["tool_calls"][0]["function"]["name"] == "no_such__tool_"
    assert sent[2]["tool_calls"][0]["id"] == sent[3]["tool_call_id"]
    assert len(sent[3]["tool_call_id"]) <= 40
    assert body(*history, kind=KINDS["vllm"])["messages"][3]["tool_call_id"] == long_id


@pytest.mark.parametrize(
    ("provider", "choice", "sent", "tools"),
    [
        ("openai", "auto", "auto", ["add", "say"]),
        ("openai", "required", "required", ["add", "say"]),
        ("openai", "any", "required", ["add", "say"]),
        ("openai", "none", "none", ["add", "say"]),
        ("openai", "say", {"type": "function", "function": {"name": "say"}}, ["add", "say"]),
        ("groq", "say", "required", ["say"]),
        ("groq", "required", "required", ["add", "say"]),
        ("together", "say", "auto", ["say"]),
        ("together", "required", "auto", ["add", "say"]),
    ],
)
def test_tools_and_how_freely_to_use_them(provider: str, choice: str, sent: object, tools: list[str]) -> None:
    made = body(kind=KINDS[provider], tools=(ADD, SAY), tool_choice=choice)
    assert made["tool_choice"] == sent
    assert [tool["function"]["name"] for tool in made["tools"]] == tools
    assert made["tools"][-1] == {"type": "function", "function": SAY}


def test_no_tools_no_fields_about_them() -> None:
    settings = ModelSettings(parallel_tool_calls=True)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body(settings=settings).keys()
    assert "tools" not in body(kind=KINDS["together"], tools=(ADD,), tool_choice="none")


def test_parallel_tool_calls_go_only_where_they_are_known() -> None:
    settings = ModelSettings(parallel_tool_calls=True)
    assert body(tools=(ADD,), settings=settings)["parallel_tool_calls"] is True
    assert body(tools=(ADD,))["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in body(kind=KINDS["ollama"], tools=(ADD,), settings=settings)
    assert "parallel_tool_calls" not in body(model="o3", tools=(ADD,), settings=settings)


def test_settings_of_ordinary_and_of_reasoning_models() -> None:
    settings = ModelSettings(
        temperature=0.3, max_output_tokens=50, frequency_penalty=0.1, reasoning_effort="high", verbosity="low"
    )
    ordinary, reasoning = body(settings=settings), body(model="gpt-5-mini", settings=settings)
    names = {"temperature", "max_tokens", "max_completion_tokens", "frequency_penalty", "reasoning_effort", "verbosity"}
    assert {k: v for k, v in ordinary.items() if k in names} == {
        "temperature": 0.3,
        "max_tokens": 50,
        "frequency_penalty": 0.1,
    }
    assert {k: v for k, v in reasoning.items() if k in names} == {
        "max_completion_tokens": 50,
        "reasoning_effort": "high",
        "verbosity": "low",
    }
    assert reasoning["messages"][0]["role"] == "developer"


@pytest.mark.parametrize(
    ("model", "effort"), [("o3", "low"), ("gpt-5", "minimal"), ("gpt-5.1", "none"), ("gpt-5-chat-latest", None)]
)
def test_reasoning_switched_off_is_the_least_a_model_allows(model: str, effort: str | None) -> None:
    assert body(model=model, settings=ModelSettings(reasoning=False)).get("reasoning_effort") == effort


def test_quirks_of_other_providers() -> None:
    settings = ModelSettings(temperature=0.5, frequency_penalty=0.2, reasoning_effort="low")
    assert body(kind=KINDS["openrouter"], settings=settings)["reasoning"] == {"effort": "low"}
    assert "frequency_penalty" not in body(kind=KINDS["xai"], settings=settings)
    assert body(kind=KINDS["vllm"], settings=settings)["reasoning_effort"] == "low"
    deepseek = body(kind=KINDS["deepseek"], model="deepseek-reasoner", settings=settings)
    assert not {"temperature", "frequency_penalty", "reasoning_effort"} & deepseek.keys()


def test_response_format_is_passed_on_unless_it_says_nothing() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    assert body(settings=ModelSettings(response_format=schema))["response_format"] == schema
    assert "response_format" not in body(settings=ModelSettings(response_format={"type": "text"}))


THOUGHTFUL = (
    SYSTEM,
    HELLO,
    message("assistant", ReasoningPart(text="old"), "Wait.", call("c1")),
    returned("c1"),
    message("user", "Again"),
    message("assistant", ReasoningPart(text="new"), call("c2")),
    returned("c2"),
    message("assistant", call("c3")),
    returned("c3"),
    message("assistant", "Done."),
    HELLO,
)


@pytest.mark.parametrize("provider", ["deepseek", "moonshot"])
def test_some_want_all_reasoning_back_that_led_to_calls(provider: str) -> None:
    sent = body(*THOUGHTFUL, kind=KINDS[provider])["messages"]
    assert [m.get("reasoning_content") for m in sent if m["role"] == "assistant"] == ["old", "new", "", None]
    assert "reasoning" not in json.dumps(body(*THOUGHTFUL))


def test_minimax_gets_its_thoughts_back_as_it_wrote_them() -> None:
    sent = body(*THOUGHTFUL, kind=KINDS["minimax"])["messages"]
    first, second, third, last = [m["content"] for m in sent if m["role"] == "assistant"]
    assert (first, second) == ("<think>\nold\n</think>\n\nWait.", "<think>\nnew\n</think>\n\n")
    assert (third, last) == (None, "Done.")


def test_mistral_is_strict() -> None:
    history = (SYSTEM, HELLO, message("assistant", call("call_1"), call("abcDEF123")), returned("call_1"),
               returned("abcDEF123"), HELLO)  # fmt: skip
    sent = body(*history, kind=KINDS["mistral"], settings=ModelSettings(max_output_tokens=9))
    assert sent.keys() == {"model", "messages", "stream", "max_tokens"}
    made, first, second, between, _ = sent["messages"][2:]
    ids = [each["id"] for each in made["tool_calls"]]
    assert (ids[1], ids) == ("abcDEF123", [first["tool_call_id"], second["tool_call_id"]])
    assert re.fullmatch("[a-zA-Z0-9]{9}", ids[0])
    assert between == {"role": "assistant", "content": UNANSWERED}


def test_pieces_of_reasoning_go_back_to_the_model_behind_openrouter_that_gave_them() -> None:
    def delta(*details: object) -> dict[str, object]:
        return chunk({"reasoning": "a", "reasoning_details": [*details]})

    asking = {"kind": KINDS["openrouter"], "model": "google/gemini-3"}
    text = {"type": "reasoning.text", "index": 0, "format": "google"}
    sealed = {"type": "reasoning.encrypted", "index": 0, "id": "c1", "data": "s\udc00"}
    got = deltas(
        delta({**text, "text": "a"}), delta({**text, "text": "b", "signature": None}),
        delta("x", {**sealed, "id": None}),
        delta({**sealed, "data": "!"}), chunk({"tool_calls": [fragment("{}", index=0, id="c1", name="add")]}),
        chunk(finish_reason="tool_calls"), **asking,
    )  # fmt: skip
    extra = next(each.extra for each in got if isinstance(each, ToolCallDelta) and each.extra)
    details = extra["openrouter"]["reasoning_details"]
    assert details == [{**text, "text": "ab"}, {**sealed, "data": "s\ufffd!"}]
    history = (SYSTEM, HELLO, message("assistant", msgspec.structs.replace(call("c1"), extra=extra)), returned("c1"))
    assert body(*history, **asking)["messages"][2]["reasoning_details"] == details
    for others in ({**asking, "model": "google/gemini-2"}, {"kind": KINDS["vllm"], "model": "google/gemini-3"}):
        assert "reasoning_details" not in json.dumps(body(*history, **others))


def test_what_the_user_said_in_a_row_is_one_message_where_a_template_may_refuse_two() -> None:
    image = ImagePart(media_type="image/png", data="aGk=")
    history = [
        SYSTEM,
        message("summary", "They met."),
        HELLO,
        message("assistant", "Hi."),
        HELLO,
        message("user", image),
    ]
    [_, first, _, second] = chat_messages(history, KINDS["llamacpp"].quirks, "system")
    assert first == {"role": "user", "content": "They met.\n\nHello"}
    assert [part["type"] for part in second["content"]] == ["text", "image_url"]
    assert len(chat_messages(history, KINDS["openai"].quirks, "system")) == len(history)
