"""The tools with which agents edit their blocks: what each does and refuses, and that a refusal changes nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from perdure.domain.blocks import Block
from perdure.domain.conversations import Conversation
from perdure.domain.errors import PerdureError
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.messages import ToolCallPart, ToolReturnPart
from perdure.store import block_history, blocks, conversation_blocks, conversations
from perdure.tools.executor import Executor
from perdure.tools.implementation import ToolContext
from perdure.tools.registry import Registry
from tests.memory.home import Home, new_block
from tests.rig.stores import Place

TEXT = "Name: Ada\nLikes tea\nLikes tea"
PATCH = """\
*** Begin Patch
*** Add Block: plans
Description: What is next.
+Buy tea
*** Update Block: human
*** Move to: person
@@
-Name: Ada
+Name: Bob
*** Delete Block: loose
*** End Patch"""


class Desk:
    """An agent with three blocks, one of them read-only, and its memory tools."""

    def __init__(self, home: Home) -> None:
        registry = Registry()
        self.home = home
        self.agent = home.agent(
            new_block("human", TEXT), new_block("rules", "Be kind.", read_only=True), new_block("loose", "x")
        )
        self.thread = self.agent.conversation_id
        self._tools = {tool.name: tool for tool in registry.builtin_tools()}
        self._executor = Executor(home.db, registry, 20.0)

    def call(self, name: str, **values: Any) -> ToolReturnPart:
        context = ToolContext(
            tenant=DEFAULT_TENANT, agent=self.agent, conversation_id=self.thread, run_id="run-1", step_id="step-1",
            call_id="call-1",
        )  # fmt: skip
        asked = ToolCallPart(call_id="call-1", name=name, arguments=json.dumps(values))
        return self.home.write(lambda conn: self._executor.run_in(conn, self._tools[name], asked, context)).part

    def done(self, name: str, **values: Any) -> str:
        part = self.call(name, **values)
        assert part.status == "success", part.text
        return part.text

    def refused(self, name: str, **values: Any) -> str:
        before = self.blocks()
        part = self.call(name, **values)
        assert part.status == "error", part.text
        assert self.blocks() == before
        return part.text

    def blocks(self) -> dict[str, Block]:
        """What the agent sees in its conversation, by label."""
        found = self.home.read(lambda conn: conversation_blocks.shown_in(conn, self.agent.id, self.thread))
        return {block.label: block for block in found}

    def value(self, label: str) -> str:
        return self.blocks()[label].value


@pytest.fixture
def desk(place: Place) -> Iterator[Desk]:
    with Home(place) as home:
        yield Desk(home)


def test_appending_and_replacing(desk: Desk) -> None:
    assert desk.done("core_memory_append", label="human", content="Has a cat") == f"{TEXT}\nHas a cat"
    told = desk.done("core_memory_replace", label="human", old_content="Likes tea", new_content="Likes milk")
    assert told == desk.value("human") == "Name: Ada\nLikes milk\nLikes milk\nHas a cat"
    assert "does not occur" in desk.refused("core_memory_replace", label="human", old_content="tea", new_content="x")
    assert "is empty" in desk.refused("core_memory_replace", label="human", old_content="", new_content="x")


def test_writing_a_block_anew(desk: Desk) -> None:
    assert desk.done("memory_rethink", label="human", new_memory="Ada.") == desk.value("human") == "Ada."
    assert "has: human, rules, loose" in desk.refused("memory_rethink", label="humans", new_memory="Ada.")
    assert desk.done("memory_finish_edits") == "None"


def test_patching_one_block(desk: Desk) -> None:
    told = desk.done("memory_apply_patch", label="human", patch="@@\n Name: Ada\n-Likes tea\n+Likes milk")
    assert told == desk.value("human") == "Name: Ada\nLikes milk\nLikes tea"


def test_patching_several_blocks(desk: Desk) -> None:
    person = desk.blocks()["human"].id
    assert desk.done("memory_apply_patch", label="human", patch=PATCH) == (
        "Added 'plans'.\nUpdated 'human', now called 'person'.\nRemoved 'loose'."
    )
    found = desk.blocks()
    assert {label: block.value for label, block in found.items()} == {
        "person": "Name: Bob\nLikes tea\nLikes tea", "rules": "Be kind.", "plans": "Buy tea",
    }  # fmt: skip
    assert (found["person"].id, found["plans"].description) == (person, "What is next.")


WRONG = [
    ("*** Delete Block: rules", "read-only"),
    ("*** Add Block: human\n+x", "There is a memory block 'human' already"),
    ("*** Update Block: nobody\n+x", "'nobody' not found"),
    ("*** Update Block: loose\n*** Move to: rules", "'rules' is attached"),
    ("*** Add Block: <b>\n+x", "none of < >"),
    (f"*** Add Block: {'x' * 256}\n+x", "at most 255 characters"),
    ("*** Update Block: loose\n-y", "fits nowhere"),
]


def test_a_patch_of_several_blocks_is_applied_whole_or_not_at_all(desk: Desk) -> None:
    for last, why in WRONG:
        patch = f"*** Update Block: human\n-Name: Ada\n{last}"
        assert why in desk.refused("memory_apply_patch", label="human", patch=patch)


def test_blocks_as_files(desk: Desk) -> None:
    path = "/memories/work/plans"
    assert desk.done("memory", command="create", path=path, description="Next.", file_text="one") == "one"
    assert desk.blocks()["work_plans"].description == "Next."
    assert desk.done("memory", command="insert", path=path, insert_text="two") == "one\ntwo"
    assert desk.done("memory", command="insert", path=path, insert_line=0, insert_text="zero") == "zero\none\ntwo"
    told = desk.done("memory", command="str_replace", path="work_plans", old_string="one\n", new_string="")
    assert told == "zero\ntwo"
    assert "later" in desk.done("memory", command="rename", old_path=path, new_path="/memories/later")
    desk.done("memory", command="rename", path="/memories/later", description="Some day.")
    assert (desk.blocks()["later"].value, desk.blocks()["later"].description) == ("zero\ntwo", "Some day.")
    block_id = desk.blocks()["later"].id
    desk.done("memory", command="delete", path="/memories/later")
    assert "later" not in desk.blocks()
    assert desk.home.read(lambda conn: blocks.get(conn, DEFAULT_TENANT, block_id)).value == "zero\ntwo"


REFUSED = [
    ({"command": "create", "path": "/memories/a"}, "needs description"),
    ({"command": "create", "path": "/memories/human", "description": "x"}, "already"),
    ({"command": "create", "path": "/memories/", "description": "x"}, "at least one character"),
    ({"command": "str_replace", "path": "/memories/human", "old_string": "Likes tea"}, "more than once"),
    ({"command": "str_replace", "path": "/memories/nobody", "old_string": "x"}, "not found"),
    ({"command": "insert", "path": "/memories/human", "insert_text": "x", "insert_line": 9}, "out of range"),
    ({"command": "delete", "path": "/memories/rules"}, "read-only"),
    ({"command": "rename", "old_path": "/memories/human", "new_path": "/memories/rules"}, "attached"),
    ({"command": "rename", "path": "/memories/rules", "description": "x"}, "read-only"),
    ({"command": "view", "path": "/memories"}, "must be one of"),
]


def test_what_files_refuse(desk: Desk) -> None:
    for values, why in REFUSED:
        assert why in desk.refused("memory", **values)


EDITS: dict[str, dict[str, Any]] = {
    "core_memory_append": {"content": "x"},
    "core_memory_replace": {"old_content": "e", "new_content": "x"},
    "memory_insert": {"new_string": "x"},
    "memory_replace": {"old_string": "kind", "new_string": "x"},
    "memory_rethink": {"new_memory": "x"},
    "memory_apply_patch": {"patch": "+x"},
}


def test_every_tool_keeps_the_same_rules(desk: Desk) -> None:
    for name, arguments in EDITS.items():
        *others, written = arguments
        mark = "+" if name == "memory_apply_patch" else ""
        assert "read-only" in desk.refused(name, label="rules", **arguments)
        assert "human, rules, loose" in desk.refused(name, label="nobody", **arguments)
        found = dict.fromkeys(others, "Name")
        numbered, too_long = {written: f"{mark}1→ x"}, {written: mark + "x" * 100_001}
        assert "line numbers" in desk.refused(name, label="human", **found, **numbered)
        assert "limit of 100000" in desk.refused(name, label="human", **found, **too_long)


def test_a_conversation_that_has_a_block_for_itself(desk: Desk) -> None:
    thread = Conversation(id=new_id("conv"), agent_id=desk.agent.id, created_at=1, updated_at=1)

    def open_thread(conn: Connection) -> None:
        conversations.create(conn, DEFAULT_TENANT, thread)
        own = blocks.labelled(conn, desk.agent.id, "human")
        conversation_blocks.isolate(conn, DEFAULT_TENANT, thread.id, [own], actor="test")

    desk.home.write(open_thread)
    desk.thread = thread.id
    desk.done("memory_rethink", label="human", new_memory="Here only.")
    for command in (
        {"command": "delete", "path": "human"},
        {"command": "rename", "old_path": "human", "new_path": "a"},
    ):
        assert "this conversation alone" in desk.refused("memory", **command)
    desk.done("memory", command="create", path="everywhere", description="For all.")
    desk.thread = desk.agent.conversation_id
    assert (desk.value("human"), "everywhere" in desk.blocks()) == (TEXT, True)


values = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
labels = st.sampled_from(["human", "rules", "loose", "made", "nobody"])
commands = st.one_of(
    st.tuples(st.just("core_memory_append"), st.fixed_dictionaries({"label": labels, "content": values})),
    st.tuples(st.just("memory_rethink"), st.fixed_dictionaries({"label": labels, "new_memory": values})),
    st.tuples(
        st.just("memory_replace"), st.fixed_dictionaries({"label": labels, "old_string": values, "new_string": values})
    ),
    st.tuples(st.just("memory_insert"), st.fixed_dictionaries({"label": labels, "new_string": values})),
    st.tuples(
        st.just("memory_apply_patch"), st.fixed_dictionaries({"label": labels, "patch": values.map("+{}".format)})
    ),
    st.tuples(
        st.just("memory"),
        st.fixed_dictionaries(
            {
                "command": st.sampled_from(["create", "delete", "rename"]),
                "path": labels, "old_path": labels, "new_path": labels, "description": values, "file_text": values,
            }
        ),
    ),
)  # fmt: skip


@pytest.mark.stores("sqlite")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(commands, max_size=12))
def test_any_sequence_of_edits_keeps_every_rule(desk: Desk, edits: list[tuple[str, dict[str, Any]]]) -> None:
    """Labels stay unique, read-only blocks as they are, and history holds every value a block ever had, in order."""
    desk = Desk(desk.home)
    for name, arguments in edits:
        desk.call(name, **arguments)
        held = desk.home.read(lambda conn: blocks.of_agent(conn, desk.agent.id))
        found = {block.label: block for block in held}
        assert len(found) == len(held)
        assert found["rules"].value == "Be kind."
        for block in held:
            past = desk.home.read(lambda conn, block_id=block.id: block_history.versions(conn, block_id, limit=100))
            assert [each.version for each in past] == list(range(block.version, 0, -1))
            assert past[0].value == block.value


def test_an_agent_keeps_the_newest_versions_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_history, "KEPT", 3)
    with Home(place) as home:
        desk = Desk(home)
        for number in range(5):
            desk.done("memory_rethink", label="human", new_memory=str(number))
        block = desk.blocks()["human"]
        past = home.read(lambda conn: block_history.versions(conn, block.id, limit=100))
        assert [(each.version, each.value, each.actor, each.run_id) for each in past] == [
            (version, str(version - 2), desk.agent.id, "run-1") for version in (6, 5, 4)
        ]
        with pytest.raises(PerdureError, match="or no longer: the newest 3 are kept"):
            home.read(lambda conn: block_history.get(conn, block.id, 3))
