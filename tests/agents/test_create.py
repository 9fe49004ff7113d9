"""Making agents: what they get, and what is refused."""

import json
import re
from typing import Any, get_args

import pytest
from sqlalchemy import func, select

from perdure.agents.names import random_name
from perdure.domain.agents import AgentType
from perdure.domain.errors import Conflict, Invalid, NotFound, Unprocessable
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.messages import ToolCallPart, ToolReturnPart
from perdure.store import blocks, conversations
from perdure.store.tables import agents as agents_table
from perdure.store.tables import blocks as blocks_table
from tests.agents.studio import Studio
from tests.memory.home import new_block


def test_an_agent_of_nothing_is_ready_to_talk_to(studio: Studio) -> None:
    made = studio.make()
    agent = made.agent
    assert (agent.agent_type, agent.model.handle, agent.context_window) == ("letta_v1_agent", "openai/gpt-4o", 128_000)
    assert [tool.name for tool in made.tools] == ["conversation_search", "memory_replace", "memory_insert"]
    assert agent.tool_rules == ()
    assert not agent.settings.parallel_tool_calls
    thread = studio.read(lambda conn: conversations.get(conn, DEFAULT_TENANT, agent.conversation_id))
    assert (thread.is_default, thread.agent_id) == (True, agent.id)
    (system,) = studio.context(made)
    assert (system.role, made.message_ids) == ("system", (system.id,))
    assert system.text.startswith(agent.system)


def test_blocks_are_made_and_attached_and_stand_in_the_system_message(studio: Studio) -> None:
    shared = new_block("team", "We ship on Fridays.")
    studio.write(lambda conn: blocks.create(conn, DEFAULT_TENANT, shared, actor="test"))
    made = studio.make(
        memory_blocks=[
            {"label": "human", "value": "Bob"},
            {"label": "persona", "value": "Ada", "description": "Mine."},
        ],
        block_ids=[shared.id],
    )
    assert [block.label for block in made.blocks] == ["human", "persona", "team"]
    assert made.blocks[0].description
    assert made.blocks[1].description == "Mine."
    for value in ("Bob", "Ada", "We ship on Fridays."):
        assert value in studio.system(made)


def test_nothing_is_left_of_an_agent_that_cannot_be_made(studio: Studio) -> None:
    twice = [{"label": "human", "value": "a"}, {"label": "human", "value": "b"}]
    with pytest.raises(Conflict, match="'human'"):
        studio.make(memory_blocks=twice)
    for table in (agents_table, blocks_table):
        assert studio.read(lambda conn, t=table: conn.execute(select(func.count()).select_from(t)).scalar_one()) == 0


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({"model": "openai/nope"}, NotFound, "openai/nope"),
        ({"embedding": "openai/nope"}, NotFound, "openai/nope"),
        ({"tools": ["nope"]}, Invalid, "nope"),
        ({"tool_ids": ["tool-nope"]}, Invalid, "tool-nope"),
        ({"block_ids": ["block-nope"]}, NotFound, "block-nope"),
        ({"identity_ids": ["identity-nope"]}, NotFound, "identity-nope"),
        ({"memory_blocks": [{"label": "x", "value": "abc", "limit": 2}]}, Invalid, "limit of 2"),
        ({"max_reasoning_tokens": 10, "max_tokens": 10}, Invalid, "max_reasoning_tokens"),
        ({"agent_type": "split_thread_agent"}, Unprocessable, "prompt"),
        ({"folder_ids": ["source-1"]}, NotFound, "source-1"),
    ],
)
def test_what_cannot_be_says_why(studio: Studio, body: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        studio.make(**body)


def test_names_are_pleasant_and_allowed() -> None:
    assert all(re.fullmatch(r"[A-Z][a-z]+[A-Z][a-z]+", random_name()) for _ in range(50))


@pytest.mark.parametrize("agent_type", get_args(AgentType))
def test_every_type_can_be_made(studio: Studio, agent_type: AgentType) -> None:
    made = studio.make(agent_type=agent_type, system="Help." if agent_type == "split_thread_agent" else None)
    assert made.agent.agent_type == agent_type
    assert made.agent.system
    assert made.agent.message_buffer_autoclear == (agent_type == "workflow_agent")


def test_agents_that_speak_by_tool_begin_with_a_greeting(studio: Studio) -> None:
    _, call, done, login = studio.context(studio.make(agent_type="memgpt_v2_agent"))
    assert isinstance(call.parts[0], ToolCallPart)
    assert isinstance(done.parts[0], ToolReturnPart)
    assert call.parts[0].call_id == done.parts[0].call_id
    assert json.loads(call.parts[0].arguments)["message"]
    assert (login.role, json.loads(login.text)["type"]) == ("user", "login")


def test_an_empty_opening_is_the_system_message_alone(studio: Studio) -> None:
    assert len(studio.context(studio.make(agent_type="memgpt_v2_agent", initial_message_sequence=[]))) == 1


def test_a_given_opening_follows_the_system_message(studio: Studio) -> None:
    given = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}]
    plain = studio.context(studio.make(initial_message_sequence=given))
    assert [(message.role, message.text) for message in plain[1:]] == [("user", "hi"), ("assistant", "hello")]
    spoken = studio.context(studio.make(initial_message_sequence=given, agent_type="memgpt_agent"))
    assert [message.role for message in spoken] == ["system", "user", "assistant", "tool"]
    assert spoken[2].tool_calls[0].name == "send_message"


@pytest.mark.parametrize(
    ("body", "rules"),
    [
        ({}, []),
        ({"include_base_tool_rules": True}, ["continue_loop"] * 3),
        ({"tool_rules": [{"type": "exit_loop", "tool_name": "memory_insert"}]}, ["exit_loop"] + ["continue_loop"] * 2),
        ({"agent_type": "memgpt_v2_agent"}, ["exit_loop"] + ["continue_loop"] * 3),
        ({"agent_type": "memgpt_v2_agent", "include_base_tool_rules": False}, []),
    ],
)
def test_default_rules(studio: Studio, body: dict[str, Any], rules: list[str]) -> None:
    assert [rule["type"] for rule in studio.make(**body).agent.tool_rules] == rules


def test_without_base_tools_an_agent_has_those_named(studio: Studio) -> None:
    made = studio.make(include_base_tools=False, tools=["send_message", "send_message"])
    assert [tool.name for tool in made.tools] == ["send_message"]


def test_plain_attributes_are_kept(studio: Studio) -> None:
    made = studio.make(
        name="Zoë's helper_1",
        description="d",
        metadata={"a": [1]},
        timezone="Europe/Berlin",
        tags=["b", "a", "role:subagent"],
        secrets={"KEY": "value", "EMPTY": None},
        compaction_settings={"mode": "all"},
        context_window_limit=5_000,
        embedding="openai/embed",
    )
    agent = made.agent
    assert (agent.name, agent.description, agent.metadata) == ("Zoë's helper_1", "d", {"a": [1]})
    assert (agent.timezone, agent.context_window, agent.hidden) == ("Europe/Berlin", 5_000, True)
    assert agent.compaction_settings == {"mode": "all"}
    assert agent.embedding is not None
    assert made.tags == ("a", "b", "role:subagent")
    assert {secret.key: secret.value for secret in made.secrets} == {"KEY": "value", "EMPTY": ""}
