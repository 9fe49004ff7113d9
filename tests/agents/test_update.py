"""Changing agents, forgetting their history, deleting them."""

import pytest

from perdure.agents import blocks as edits
from perdure.agents.tools import attach_tool, detach_tool
from perdure.agents.update import delete_agent, reset_messages
from perdure.domain.errors import Busy, Conflict, NotBuilt, NotFound
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.runs import Run
from perdure.store import agents, blocks, messages, runs, tools
from tests.agents.studio import Studio
from tests.memory.home import new_block
from tests.store.nouns import new_tool


def test_null_leaves_a_field_and_a_list_replaces(studio: Studio) -> None:
    made = studio.make(description="d", tags=["a", "b"], secrets={"A": "1"}, max_tokens=100)
    changed = studio.change(made.agent.id, description=None, tags=["c"], secrets={"B": "2"}, name="New")
    assert (changed.agent.description, changed.agent.name, changed.tags) == ("d", "New", ("c",))
    assert [secret.key for secret in changed.secrets] == ["B"]
    assert changed.agent.settings.max_output_tokens == 100
    assert studio.change(made.agent.id, max_tokens=None).agent.settings.max_output_tokens is None


def test_another_system_prompt_is_in_the_next_context(studio: Studio) -> None:
    made = studio.make(system="Old words.")
    changed = studio.change(made.agent.id, system="New words.")
    assert studio.system(changed).startswith("New words.")
    assert changed.message_ids == made.message_ids
    assert changed.agent.version == made.agent.version + 1


def test_another_model_that_reads_memory_in_another_form_gets_it_so(studio: Studio) -> None:
    made = studio.make(memory_blocks=[{"label": "human", "value": "Ada"}])
    assert "1→ Ada" not in studio.system(made)
    assert "1→ Ada" in studio.system(studio.change(made.agent.id, model="anthropic/claude"))


def test_what_no_model_sees_leaves_the_system_message_alone(studio: Studio) -> None:
    made = studio.make()
    before = studio.system(made)
    changed = studio.change(made.agent.id, name="New", model_settings={"temperature": 0.1})
    assert studio.system(changed) == before


def test_compaction_settings_are_merged_and_a_new_mode_drops_the_prompt(studio: Studio) -> None:
    made = studio.make(compaction_settings={"mode": "all", "prompt": "Sum up.", "clip_chars": 7})
    changed = studio.change(made.agent.id, compaction_settings={"clip_chars": 9})
    assert changed.agent.compaction_settings == {"mode": "all", "prompt": "Sum up.", "clip_chars": 9}
    changed = studio.change(made.agent.id, compaction_settings={"mode": "sliding_window"})
    assert changed.agent.compaction_settings == {"mode": "sliding_window", "clip_chars": 9}


def test_tools_and_blocks_are_replaced(studio: Studio) -> None:
    made = studio.make(memory_blocks=[{"label": "human", "value": "Bob"}])
    other = new_block("pet", "A cat.")
    studio.write(lambda conn: blocks.create(conn, DEFAULT_TENANT, other, actor="test"))
    kept = made.tools[1]
    changed = studio.change(made.agent.id, tool_ids=[kept.id], block_ids=[other.id])
    assert ([tool.id for tool in changed.tools], [block.label for block in changed.blocks]) == ([kept.id], ["pet"])
    assert "A cat." in studio.system(changed)
    assert "Bob" not in studio.system(changed)
    assert changed.agent.version > made.agent.version


def test_a_failed_change_changes_nothing(studio: Studio) -> None:
    made = studio.make(tags=["a"])
    with pytest.raises(NotFound, match="block-nope"):
        studio.change(made.agent.id, name="New", tags=["b"], block_ids=["block-nope"])
    after = studio.read(lambda conn: agents.details(conn, DEFAULT_TENANT, made.agent.id, studio.vault))
    assert after == made


def test_unknown_agents_and_unbuilt_changes(studio: Studio) -> None:
    with pytest.raises(NotFound):
        studio.change(new_id("agent"), name="x")
    made = studio.make()
    with pytest.raises(NotBuilt, match="message_ids"):
        studio.change(made.agent.id, message_ids=[])
    assert studio.change(made.agent.id, message_ids=list(made.message_ids)).message_ids == made.message_ids


def test_an_edit_of_a_shared_block_reaches_every_agent(studio: Studio) -> None:
    first = studio.make(memory_blocks=[{"label": "human", "value": "Bob"}])
    block = first.blocks[0]
    second = studio.make(block_ids=[block.id])
    edited = studio.write(lambda conn: edits.edit_block(conn, DEFAULT_TENANT, block, {"value": "Carl"}, actor="api"))
    for made in (first, second):
        assert "Carl" in studio.system(made)
    before = studio.system(first)
    studio.write(lambda conn: edits.edit_block(conn, DEFAULT_TENANT, edited, {"metadata": {"a": 1}}, actor="api"))
    assert studio.system(first) == before
    studio.write(lambda conn: edits.delete_block(conn, DEFAULT_TENANT, block.id))
    for made in (first, second):
        assert "Carl" not in studio.system(made)


def test_attaching_and_detaching_a_block_shows_in_the_system_message(studio: Studio) -> None:
    made = studio.make(memory_blocks=[{"label": "human", "value": "Bob"}])
    pet, human = new_block("pet", "A cat."), new_block("human", "Other.")
    for block in (pet, human):
        studio.write(lambda conn, block=block: blocks.create(conn, DEFAULT_TENANT, block, actor="test"))
    agent_id = made.agent.id
    studio.write(lambda conn: edits.attach_block(conn, DEFAULT_TENANT, agent_id, pet.id))
    assert "A cat." in studio.system(made)
    with pytest.raises(Conflict):
        studio.write(lambda conn: edits.attach_block(conn, DEFAULT_TENANT, agent_id, human.id))
    studio.write(lambda conn: edits.detach_block(conn, DEFAULT_TENANT, agent_id, pet.id))
    assert "A cat." not in studio.system(made)
    with pytest.raises(NotFound):
        studio.write(lambda conn: edits.detach_block(conn, DEFAULT_TENANT, agent_id, pet.id))


def test_a_tool_that_wants_approval_brings_its_rule(studio: Studio) -> None:
    made = studio.make()
    careful = new_tool("delete_all", default_requires_approval=True)
    studio.write(lambda conn: tools.seed(conn, DEFAULT_TENANT, [careful]))
    tool = studio.read(lambda conn: tools.by_names(conn, DEFAULT_TENANT, ["delete_all"]))[0]

    def agent_after(change: object) -> tuple[int, tuple[dict[str, object], ...]]:
        studio.write(lambda conn: change(conn, DEFAULT_TENANT, made.agent.id, tool.id))  # type: ignore[operator]
        agent = studio.read(lambda conn: agents.get(conn, DEFAULT_TENANT, made.agent.id))
        return agent.version, agent.tool_rules

    rule = {"type": "requires_approval", "tool_name": "delete_all"}
    assert agent_after(attach_tool) == (2, (rule,))
    assert agent_after(attach_tool) == (2, (rule,))
    assert agent_after(detach_tool)[0] == 3


def test_a_reset_forgets_the_context_and_keeps_the_history(studio: Studio) -> None:
    made = studio.make(agent_type="memgpt_v2_agent", initial_message_sequence=[])
    said = studio.say(made.agent, "user", "remember me")

    def reset(again: bool) -> int:
        details = studio.write(
            lambda conn: reset_messages(
                conn, DEFAULT_TENANT, studio.vault, made.agent.id, add_default_initial_messages=again
            )
        )
        assert details.message_ids[0] == made.message_ids[0]
        return len(details.message_ids)

    assert reset(False) == 1
    assert reset(True) == 4
    history = studio.read(lambda conn: messages.history(conn, DEFAULT_TENANT, agent_id=made.agent.id))
    assert said.id in [message.id for message in history]


def test_an_agent_at_work_is_neither_reset_nor_deleted(studio: Studio) -> None:
    made = studio.make()
    thread = made.agent.conversation_id
    run = Run(id=new_id("run"), agent_id=made.agent.id, conversation_id=thread, status="running", created_at=1)
    studio.write(lambda conn: runs.create(conn, DEFAULT_TENANT, run, runs.Origin(request=b"{}")))
    with pytest.raises(Busy, match=run.id):
        studio.write(lambda conn: delete_agent(conn, DEFAULT_TENANT, made.agent.id))
    with pytest.raises(Busy, match="Wait for it"):
        studio.write(
            lambda conn: reset_messages(
                conn, DEFAULT_TENANT, studio.vault, made.agent.id, add_default_initial_messages=False
            )
        )


def test_a_deleted_agent_is_gone_with_its_history(studio: Studio) -> None:
    made = studio.make(memory_blocks=[{"label": "human", "value": "Bob"}])
    studio.say(made.agent, "user", "hello there")
    studio.write(lambda conn: delete_agent(conn, DEFAULT_TENANT, made.agent.id))
    assert studio.read(lambda conn: messages.history(conn, DEFAULT_TENANT)) == []
    assert studio.read(lambda conn: blocks.get(conn, DEFAULT_TENANT, made.blocks[0].id)).value == "Bob"
    with pytest.raises(NotFound):
        studio.write(lambda conn: delete_agent(conn, DEFAULT_TENANT, made.agent.id))
