"""What Claude models take, by their names, and how a request is shaped for each."""

from typing import Any

import pytest

from perdure.providers.anthropic_body import BINDING, INTERLEAVED, messages_body
from perdure.providers.claude import STRANGER, manner
from perdure.providers.known_models import context_window, output_limit
from tests.providers.chat import ADD, HELLO, SAY, SYSTEM, call, message, returned
from tests.providers.claude import request, thought

BOUND = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
SHOWN = {"type": "adaptive", "display": "summarized"}


def shaped(model: str, **fields: Any) -> dict[str, Any]:
    return messages_body(request(model=model, **fields)).body


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-3-5-sonnet-20241022", None),
        ("claude-3-haiku-20240307", None),
        ("claude-3-7-sonnet-20250219", {"type": "enabled", "budget_tokens": 4096}),
        ("claude-sonnet-4-20250514", {"type": "enabled", "budget_tokens": 4096}),
        ("claude-haiku-4-5-20251001", {"type": "enabled", "budget_tokens": 4096}),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", {"type": "enabled", "budget_tokens": 4096}),
        ("claude-sonnet-4-6", {"type": "adaptive"}),
        ("claude-opus-4-7", SHOWN),
        ("claude-opus-5", SHOWN),
        ("claude-sonnet-5", SHOWN),
        ("claude-fable-5", SHOWN),
        ("claude-fable-5-1", {**SHOWN, **BOUND}),
        ("claude-opus-5-5", {**SHOWN, **BOUND}),
        ("global.anthropic.claude-sonnet-5-5", {**SHOWN, **BOUND}),
        ("claude-haiku-5-5", {**SHOWN, **BOUND}),
        ("claude-opus-6", {**SHOWN, **BOUND}),
        ("claude-next", SHOWN),
        ("MiniMax-M3", None),
    ],
)
def test_how_models_are_told_to_think(model: str, thinking: dict[str, Any] | None) -> None:
    assert shaped(model).get("thinking") == thinking


@pytest.mark.parametrize(
    ("model", "thinking", "output"),
    [
        ("claude-sonnet-4-5", None, None),
        ("claude-opus-4-8", None, None),
        ("claude-opus-5", {"type": "disabled"}, None),
        ("claude-haiku-5-5", {"type": "disabled"}, None),
        ("claude-sonnet-5-5", {"type": "between_tools"}, None),
        ("claude-opus-5-5", {**SHOWN, **BOUND}, {"effort": "low"}),
        ("claude-fable-5", SHOWN, {"effort": "low"}),
        ("claude-3-5-haiku-latest", None, None),
    ],
)
@pytest.mark.parametrize("settings", [{"reasoning": False}, {"reasoning_effort": "none"}])
def test_how_models_are_told_not_to_think(model: str, thinking: Any, output: Any, settings: dict[str, Any]) -> None:
    body = shaped(model, settings=settings)
    assert (body.get("thinking"), body.get("output_config")) == (thinking, output)


@pytest.mark.parametrize(
    ("model", "asked", "effort"),
    [
        ("claude-sonnet-4-5", "high", None),
        ("claude-opus-4-5", "max", "high"),
        ("claude-sonnet-4-6", "xhigh", "high"),
        ("claude-opus-4-6", "max", "max"),
        ("claude-opus-4-7", "xhigh", "xhigh"),
        ("claude-opus-5", "minimal", "low"),
        ("claude-opus-5", "odd", "low"),
    ],
)
def test_effort_is_the_nearest_that_the_model_takes(model: str, asked: str, effort: str | None) -> None:
    assert shaped(model, settings={"reasoning_effort": asked}).get("output_config", {}).get("effort") == effort


def test_without_thoughts_effort_is_no_more_than_high() -> None:
    body = shaped("claude-opus-5", settings={"reasoning_effort": "max"}, tools=(ADD,), tool_choice="required")
    assert (body["thinking"], body["output_config"]) == ({"type": "disabled"}, {"effort": "high"})


@pytest.mark.parametrize(
    ("settings", "budget", "limit"),
    [
        ({}, 4096, 32_000),
        ({"max_reasoning_tokens": 10_000}, 10_000, 32_000),
        ({"max_reasoning_tokens": 10}, 1024, 32_000),
        ({"reasoning_effort": "high"}, 16_384, 32_000),
        ({"reasoning_effort": "max"}, 30_000, 64_000),
        ({"max_reasoning_tokens": 9000, "max_output_tokens": 4096}, 3072, 4096),
        ({"max_output_tokens": 1_000_000}, 4096, 64_000),
    ],
)
def test_a_budget_leaves_room_to_speak(settings: dict[str, Any], budget: int, limit: int) -> None:
    body = shaped("claude-sonnet-4-5", settings=settings)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (budget, limit)


def test_an_answer_too_short_for_thoughts_has_none() -> None:
    assert "thinking" not in shaped("claude-sonnet-4-5", settings={"max_output_tokens": 1500})


@pytest.mark.parametrize(
    ("model", "settings", "temperature"),
    [
        ("claude-sonnet-4-5", {"reasoning": False}, 0.3),
        ("claude-sonnet-4-5", {}, None),
        ("claude-opus-4-6", {"reasoning": False}, 0.3),
        ("claude-opus-4-7", {"reasoning": False}, None),
        ("claude-3-5-haiku-latest", {}, 0.3),
        ("MiniMax-M3", {}, 0.3),
    ],
)
def test_temperature_where_it_is_taken(model: str, settings: dict[str, Any], temperature: float | None) -> None:
    assert shaped(model, settings={"temperature": 0.3, **settings}).get("temperature") == temperature


def test_a_temperature_beyond_the_scale_is_its_end() -> None:
    assert shaped("claude-3-5-haiku-latest", settings={"temperature": 1.7})["temperature"] == 1.0


@pytest.mark.parametrize(
    ("model", "tools", "betas"),
    [
        ("claude-3-7-sonnet-20250219", (ADD,), ()),
        ("claude-sonnet-4-5", (ADD,), (INTERLEAVED,)),
        ("claude-sonnet-4-5", (), ()),
        ("claude-opus-4-6", (ADD,), ()),
        ("claude-opus-5-5", (ADD,), (BINDING,)),
    ],
)
def test_beta_features_are_asked_for_where_needed(model: str, tools: Any, betas: tuple[str, ...]) -> None:
    assert messages_body(request(model=model, tools=tools)).betas == betas


@pytest.mark.parametrize("choice", ["required", "any", "add"])
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-8", "claude-opus-5", "claude-haiku-5-5"])
def test_a_call_can_be_had_for_a_thought(model: str, choice: str) -> None:
    body = shaped(model, tools=(ADD, SAY), tool_choice=choice)
    assert body.get("thinking") in (None, {"type": "disabled"})
    wanted = {"type": "tool", "name": "add"} if choice == "add" else {"type": "any"}
    assert body["tool_choice"] == {**wanted, "disable_parallel_tool_use": True}
    assert len(body["tools"]) == 2


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-fable-5"])
def test_where_no_call_can_be_had_the_one_tool_is_all_there_is(model: str) -> None:
    body = shaped(model, tools=(ADD, SAY), tool_choice="say")
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert [tool["name"] for tool in body["tools"]] == ["say"]
    assert body["thinking"]["type"] == "adaptive"
    assert len(shaped(model, tools=(ADD, SAY), tool_choice="required")["tools"]) == 2


@pytest.mark.parametrize(("model", "thinks"), [("claude-sonnet-4-5", False), ("claude-opus-5", True)])
def test_a_turn_begun_without_a_thought_goes_on_without(model: str, thinks: bool) -> None:
    history = (SYSTEM, HELLO, message("assistant", call("c1")), returned("c1"))
    assert ("thinking" in messages_body(request(*history, model=model, tools=(ADD,))).body) is thinks


def test_a_turn_begun_with_a_thought_goes_on_with_it() -> None:
    begun = message("assistant", thought("hm", model="claude-sonnet-4-5"), call("c1"))
    body = messages_body(request(SYSTEM, HELLO, begun, returned("c1"), model="claude-sonnet-4-5", tools=(ADD,))).body
    assert body["messages"][1]["content"][0]["type"] == "thinking"
    assert body["thinking"]["type"] == "enabled"


def test_names_tell_windows_and_limits_on_every_cloud() -> None:
    names = ("claude-opus-4-20250514", "us.anthropic.claude-opus-4-20250514-v1:0", "claude-opus-4@20250514")
    assert {context_window(name, "anthropic") for name in names} == {200_000}
    assert {output_limit(name) for name in names} == {32_000}
    assert context_window("anthropic.claude-opus-5-5", "bedrock") == 1_000_000
    assert context_window("claude-opus-4.6", "openrouter") == 1_000_000
    assert (output_limit("claude-3-5-haiku-latest"), output_limit("claude-opus-7")) == (8_192, 128_000)
    assert output_limit("gpt-4o") is None
    assert manner("gpt-4o") is STRANGER
