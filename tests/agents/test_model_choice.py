"""Which model an agent gets, and how settings are laid over each other."""

from typing import Any

import pytest

from tests.agents.studio import Studio

OLD = {
    "model": "claude",
    "model_endpoint_type": "anthropic",
    "model_endpoint": "http://evil.example",
    "context_window": 9_000,
}


@pytest.mark.parametrize(
    ("body", "handle", "window"),
    [
        ({}, "openai/gpt-4o", 128_000),
        ({"model": "ollama/small"}, "ollama/small", 8_000),
        ({"model": "ollama/small", "context_window_limit": 300_000}, "ollama/small", 300_000),
        ({"llm_config": OLD}, "anthropic/claude", 9_000),
        ({"llm_config": {**OLD, "handle": "ollama/small"}, "model": "openai/gpt-4o"}, "ollama/small", 9_000),
        ({"llm_config": {**OLD, "provider_name": "openai", "model": "gpt-4o"}}, "openai/gpt-4o", 9_000),
    ],
)
def test_model_and_window(studio: Studio, body: dict[str, Any], handle: str, window: int) -> None:
    agent = studio.make(**body).agent
    assert (agent.model.handle, agent.context_window) == (handle, window)
    assert agent.model.endpoint is None


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        ({}, {"parallel_tool_calls": False, "reasoning": True}),
        ({"model_settings": {"temperature": 0.2}}, {"parallel_tool_calls": True, "temperature": 0.2}),
        ({"model_settings": {"parallel_tool_calls": False}}, {"parallel_tool_calls": False}),
        ({"parallel_tool_calls": True, "max_tokens": 9}, {"parallel_tool_calls": True, "max_output_tokens": 9}),
        ({"max_tokens": 9, "model_settings": {"max_output_tokens": 5}}, {"max_output_tokens": 5}),
        (
            {"model_settings": {"reasoning": {"reasoning_effort": "low"}}},
            {"reasoning_effort": "low", "reasoning": True},
        ),
        ({"model_settings": {"reasoning": {"reasoning_effort": "none"}}}, {"reasoning": False}),
        (
            {"model_settings": {"thinking": {"type": "enabled", "budget_tokens": 2048}, "effort": "high"}},
            {"reasoning": True, "max_reasoning_tokens": 2048, "reasoning_effort": "high"},
        ),
        ({"model_settings": {"thinking_config": {"include_thoughts": False}}}, {"reasoning": False}),
        ({"model_settings": {"thinking_config": {"thinking_budget": 0}}}, {"reasoning": False}),
        ({"model_settings": {"thinking_config": {"thinking_budget": 512}}}, {"max_reasoning_tokens": 512}),
        (
            {"model_settings": {"response_schema": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        ({"model_settings": {"tool_call_parser": "x"}}, {"extra": {"tool_call_parser": "x"}}),
        ({"enable_reasoner": False}, {"reasoning": False}),
        ({"llm_config": {**OLD, "temperature": 0.5, "max_tokens": 7}}, {"temperature": 0.5, "max_output_tokens": 7}),
        ({"llm_config": {**OLD, "temperature": 0.5}, "model_settings": {"temperature": 0.1}}, {"temperature": 0.1}),
    ],
)
def test_settings(studio: Studio, body: dict[str, Any], settings: dict[str, Any]) -> None:
    made = studio.make(**body).agent.settings
    assert {name: getattr(made, name) for name in settings} == settings


def test_a_window_that_was_chosen_survives_another_model(studio: Studio) -> None:
    default, chosen = studio.make(), studio.make(context_window_limit=5_000)
    for made, window in ((default, 8_000), (chosen, 5_000)):
        assert studio.change(made.agent.id, model="ollama/small").agent.context_window == window
    assert studio.change(default.agent.id, model="anthropic/claude").agent.context_window == 128_000


def test_settings_sent_earlier_stay_until_the_provider_changes(studio: Studio) -> None:
    made = studio.make(model_settings={"provider_type": "openai", "temperature": 0.1})
    changed = studio.change(made.agent.id, model_settings={"max_output_tokens": 5}).agent
    assert changed.model_settings == {"provider_type": "openai", "temperature": 0.1, "max_output_tokens": 5}
    assert changed.settings.temperature == 0.1
    assert studio.change(made.agent.id, model="anthropic/claude").agent.model_settings is None


def test_an_embedding_model_is_kept_by_handle_or_old_config(studio: Studio) -> None:
    config = {
        "embedding_model": "embed",
        "embedding_endpoint_type": "openai",
        "embedding_dim": 3,
        "embedding_chunk_size": 77,
    }
    made = studio.make(embedding_config=config).agent
    assert made.embedding is not None
    assert (made.embedding.handle, made.embedding_chunk_size) == ("openai/embed", 77)
    assert studio.make(embedding_config={**config, "embedding_model": "none"}).agent.embedding is None
