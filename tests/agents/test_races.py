"""What two requests do to an agent at once: whoever is last, system messages say what is stored."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from perdure.agents import blocks as edits
from perdure.agents import conversations, tools
from perdure.agents.create import create_agent
from perdure.agents.update import update_agent
from perdure.domain.agents import AgentDetails
from perdure.domain.blocks import Block
from perdure.domain.errors import NotFound
from perdure.domain.ids import DEFAULT_TENANT
from perdure.loop.context import compiled
from perdure.store import agents, blocks, messages
from perdure.wire.agent_bodies import CreateAgentBody, UpdateAgentBody
from tests.agents.studio import KnownModels, Studio
from tests.memory.home import new_block
from tests.rig.races import Work, race, unit
from tests.rig.stores import PostgresPlace

pytestmark = pytest.mark.stores("postgresql")


class Scene:
    """An agent with one block, and another block that is nobody's yet."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.agent: AgentDetails = studio.make(
            memory_blocks=[{"label": "human", "value": "old"}], tools=[], include_base_tools=False,
            tool_rules=[{"type": "max_count_per_step", "tool_name": "memory_insert", "max_count_limit": 2}],
        )  # fmt: skip
        self.block = self.agent.blocks[0]
        self.loose = new_block("loose", "old")
        studio.write(lambda conn: blocks.create(conn, DEFAULT_TENANT, self.loose, actor="test"))
        self.tools = {tool.name: tool.id for tool in studio.read(lambda conn: _tools(conn))}

    def edit(self, block: Block, *, seen: int | None = None, **changes: Any) -> Work:
        def edit(conn: Any) -> Block:
            found = blocks.get(conn, DEFAULT_TENANT, block.id)
            return edits.edit_block(conn, DEFAULT_TENANT, found, changes, actor="x", seen=seen)

        return unit(edit)

    def attach(self, block: Block) -> Work:
        return unit(lambda conn: edits.attach_block(conn, DEFAULT_TENANT, self.agent.agent.id, block.id))

    def detach(self, block: Block) -> Work:
        return unit(lambda conn: edits.detach_block(conn, DEFAULT_TENANT, self.agent.agent.id, block.id))

    def delete(self, block: Block) -> Work:
        return unit(lambda conn: edits.delete_block(conn, DEFAULT_TENANT, block.id))

    def give(self, tool: str) -> Work:
        return unit(lambda conn: tools.attach_tool(conn, DEFAULT_TENANT, self.agent.agent.id, self.tools[tool]))

    def change(self, **body: Any) -> Work:
        changes = UpdateAgentBody.model_validate(body).changes()
        agent_id = self.agent.agent.id
        return lambda db: update_agent(db, KnownModels(), self.studio.vault, DEFAULT_TENANT, agent_id, changes)

    def make(self, **body: Any) -> Work:
        new = CreateAgentBody.model_validate(body).new_agent()
        return lambda db: create_agent(db, KnownModels(), self.studio.vault, DEFAULT_TENANT, new)

    def open(self, **fields: Any) -> Work:
        agent_id = self.agent.agent.id
        return lambda db: conversations.create_conversation(db, KnownModels(), DEFAULT_TENANT, agent_id, fields)

    def stale(self) -> list[tuple[str, str]]:
        """System messages that say something else than what is stored, each with what it should say."""

        def look(conn: Any) -> list[tuple[str, str]]:
            everyone = agents.list_page(conn, DEFAULT_TENANT, agents.AgentFilter(), agents.Page())
            return [
                (timeless(message.text), timeless(compiled(conn, agent, conversation_id)))
                for agent in everyone
                for conversation_id, message in messages.system_messages(conn, agent.id)
            ]

        return [(said, wanted) for said, wanted in self.studio.read(look) if said != wanted]


def _tools(conn: Any) -> list[Any]:
    from perdure.store import tools as store

    return store.list_page(conn, DEFAULT_TENANT, store.ToolFilter(), store.Page())


def timeless(text: str) -> str:
    return re.sub(r"recompiled: .*", "", text)


@pytest.fixture
def scene(place: PostgresPlace) -> Iterator[Scene]:
    with Studio(place) as studio:
        yield Scene(studio)


PAIRS = {
    "attach, edit": lambda at: (at.attach(at.loose), at.edit(at.loose, value="new")),
    "attach, relabel": lambda at: (at.attach(at.loose), at.edit(at.loose, label="tight")),
    "attach, delete": lambda at: (at.attach(at.loose), at.delete(at.loose)),
    "detach, edit": lambda at: (at.detach(at.block), at.edit(at.block, value="new")),
    "detach, attach another": lambda at: (at.detach(at.block), at.attach(at.loose)),
    "replace blocks, edit": lambda at: (at.change(block_ids=[at.loose.id]), at.edit(at.loose, value="new")),
    "change the prompt, edit": lambda at: (at.change(system="New words."), at.edit(at.block, value="new")),
    "change the prompt, open": lambda at: (at.change(system="New words."), at.open()),
    "edit, open": lambda at: (at.edit(at.block, value="new"), at.open()),
    "edit, make": lambda at: (at.edit(at.loose, value="new"), at.make(block_ids=[at.loose.id])),
    "delete, make": lambda at: (at.delete(at.loose), at.make(block_ids=[at.loose.id])),
    "give a tool, change the prompt": lambda at: (at.give("memory_insert"), at.change(system="New words.")),
}


@pytest.mark.parametrize("turned", [False, True], ids=["so", "the other way round"])
@pytest.mark.parametrize("pair", PAIRS)
def test_system_messages_say_what_is_stored(scene: Scene, place: PostgresPlace, pair: str, turned: bool) -> None:
    first, second = PAIRS[pair](scene)[:: -1 if turned else 1]
    results = scene.studio.run(race(place, scene.studio.db, first, second))
    assert [error for error in results if isinstance(error, BaseException) and not isinstance(error, NotFound)] == []
    assert scene.stale() == []


def test_two_edits_of_one_block_follow_one_after_the_other(scene: Scene, place: PostgresPlace) -> None:
    works = (scene.edit(scene.block, value="one"), scene.edit(scene.block, value="two"))
    results = scene.studio.run(race(place, scene.studio.db, *works))
    assert [(block.value, block.version) for block in results] == [("one", 2), ("two", 3)]
    assert scene.stale() == []


def test_of_two_edits_for_one_version_of_a_block_one_is_refused(scene: Scene, place: PostgresPlace) -> None:
    works = (scene.edit(scene.block, seen=1, value="one"), scene.edit(scene.block, seen=1, value="two"))
    results = scene.studio.run(race(place, scene.studio.db, *works))
    assert [type(result).__name__ for result in results] == ["Block", "Conflict"]
    assert scene.stale() == []


@pytest.mark.parametrize("tags", [["a"], ["b", "c"]])
def test_tags_are_those_of_one_change_or_the_other(scene: Scene, place: PostgresPlace, tags: list[str]) -> None:
    scene.studio.run(race(place, scene.studio.db, scene.change(tags=tags), scene.change(tags=["d"])))
    found = scene.studio.read(lambda conn: agents.list_tags(conn, DEFAULT_TENANT, agents.Page()))
    assert found == ["d"]


def test_two_tools_given_at_once_are_both_there(scene: Scene, place: PostgresPlace) -> None:
    works = (scene.give("memory_insert"), scene.give("memory_replace"))
    assert scene.studio.run(race(place, scene.studio.db, *works)) == [None, None]
    details = scene.studio.change(scene.agent.agent.id)
    assert {tool.name for tool in details.tools} == {"memory_insert", "memory_replace"}
    assert details.agent.version == scene.agent.agent.version + 2
