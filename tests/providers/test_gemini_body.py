from typing import Any

import pytest

from perdure.domain.messages import ApprovalPart, ImagePart, Message, ReasoningPart, TextPart, ToolReturnPart
from perdure.domain.models import ModelSettings
from perdure.providers.gemini_body import GO_ON, OPENING, UNSEALED
from tests.providers.chat import ADD, HELLO, SAY, SYSTEM, call, message, returned
from tests.providers.gemini import body, contents, signed

SHOWN = {"includeThoughts": True}
USER = {"role": "user", "parts": [{"text": "Hello"}]}
TYPED = {"name": "find", "description": "Finds.", "parameters": {"type": "object", "properties": {"q": {}}}}


def parts_of(*messages: Message, **options: Any) -> list[dict[str, Any]]:
    """The parts of what the model said, in a history that has it said one thing."""
    [said] = [content["parts"] for content in contents(*messages, **options) if content["role"] == "model"]
    return said


def config(**options: Any) -> dict[str, Any]:
    return body(**options).get("generationConfig", {})


def test_the_plainest_request() -> None:
    assert body(model="gemini-2.0-flash") == {
        "contents": [USER],
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
    }


def test_history_becomes_contents_with_alternating_roles() -> None:
    history = (
        SYSTEM,
        message("summary", "Before: greetings."),
        message("user", "Look", ImagePart(media_type="image/png", data="QUJD", detail="low")),
        message("assistant", ReasoningPart(text="hm"), "Adding.", call("c1", '{"a": 1}'), call("c2")),
        returned("c1", "3"),
        message("tool", ToolReturnPart(call_id="c2", name="add", status="error", text="no")),
        message("user", "And?"),
        message("assistant", ReasoningPart(text="only thought")),
        message("assistant", "Seven."),
        message("system", "An alert."),
    )
    assert contents(*history, model="gemini-2.5-flash") == [
        {
            "role": "user",
            "parts": [
                {"text": "Before: greetings."},
                {"text": "Look"},
                {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "Adding."},
                {"functionCall": {"name": "add", "args": {"a": 1}}},
                {"functionCall": {"name": "add", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "add", "response": {"output": "3"}}},
                {"functionResponse": {"name": "add", "response": {"error": "no"}}},
                {"text": "And?"},
            ],
        },
        {"role": "model", "parts": [{"text": "Seven."}]},
        {"role": "user", "parts": [{"text": "An alert."}]},
    ]


def test_a_history_that_begins_or_ends_with_the_model_gets_a_user() -> None:
    assert [each["parts"][0]["text"] for each in contents(SYSTEM, message("assistant", "Hi."))] == [
        OPENING, "Hi.", GO_ON
    ]  # fmt: skip
    assert contents(SYSTEM) == [{"role": "user", "parts": [{"text": OPENING}]}]
    assert contents(HELLO) == [USER]


def test_signatures_go_back_on_the_very_pieces_they_came_with() -> None:
    history = (
        SYSTEM,
        HELLO,
        message(
            "assistant",
            ReasoningPart(text="Hm...", extra={"google_ai": {"seals": [[0, 2, "s1"]]}}),
            TextPart(text="abcd", extra={"google_ai": {"seals": [[1, 3, "s2"], [4, 4, "s4"]]}}),
            signed(call("fc-1"), "s3", id="fc-1"),
        ),
        returned("fc-1"),
    )
    said, answered = contents(*history)[1:]
    assert said["parts"] == [
        {"text": "Hm", "thought": True, "thoughtSignature": "s1"},
        {"text": "a"},
        {"text": "bc", "thoughtSignature": "s2"},
        {"text": "d"},
        {"text": "", "thoughtSignature": "s4"},
        {"functionCall": {"name": "add", "args": {}, "id": "fc-1"}, "thoughtSignature": "s3"},
    ]
    assert answered["parts"] == [
        {"functionResponse": {"name": "add", "response": {"output": "3"}, "id": "fc-1"}}
    ]  # fmt: skip


@pytest.mark.parametrize("seals", [[[3, 9, "s"]], [[2, 1, "s"]], [[-1, 1, "s"]], "none"])
def test_seals_that_do_not_fit_their_text_are_left_out(seals: Any) -> None:
    said = parts_of(SYSTEM, HELLO, message("assistant", TextPart(text="abcd", extra={"google_ai": {"seals": seals}})))
    assert said == [{"text": "abcd"}]


def test_what_other_vendors_sealed_is_never_sent() -> None:
    said = message(
        "assistant",
        ReasoningPart(text="secret", signature="anthropic's"),
        ReasoningPart(text="other google", extra={"google_vertex": {"seals": [[0, 12, "v"]]}}),
        TextPart(text="Yes.", extra={"openai_responses": {"seals": [[0, 4, "r"]]}}),
        signed(call("toolu_1"), "v", "google_vertex", id="toolu_1"),
    )
    assert parts_of(SYSTEM, HELLO, said, returned("toolu_1")) == [
        {"text": "Yes."},
        {"functionCall": {"name": "add", "args": {}}, "thoughtSignature": UNSEALED},
    ]


@pytest.mark.parametrize(
    ("model", "seal"),
    [
        ("gemini-3-pro-preview", UNSEALED),
        ("gemini-4-argon", UNSEALED),
        ("gemini-flash-latest", UNSEALED),
        ("gemini-2.5-pro", None),
        ("gemma-4-31b-it", None),
    ],
)
def test_models_that_want_a_signature_on_every_step_get_one(model: str, seal: str | None) -> None:
    history = (SYSTEM, HELLO, message("assistant", call("c1"), call("c2")), returned("c1"), returned("c2"))
    assert [part.get("thoughtSignature") for part in parts_of(*history, model=model)] == [seal, None]


def test_a_signed_call_that_awaited_approval_stands_first_again() -> None:
    history = (
        SYSTEM,
        HELLO,
        message("assistant", "Both.", call("c2")),
        message("approval", signed(call("c1"), "s1")),
        message("approval", ApprovalPart(call_id="c1", approve=True)),
        message("tool", *returned("c1", "one").parts, *returned("c2", "two").parts),
    )
    _, said, answered = [content["parts"] for content in contents(*history)]
    assert [part.get("thoughtSignature") for part in said] == [None, "s1", None]
    assert said[0] == {"text": "Both."}
    assert [part["functionResponse"]["response"]["output"] for part in answered] == ["one", "two"]


def test_returns_stand_in_the_order_of_their_calls() -> None:
    """Models before ids tell the answers to calls of one tool apart by nothing else."""
    said = message("assistant", call("c1"), call("c2"))
    history = (SYSTEM, HELLO, said, returned("c2", "two"), returned("c1", "one"))
    answers = contents(*history, model="gemini-2.5-flash")[-1]["parts"]
    assert [each["functionResponse"]["response"]["output"] for each in answers] == ["one", "two"]


@pytest.mark.parametrize("model", ["gemini-3.8-flash", "gemini-2.5-pro"])
def test_images_that_a_call_returned_are_shown_where_they_are_taken(model: str) -> None:
    png = ImagePart(media_type="image/png", data="iVBORw0KGgo=")
    seen = message("tool", ToolReturnPart(call_id="c1", name="add", status="success", text="Seen.", images=(png,)))
    parts = contents(SYSTEM, HELLO, message("assistant", call("c1")), seen, model=model)[-1]["parts"]
    image = {"inlineData": {"mimeType": "image/png", "data": png.data}}
    answer = {"name": "add", "response": {"output": "Seen."}}
    within = [{"functionResponse": {**answer, "parts": [image]}}]
    assert parts == (within if "3.8" in model else [{"functionResponse": answer}, image])


@pytest.mark.parametrize("arguments", ["", "null", "[1]", '{"a":', '{"a":"\\ud83d"}', "[" * 5000])
def test_arguments_that_are_no_object_are_sent_empty(arguments: str) -> None:
    said = parts_of(SYSTEM, HELLO, message("assistant", call("c1", arguments)), returned("c1"))
    assert said[0]["functionCall"]["args"] == {}


@pytest.mark.parametrize(
    ("name", "sent"), [("no such tool!", "no_such_tool_"), ("1st", "_1st"), ("x" * 200, "x" * 127), ("", "_")]
)
def test_an_invented_tool_name_does_not_spoil_the_history(name: str, sent: str) -> None:
    said = parts_of(SYSTEM, HELLO, message("assistant", call("c1", name=name)), returned("c1"))
    assert said[0]["functionCall"]["name"] == sent


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        ("any", {"mode": "ANY"}),
        ("none", {"mode": "NONE"}),
        ("say", {"mode": "ANY", "allowedFunctionNames": ["say"]}),
    ],
)
def test_tools_and_how_freely_to_use_them(choice: str, calling: dict[str, Any]) -> None:
    made = body(tools=(ADD, SAY, TYPED), tool_choice=choice)
    assert made["toolConfig"] == {"functionCallingConfig": calling}
    assert made["tools"] == [
        {
            "functionDeclarations": [
                {"name": "add", "description": "Adds."},
                {"name": "say", "description": "Says."},
                {
                    "name": "find",
                    "description": "Finds.",
                    "parametersJsonSchema": {"type": "object", "properties": {"q": {}}},
                },
            ]
        }
    ]


def test_no_tools_no_fields_about_them() -> None:
    assert not {"tools", "toolConfig"} & body().keys()


@pytest.mark.parametrize(
    ("model", "settings", "thinking"),
    [
        ("gemini-2.0-flash", ModelSettings(), None),
        ("gemma-3-27b-it", ModelSettings(), None),
        ("gemini-2.5-flash", ModelSettings(), {**SHOWN, "thinkingBudget": -1}),
        ("gemini-2.5-flash", ModelSettings(max_reasoning_tokens=99), {**SHOWN, "thinkingBudget": 99}),
        ("gemini-2.5-pro", ModelSettings(reasoning_effort="low"), {**SHOWN, "thinkingBudget": 1024}),
        ("gemini-2.5-pro", ModelSettings(reasoning_effort="xhigh"), {**SHOWN, "thinkingBudget": 24576}),
        ("gemini-2.5-flash", ModelSettings(reasoning=False), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", ModelSettings(reasoning=False), {"thinkingBudget": 128}),
        ("gemini-3.8-flash", ModelSettings(), SHOWN),
        ("gemini-3.8-flash", ModelSettings(reasoning=False), {"thinkingLevel": "LOW"}),
        ("gemini-3.5-flash-lite", ModelSettings(reasoning_effort="none"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-4-argon", ModelSettings(reasoning_effort="medium"), {**SHOWN, "thinkingLevel": "MEDIUM"}),
        ("gemini-4-argon", ModelSettings(reasoning_effort="max"), {**SHOWN, "thinkingLevel": "HIGH"}),
        ("gemini-4-argon", ModelSettings(max_reasoning_tokens=900), {**SHOWN, "thinkingLevel": "LOW"}),
        ("gemini-pro-latest", ModelSettings(max_reasoning_tokens=30_000), {**SHOWN, "thinkingLevel": "HIGH"}),
    ],
)
def test_how_much_to_think(model: str, settings: ModelSettings, thinking: dict[str, Any] | None) -> None:
    assert config(model=model, settings=settings).get("thinkingConfig") == thinking


def test_settings() -> None:
    settings = ModelSettings(temperature=0.3, max_output_tokens=50, frequency_penalty=0.1, verbosity="low")
    made = config(model="gemini-2.0-flash", settings=settings)
    assert made == {"temperature": 0.3, "maxOutputTokens": 50}


@pytest.mark.parametrize(
    ("model", "tools", "sent"),
    [("gemini-2.5-flash", (), True), ("gemini-2.5-flash", (ADD,), False), ("gemini-3.8-flash", (ADD,), True)],
)
def test_a_response_format_goes_where_it_is_taken(model: str, tools: tuple[Any, ...], sent: bool) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "a+"}}, "strict": True}
    asked = ModelSettings(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
    made = config(model=model, settings=asked, tools=tools)
    cleaned = {"type": "object", "properties": {"x": {"type": "string"}}}
    assert made.get("responseJsonSchema") == (cleaned if sent else None)
    assert made.get("responseMimeType") == ("application/json" if sent else None)


def test_a_response_format_without_a_schema() -> None:
    assert "responseMimeType" not in config(settings=ModelSettings(response_format={"type": "text"}))
    made = config(settings=ModelSettings(response_format={"type": "json_object"}))
    assert (made["responseMimeType"], "responseJsonSchema" in made) == ("application/json", False)
