"""Bodies that make and change agents and blocks: what is read, what is refused."""

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from perdure.wire.agent_bodies import CreateAgentBody, UpdateAgentBody
from perdure.wire.blocks import CreateBlockBody, UpdateBlockBody
from perdure.wire.text import check_text


def refused(body: dict[str, Any]) -> tuple[str | int, ...]:
    """Where the first problem of a body lies."""
    with pytest.raises(ValidationError) as caught:
        CreateAgentBody.model_validate(body)
    return caught.value.errors()[0]["loc"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"timezone": "America"}, "timezone"),
        ({"agent_type": "robot"}, "agent_type"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"context_window_limit": 2**31}, "context_window_limit"),
        ({"max_files_open": 1001}, "max_files_open"),
        ({"tags": [""]}, "tags"),
        ({"tags": ["x" * 256]}, "tags"),
        ({"secrets": {"A=B": "c"}}, "secrets"),
        ({"secrets": {"": "c"}}, "secrets"),
        ({"system": "\0"}, "system"),
        ({"system": "\ud800"}, "system"),
        ({"memory_blocks": [{"label": "<b>", "value": "x"}]}, "memory_blocks"),
        ({"memory_blocks": [{"label": " ", "value": "x"}]}, "memory_blocks"),
        ({"memory_blocks": [{"label": "a\nb", "value": "x"}]}, "memory_blocks"),
        ({"memory_blocks": [{"value": "x"}]}, "memory_blocks"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"model_settings": {"temperature": 3}}, "model_settings"),
        ({"compaction_settings": {"mode": "none"}}, "compaction_settings"),
        ({"compaction_settings": {"sliding_window_percentage": 0}}, "compaction_settings"),
        ({"initial_message_sequence": [{"role": "tool", "content": "x"}]}, "initial_message_sequence"),
        ({"initial_message_sequence": [{"role": "user", "content": []}]}, "initial_message_sequence"),
        ({"tool_rules": [{"tool_name": "x"}]}, "tool_rules"),
        ({"tool_rules": [{"type": "exit_loop"}]}, "tool_rules"),
        ({"tool_rules": [{"type": "constrain_child_tools", "tool_name": "x"}]}, "tool_rules"),
        ({"tool_rules": [{"type": "conditional", "tool_name": "x", "child_output_mapping": {}}]}, "tool_rules"),
        ({"tool_rules": [{"type": "max_count_per_step", "tool_name": "x"}]}, "tool_rules"),
        ({"tool_rules": [{"type": ["exit_loop"], "tool_name": "x"}]}, "tool_rules"),
    ],
)
def test_a_wrong_value_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    assert refused(body)[0] == field


def test_null_and_unknown_fields_mean_nothing() -> None:
    every = dict.fromkeys(CreateAgentBody.model_fields)
    assert CreateAgentBody.model_validate({**every, "from_template": "x", "brand_new": 1}).new_agent().tags == ()
    every = dict.fromkeys(UpdateAgentBody.model_fields)
    assert UpdateAgentBody.model_validate(every).changes().attributes == {}


def test_older_names_of_a_field_are_read() -> None:
    sent = {"tool_exec_environment_variables": {"A": "1"}, "source_ids": ["folder-1"], "enable_reasoner": False}
    new = CreateAgentBody.model_validate(sent).new_agent()
    assert (new.secrets, new.folder_ids, new.choice.reasoning) == ({"A": "1"}, ("folder-1",), False)


def test_only_a_null_that_was_sent_lifts_the_limit_on_answers() -> None:
    assert UpdateAgentBody.model_validate({}).changes().choice.max_tokens is msgspec.UNSET
    assert UpdateAgentBody.model_validate({"max_tokens": None}).changes().choice.max_tokens is None


def test_settings_keep_what_only_a_provider_understands() -> None:
    new = CreateAgentBody.model_validate({"model_settings": {"provider_type": "zai", "thinking": {"clear": True}}})
    assert new.new_agent().choice.model_settings == {"provider_type": "zai", "thinking": {"clear": True}}


def test_times_may_come_with_and_without_an_offset() -> None:
    for text in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T02:00:00+02:00"):
        changes = UpdateAgentBody.model_validate({"last_run_completion": text}).changes()
        assert changes.attributes == {"last_run_completion": 1_767_225_600_000_000}


def test_block_changes_are_only_what_was_sent() -> None:
    body = UpdateBlockBody.model_validate({"value": "", "tags": ["b", "a", "b"], "name": "t", "limit": None})
    assert body.changes() == {"value": "", "tags": ("a", "b"), "template_name": "t"}


def test_a_block_gets_an_id_and_the_defaults() -> None:
    block = CreateBlockBody.model_validate({"label": "human", "value": "", "name": "old name"}).block()
    assert block.id.startswith("block-")
    assert (block.limit, block.template_name, block.version, block.metadata) == (100_000, "old name", 1, {})


@pytest.mark.parametrize("text", ["a\0b", "\ud83d", "x\udc00"])
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        check_text(text)


def test_all_other_text_is_kept() -> None:
    assert check_text("\u202e😀\ufeff\r\n\t") == "\u202e😀\ufeff\r\n\t"
