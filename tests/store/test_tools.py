"""Tools as stored: seeding, looking up, attaching."""

from collections.abc import Iterator, Sequence

import pytest

from perdure.domain.errors import Invalid, NotFound
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.tools import Tool
from perdure.store import agents, tools
from perdure.store.pages import Page
from perdure.store.tools import ToolFilter
from tests.memory.home import Home
from tests.rig.stores import Place
from tests.store.nouns import new_tool


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


def seeded(home: Home, *built_in: Tool) -> list[Tool]:
    home.write(lambda conn: tools.seed(conn, DEFAULT_TENANT, built_in))
    return home.read(lambda conn: tools.by_names(conn, DEFAULT_TENANT, [tool.name for tool in built_in]))


def names(found: Sequence[Tool]) -> list[str]:
    return [tool.name for tool in found]


def test_seeding_again_changes_nothing(home: Home) -> None:
    first = seeded(home, new_tool("a"), new_tool("b"))
    assert seeded(home, new_tool("a"), new_tool("b")) == first


def test_a_changed_tool_keeps_its_id_and_makes_its_agents_new(home: Home) -> None:
    with_it, without = home.agent(), home.agent()
    (before,) = seeded(home, new_tool("a"))
    home.write(lambda conn: tools.attach(conn, with_it.id, before.id))
    (after,) = seeded(home, new_tool("a", description="Better."))
    assert (after.id, after.created_at, after.description) == (before.id, before.created_at, "Better.")

    def version(agent_id: str) -> int | None:
        return home.write(lambda conn: agents.hold_version(conn, DEFAULT_TENANT, agent_id))

    assert (version(with_it.id), version(without.id)) == (2, 1)


def test_a_tool_that_somebody_wrote_is_left_alone(home: Home) -> None:
    (mine,) = seeded(home, new_tool("a", tool_type="custom", source_code="def a(): ..."))
    assert seeded(home, new_tool("a")) == [mine]


def test_unknown_tools_are_all_named(home: Home) -> None:
    (known,) = seeded(home, new_tool("a"))
    with pytest.raises(Invalid, match="Tools not found by name: x, y"):
        home.read(lambda conn: tools.by_names(conn, DEFAULT_TENANT, ["x", "a", "y"]))
    with pytest.raises(Invalid, match="Tools not found by id: tool-x"):
        home.read(lambda conn: tools.by_ids(conn, DEFAULT_TENANT, [known.id, "tool-x"]))
    with pytest.raises(NotFound, match="Tool with ID tool-x not found"):
        home.read(lambda conn: tools.get(conn, DEFAULT_TENANT, "tool-x"))


def test_an_agent_has_its_tools_in_the_order_of_attaching(home: Home) -> None:
    agent = home.agent()
    a, b = seeded(home, new_tool("a"), new_tool("b"))
    for tool in (b, a):
        assert home.write(lambda conn, tool=tool: tools.attach(conn, agent.id, tool.id))
    assert home.write(lambda conn: tools.attach(conn, agent.id, a.id)) is False
    assert names(home.read(lambda conn: tools.of_agent(conn, agent.id))) == ["b", "a"]
    assert home.write(lambda conn: tools.detach(conn, agent.id, b.id))
    assert home.write(lambda conn: tools.detach(conn, agent.id, b.id)) is False
    assert names(home.read(lambda conn: tools.of_agent(conn, agent.id))) == ["a"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ToolFilter(), ["mine", "write", "read"]),
        (ToolFilter(name="read"), ["read"]),
        (ToolFilter(names=("read", "mine")), ["mine", "read"]),
        (ToolFilter(ids=()), []),
        (ToolFilter(search="R"), ["write", "read"]),
        (ToolFilter(tool_types=("custom",)), ["mine"]),
        (ToolFilter(exclude_tool_types=("custom", "letta_core")), ["write"]),
        (ToolFilter(built_in_only=True), ["write", "read"]),
    ],
)
def test_filters(home: Home, wanted: ToolFilter, found: list[str]) -> None:
    write, mine = new_tool("write", tool_type="letta_builtin"), new_tool("mine", tool_type="custom")
    seeded(home, new_tool("read"), write, mine)
    assert names(home.read(lambda conn: tools.list_page(conn, DEFAULT_TENANT, wanted, Page()))) == found
    assert home.read(lambda conn: tools.count(conn, DEFAULT_TENANT, wanted)) == len(found)
