"""Agents of the older types speak through a tool, which every SDK has to show as the agent's own words."""

import pytest

from tests.contract.told import assert_classes, fresh_agent, said, told, types, user
from tests.rig.answers import call, text
from tests.rig.model import Script
from tests.rig.sdks import Client


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_voice_of_an_agent_that_speaks_by_tool(client: Client, script: Script, tokens: bool) -> None:
    script.answer(text("Ada greets me."), call("send_message", {"message": 'Hello "Ada"!\n\U0001f600'}))
    agent = fresh_agent(client, script, agent_type="memgpt_v2_agent")
    items = client.all("stream", agent_id=agent, messages=user("hello"), stream_tokens=tokens)
    assert types(items) == ["reasoning_message", "assistant_message", "stop_reason", "usage_statistics"]
    assert_classes(client, items)
    assert said(items) == 'Hello "Ada"!\n\U0001f600'
    assert said(items, "reasoning_message") == "Ada greets me."
    history = client.all("list_messages", agent_id=agent)
    assert_classes(client, history)
    assert [each for each in told(history) if each in told(items)] == told(items)
