"""Blocks as stored: limits, versions, labels, filters."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from perdure.domain.blocks import Block
from perdure.domain.errors import Conflict, Invalid, NotFound
from perdure.domain.ids import DEFAULT_TENANT
from perdure.store import blocks
from perdure.store.blocks import BlockFilter
from perdure.store.pages import Page
from perdure.store.tables import block_history
from tests.memory.home import Home, new_block
from tests.rig.stores import Place


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


def stored(home: Home, *made: Block) -> None:
    for block in made:
        home.write(lambda conn, block=block: blocks.create(conn, DEFAULT_TENANT, block, actor="ada"))


def change(home: Home, block: Block, **fields: Any) -> Block:
    after = msgspec.structs.replace(block, **fields)
    return home.write(lambda conn: blocks.update(conn, DEFAULT_TENANT, block, after, actor="bob", run_id="run-1"))


def test_a_block_comes_back_as_it_was_stored(home: Home) -> None:
    block = new_block("human", "x", tags=("a", "b"), metadata={"k": 1}, read_only=True, template_name="t")
    stored(home, block)
    assert home.read(lambda conn: blocks.get(conn, DEFAULT_TENANT, block.id)) == block


def test_every_value_is_remembered_with_who_wrote_it(home: Home) -> None:
    block = new_block("human", "one")
    stored(home, block)
    block = change(home, block, value="two")
    block = change(home, block, description="no new value")
    assert change(home, block, value="two") is block
    history = select(block_history.c["version", "value", "actor", "run_id"]).order_by(block_history.c.version)
    rows = home.read(lambda conn: [tuple(row) for row in conn.execute(history)])
    assert rows == [(1, "one", "ada", None), (2, "two", "bob", "run-1")]
    assert home.read(lambda conn: blocks.get(conn, DEFAULT_TENANT, block.id)) == block


def test_a_lost_update_is_refused(home: Home) -> None:
    block = new_block("human", "one")
    stored(home, block)
    change(home, block, value="two")
    with pytest.raises(Conflict, match="changed by someone else"):
        change(home, block, value="three")


def test_the_limit_holds(home: Home) -> None:
    with pytest.raises(Invalid, match="4 characters, 1 more than its limit of 3"):
        stored(home, new_block("human", "abcd", limit=3))
    block = new_block("human", "abc", limit=3)
    stored(home, block)
    with pytest.raises(Invalid):
        change(home, block, value="abcd")
    with pytest.raises(Invalid):
        change(home, block, limit=2)
    assert change(home, block, value="abcd", limit=4).value == "abcd"


def test_a_block_over_its_limit_may_be_shortened_bit_by_bit(home: Home) -> None:
    block = new_block("human", "abcdef")
    stored(home, block)
    over = msgspec.structs.replace(block, limit=3)
    home.write(lambda conn: conn.exec_driver_sql('UPDATE blocks SET "limit" = 3'))
    assert change(home, over, value="abcde").value == "abcde"


def test_labels_are_unique_on_an_agent(home: Home) -> None:
    human, persona = new_block("human", "x"), new_block("persona", "y")
    agent = home.agent(human, persona)
    other = new_block("human", "z")
    stored(home, other)
    with pytest.raises(Conflict, match="label 'human'"):
        home.write(lambda conn: blocks.attach(conn, agent.id, other))
    with pytest.raises(Conflict, match="label 'human'"):
        change(home, persona, label="human")
    assert home.write(lambda conn: blocks.attach(conn, agent.id, human)) is False
    assert change(home, persona, label="self").label == "self"
    assert [block.label for block in home.read(lambda conn: blocks.of_agent(conn, agent.id))] == ["human", "self"]


def test_detaching_twice_is_not_found(home: Home) -> None:
    block = new_block("human", "x")
    agent = home.agent(block)
    home.write(lambda conn: blocks.detach(conn, agent.id, block.id))
    assert home.read(lambda conn: blocks.of_agent(conn, agent.id)) == ()
    with pytest.raises(NotFound):
        home.write(lambda conn: blocks.detach(conn, agent.id, block.id))


def test_a_missing_label_names_those_there_are(home: Home) -> None:
    agent = home.agent(new_block("human", "x"), new_block("persona", "y"))
    with pytest.raises(NotFound, match="'pet' not found on this agent, which has: human, persona"):
        home.read(lambda conn: blocks.labelled(conn, agent.id, "pet"))


def test_deleting_a_block_takes_it_from_its_agents(home: Home) -> None:
    block = new_block("human", "x")
    agent = home.agent(block)
    assert home.read(lambda conn: blocks.agents_of(conn, block.id)) == (agent.id,)
    home.write(lambda conn: blocks.delete(conn, DEFAULT_TENANT, block.id))
    assert home.read(lambda conn: blocks.of_agent(conn, agent.id)) == ()
    with pytest.raises(NotFound):
        home.write(lambda conn: blocks.delete(conn, DEFAULT_TENANT, block.id))


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [
        (BlockFilter(label="one"), ["one"]),
        (BlockFilter(label_search="O"), ["two", "one"]),
        (BlockFilter(value_search="100%"), ["one"]),
        (BlockFilter(description_search="second"), ["two"]),
        (BlockFilter(tags=("x", "y")), ["two", "one"]),
        (BlockFilter(tags=("x", "y"), match_all_tags=True), ["two"]),
        (BlockFilter(read_only=True), ["two"]),
        (BlockFilter(name="template"), ["one"]),
        (BlockFilter(templates_only=True), ["one"]),
        (BlockFilter(agents_more_than=0), ["held"]),
        (BlockFilter(agents_fewer_than=1), ["two", "one"]),
        (BlockFilter(agents_exactly=(0, 5)), ["two", "one"]),
        (BlockFilter(show_hidden=True), ["hidden", "held", "two", "one"]),
    ],
)
def test_filters(home: Home, wanted: BlockFilter, labels: list[str]) -> None:
    first = new_block("one", "100% sure", tags=("x",), template_name="template", is_template=True)
    second = new_block("two", "1000", tags=("x", "y"), description="The second", read_only=True)
    made = [first, second, new_block("held", ""), new_block("hidden", "", hidden=True)]
    made = [msgspec.structs.replace(block, created_at=at) for at, block in enumerate(made)]
    stored(home, made[0], made[1], made[3])
    home.agent(made[2])
    found = home.read(lambda conn: blocks.list_page(conn, DEFAULT_TENANT, wanted, Page()))
    assert [block.label for block in found] == labels
    assert home.read(lambda conn: blocks.count(conn, DEFAULT_TENANT, wanted)) == len(labels)


def test_an_unknown_block_is_named(home: Home) -> None:
    block = new_block("human", "x")
    stored(home, block)
    with pytest.raises(NotFound, match="Block with ID block-no not found"):
        home.read(lambda conn: blocks.by_ids(conn, DEFAULT_TENANT, [block.id, "block-no"]))
