"""Conversations made, changed, forked and deleted, and which model, blocks and system message they have."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection

from perdure.agents import blocks as edits
from perdure.agents import conversations
from perdure.agents.update import delete_agent
from perdure.domain.agents import AgentDetails
from perdure.domain.conversations import Conversation, ConversationDetails, agent_in
from perdure.domain.errors import Busy, Invalid, NotFound
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.messages import Message, TextPart
from perdure.domain.runs import Run
from perdure.memory import blocks as memory
from perdure.store import agents as agent_store
from perdure.store import blocks, messages, runs
from perdure.store import conversations as conversation_store
from perdure.store.blocks import BlockFilter
from perdure.store.conversations import ConversationFilter
from perdure.store.pages import Page
from tests.agents.studio import KnownModels, Studio

BLOCKS = [{"label": "human", "value": "Bob"}, {"label": "persona", "value": "Kind"}]


def open_one(studio: Studio, details: AgentDetails, *isolated: str, **fields: Any) -> Conversation:
    made = studio.run(
        conversations.create_conversation(
            studio.db, KnownModels(), DEFAULT_TENANT, details.agent.id, fields, isolated_block_labels=isolated
        )
    )
    return made.conversation


def change(studio: Studio, conversation: Conversation, **fields: Any) -> Conversation:
    changed = studio.run(
        conversations.update_conversation(studio.db, KnownModels(), DEFAULT_TENANT, conversation.id, fields)
    )
    return changed.conversation


def fork(studio: Studio, source: Conversation, up_to: str | None = None) -> ConversationDetails:
    return studio.write(
        lambda conn: conversations.fork_conversation(conn, DEFAULT_TENANT, source, up_to=up_to, hidden=False)
    )


def system_of(studio: Studio, conversation: Conversation) -> str:
    return studio.read(lambda conn: messages.system_message(conn, conversation.id)).text


def write_human(studio: Studio, details: AgentDetails, conversation_id: str, value: str) -> None:
    """What the memory tools do in a turn."""
    agent = details.agent

    def write(conn: Connection) -> None:
        memory.edit(
            conn, DEFAULT_TENANT, agent.id, conversation_id, "human", lambda _: value, actor=agent.id, run_id=None
        )
        edits.recompile_all(conn, DEFAULT_TENANT, [agent.id])

    studio.write(write)


def default_of(studio: Studio, details: AgentDetails) -> Conversation:
    return studio.read(lambda conn: conversation_store.get(conn, DEFAULT_TENANT, details.agent.conversation_id))


def test_a_conversation_begins_with_a_system_message_of_its_own(studio: Studio) -> None:
    details = studio.make(memory_blocks=BLOCKS)
    thread = open_one(studio, details, summary="s")
    said = system_of(studio, thread)
    assert f"CONVERSATION_ID: {thread.id}" in said
    assert "Bob" in said
    assert thread.summary == "s"
    assert "CONVERSATION_ID: default" in studio.system(details)


def test_what_is_unknown_is_told_and_nothing_is_made(studio: Studio) -> None:
    details = studio.make(memory_blocks=BLOCKS)
    with pytest.raises(NotFound, match=r"humans.*human, persona"):
        open_one(studio, details, "human", "humans")
    with pytest.raises(NotFound, match="nobody/x"):
        open_one(studio, details, model="nobody/x")
    with pytest.raises(Invalid, match="max_reasoning_tokens"):
        open_one(studio, details, model_settings={"thinking": {"budget_tokens": 9}, "max_output_tokens": 5})
    listed = studio.read(lambda conn: conversation_store.list_page(conn, DEFAULT_TENANT, ConversationFilter(), Page()))
    assert listed == []


def test_a_block_of_its_own_is_written_and_shown_there_alone(studio: Studio) -> None:
    details = studio.make(memory_blocks=BLOCKS)
    own, shared = open_one(studio, details, "human"), open_one(studio, details)
    write_human(studio, details, own.id, "Ada")
    assert "Ada" in system_of(studio, own)
    for other in (system_of(studio, shared), studio.system(details)):
        assert "Bob" in other
        assert "Ada" not in other
    write_human(studio, details, shared.id, "Eve")
    assert "Eve" in studio.system(details)
    assert "Eve" in system_of(studio, shared)
    assert "Ada" in system_of(studio, own)


def test_a_block_of_its_own_may_be_edited_and_deleted_by_people(studio: Studio) -> None:
    details = studio.make(memory_blocks=BLOCKS)
    thread = open_one(studio, details, "human")

    def copy(conn: Connection):
        (block_id,) = conversation_store.details(conn, thread).isolated_block_ids
        return blocks.get(conn, DEFAULT_TENANT, block_id)

    studio.write(lambda conn: edits.edit_block(conn, DEFAULT_TENANT, copy(conn), {"value": "Ada"}, actor="me"))
    assert "Ada" in system_of(studio, thread)
    assert "Ada" not in studio.system(details)
    studio.write(lambda conn: edits.delete_block(conn, DEFAULT_TENANT, copy(conn).id))
    assert "Bob" in system_of(studio, thread)


def test_a_system_message_that_says_the_same_is_left_alone(studio: Studio) -> None:
    details = studio.make(memory_blocks=BLOCKS)
    own = open_one(studio, details, "human")
    before = studio.system(details)
    write_human(studio, details, own.id, "Ada")
    assert studio.system(details) == before
    studio.change(details.agent.id, timezone="Europe/Berlin")
    assert studio.system(details) != before


def test_a_conversations_model_wins_over_its_agents(studio: Studio) -> None:
    details = studio.make(model="openai/gpt-4o", model_settings={"provider_type": "openai", "temperature": 0.1})
    plain = open_one(studio, details)
    assert agent_in(details.agent, plain) == details.agent
    thread = open_one(
        studio, details, model="anthropic/claude",
        model_settings={"provider_type": "anthropic", "max_output_tokens": 7, "thinking": {"type": "disabled"}, "x": 1},
    )  # fmt: skip
    worked = agent_in(details.agent, thread)
    assert worked.model.handle == "anthropic/claude"
    assert (worked.settings.temperature, worked.settings.max_output_tokens) == (0.1, 7)
    assert (worked.settings.reasoning, worked.settings.extra) == (False, {"x": 1})
    assert worked.context_window == 128_000
    small = change(studio, thread, model="ollama/small", context_window_limit=None)
    assert agent_in(details.agent, small).context_window == 8_000
    limited = change(studio, small, context_window_limit=2_000)
    assert agent_in(details.agent, limited).context_window == 2_000
    cleared = change(studio, limited, model=None, model_settings=None, context_window_limit=None)
    assert agent_in(details.agent, cleared) == details.agent


def test_archiving_twice_keeps_the_first_time(studio: Studio) -> None:
    thread = change(studio, open_one(studio, studio.make()), archived_at=5)
    assert change(studio, thread, archived_at=9).archived_at == 5
    assert change(studio, thread, archived_at=None).archived_at is None


def test_a_fork_takes_over_what_its_source_has_for_itself(studio: Studio) -> None:
    details = studio.make(memory_blocks=BLOCKS)
    source = open_one(studio, details, "human", model="anthropic/claude", summary="s")
    write_human(studio, details, source.id, "Ada")
    said = Message(
        id=new_id("message"), agent_id=details.agent.id, role="user", parts=(TextPart(text="hi"),), created_at=1
    )
    studio.write(lambda conn: messages.append(conn, DEFAULT_TENANT, source.id, (said,)))
    made = fork(studio, source)
    branch = made.conversation
    assert (branch.model, branch.summary, branch.is_default) == (source.model, "s", False)
    assert f"CONVERSATION_ID: {branch.id}" in system_of(studio, branch)
    assert made.message_ids[1:] == (said.id,)
    write_human(studio, details, branch.id, "Eve")
    assert "Ada" in system_of(studio, source)
    assert "Eve" in system_of(studio, branch)


def test_a_default_conversation_is_forked_into_one_of_its_own(studio: Studio) -> None:
    details = studio.make(initial_message_sequence=[{"role": "user", "content": "one"}])
    default = default_of(studio, details)
    made = fork(studio, default)
    assert not made.conversation.is_default
    assert made.message_ids[1:] == details.message_ids[1:]
    assert fork(studio, default, details.message_ids[0]).message_ids[1:] == ()
    conversations.refuse_default(made.conversation)
    with pytest.raises(Invalid, match="default conversation"):
        conversations.refuse_default(default)


def test_a_conversation_at_work_is_neither_forked_nor_deleted(studio: Studio) -> None:
    details = studio.make()
    thread = open_one(studio, details)
    run = Run(id=new_id("run"), agent_id=details.agent.id, conversation_id=thread.id, status="running", created_at=1)
    studio.write(lambda conn: runs.create(conn, DEFAULT_TENANT, run, runs.Origin(request=b"{}")))
    with pytest.raises(Busy, match=run.id):
        fork(studio, thread)
    with pytest.raises(Busy, match=run.id):
        studio.write(lambda conn: conversations.delete_conversation(conn, DEFAULT_TENANT, thread.id))


def test_recompiling_stores_the_text_unless_it_is_a_dry_run(studio: Studio) -> None:
    details = studio.make()
    thread = open_one(studio, details)
    renewed = msgspec.structs.replace(details.agent, system="Be new.")
    studio.write(lambda conn: agent_store.update(conn, DEFAULT_TENANT, details.agent, renewed))

    def recompile(*, dry_run: bool) -> str:
        return studio.write(
            lambda conn: conversations.recompile_conversation(conn, DEFAULT_TENANT, thread, dry_run=dry_run)
        )

    before = system_of(studio, thread)
    assert "Be new." in recompile(dry_run=True)
    assert system_of(studio, thread) == before
    assert recompile(dry_run=False) == system_of(studio, thread)
    assert "Be new." in system_of(studio, thread)


def test_deleting_an_agent_takes_the_copies_of_its_blocks_along(studio: Studio) -> None:
    details = studio.make(memory_blocks=BLOCKS)
    open_one(studio, details, "human", "persona")

    def count() -> int:
        return studio.read(lambda conn: blocks.count(conn, DEFAULT_TENANT, BlockFilter(show_hidden=True)))

    assert count() == 4
    studio.write(lambda conn: delete_agent(conn, DEFAULT_TENANT, details.agent.id))
    assert count() == 2
