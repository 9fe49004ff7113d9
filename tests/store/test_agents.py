"""Agents as stored: pages, filters, versions, relations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, event, insert

from perdure.domain.agents import Agent
from perdure.domain.errors import Conflict, NotFound
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.store import agents, blocks, identities, secrets, tools
from perdure.store.agents import AgentFilter
from perdure.store.pages import Page
from perdure.store.secrets import Vault, open_vault
from perdure.store.tables import identities as identity_table
from perdure.store.tables import tenants
from tests.memory.home import Home, new_block
from tests.rig.stores import Place
from tests.store.nouns import new_tool

ANY = AgentFilter()


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return open_vault(tmp_path, "pass")


def change(home: Home, agent: Agent, **fields: Any) -> Agent:
    after = msgspec.structs.replace(agent, **fields)
    return home.write(lambda conn: agents.update(conn, DEFAULT_TENANT, agent, after))


def page(home: Home, wanted: AgentFilter = ANY, **which: Any) -> list[str]:
    found = home.read(lambda conn: agents.list_page(conn, DEFAULT_TENANT, wanted, Page(**which)))
    return [agent.name for agent in found]


def named(home: Home, *names: str) -> list[Agent]:
    """Agents with these names, made one after the other."""
    made = [home.agent() for _ in names]
    return [
        change(home, agent, name=name, created_at=at) for at, (name, agent) in enumerate(zip(names, made, strict=True))
    ]


def test_an_agent_comes_back_as_it_was_stored(home: Home) -> None:
    agent = home.agent(metadata={"a": [1, None]}, tool_rules=({"type": "exit_loop", "tool_name": "x"},), hidden=False)
    assert home.read(lambda conn: agents.get(conn, DEFAULT_TENANT, agent.id)) == agent


def test_another_tenants_agent_does_not_exist(home: Home) -> None:
    agent = home.agent()
    home.write(lambda conn: conn.execute(insert(tenants).values(id="org-2", name="b", created_at=1, updated_at=1)))
    with pytest.raises(NotFound, match=f"Agent with ID {agent.id} not found"):
        home.read(lambda conn: agents.get(conn, "org-2", agent.id))
    assert home.write(lambda conn: agents.hold_version(conn, "org-2", agent.id)) is None
    assert home.read(lambda conn: agents.list_page(conn, "org-2", ANY, Page())) == []


def test_only_what_a_model_sees_makes_a_new_version(home: Home) -> None:
    agent = home.agent()
    assert change(home, agent, description="d", metadata={"x": 1}).version == 1
    assert change(home, agent, system="Other.").version == 2
    home.write(lambda conn: agents.bump(conn, agent.id))
    assert home.write(lambda conn: agents.hold_version(conn, DEFAULT_TENANT, agent.id)) == 3


def test_an_edit_of_an_outdated_agent_is_refused(home: Home) -> None:
    agent = home.agent()
    change(home, agent, system="First.")
    with pytest.raises(Conflict, match="Read it again"):
        change(home, agent, system="Second.")


def test_the_end_of_a_run_is_noted_without_a_new_version(home: Home) -> None:
    agent = home.agent()
    home.write(lambda conn: agents.record_run(conn, agent.id, 7_000, 12, "end_turn"))
    found = home.read(lambda conn: agents.get(conn, DEFAULT_TENANT, agent.id))
    assert (found.last_run_completion, found.last_run_duration_ms, found.last_stop_reason) == (7_000, 12, "end_turn")
    assert (found.version, found.updated_at) == (agent.version, agent.updated_at)


def test_cursors_follow_the_order_asked_for(home: Home) -> None:
    a, b, c, d = named(home, "a", "b", "c", "d")
    assert page(home) == ["d", "c", "b", "a"]
    assert page(home, limit=2, after=c.id) == ["b", "a"]
    assert page(home, limit=2, before=a.id) == ["c", "b"]
    assert page(home, ascending=True, limit=2, after=b.id) == ["c", "d"]
    assert page(home, ascending=True, limit=2, before=d.id) == ["b", "c"]
    assert page(home, ascending=True, after=a.id, before=d.id) == ["b", "c"]
    assert page(home, after=a.id) == []


def test_every_agent_is_on_exactly_one_page_even_with_equal_times(home: Home) -> None:
    made = {home.agent().id for _ in range(7)}

    def after(cursor: str | None) -> list[str]:
        found = home.read(lambda conn: agents.list_page(conn, DEFAULT_TENANT, ANY, Page(limit=3, after=cursor)))
        return [agent.id for agent in found]

    seen: list[str] = []
    while batch := after(seen[-1] if seen else None):
        seen += batch
    assert sorted(seen) == sorted(made)


def test_an_unknown_cursor_is_not_found(home: Home) -> None:
    with pytest.raises(NotFound, match="Agent with ID agent-nowhere not found"):
        page(home, after="agent-nowhere")


def test_agents_that_never_ran_come_last_by_last_run(home: Home) -> None:
    _, ran = named(home, "idle", "ran")
    home.write(lambda conn: agents.record_run(conn, ran.id, 5, 1, "end_turn"))

    def by_run(**which: Any) -> list[str]:
        wanted = Page(**which)
        found = home.read(lambda conn: agents.list_page(conn, DEFAULT_TENANT, ANY, wanted, "last_run_completion"))
        return [agent.name for agent in found]

    assert by_run() == ["ran", "idle"]
    assert by_run(after=ran.id) == ["idle"]


def test_filters(home: Home) -> None:
    one, two, three = named(home, "Tax 100%", "Taxi", "secret")
    change(home, three, hidden=True)
    block = new_block("human", "x")

    def prepare(conn: Connection) -> None:
        agents.set_tags(conn, one.id, ["a", "b", "a"])
        agents.set_tags(conn, two.id, ["b"])
        agents.record_run(conn, two.id, 1, 1, "error")
        blocks.create(conn, DEFAULT_TENANT, block, actor="test")
        blocks.attach(conn, two.id, block)
        row = {"id": "identity-1", "identifier_key": "k", "name": "n", "identity_type": "user", "properties": []}
        conn.execute(insert(identity_table).values(**row, tenant_id=DEFAULT_TENANT, created_at=1, updated_at=1))
        identities.set_of_agent(conn, DEFAULT_TENANT, one.id, ["identity-1"])

    home.write(prepare)
    assert page(home, AgentFilter(query_text="tAX")) == ["Taxi", "Tax 100%"]
    assert page(home, AgentFilter(query_text="0%")) == ["Tax 100%"]
    assert page(home, AgentFilter(query_text="_ax")) == []
    assert page(home, AgentFilter(name="Taxi")) == ["Taxi"]
    assert page(home, AgentFilter(tags=("a", "b"))) == ["Taxi", "Tax 100%"]
    assert page(home, AgentFilter(tags=("a", "b"), match_all_tags=True)) == ["Tax 100%"]
    assert page(home, AgentFilter(last_stop_reason="error")) == ["Taxi"]
    assert page(home, AgentFilter(block_id=block.id)) == ["Taxi"]
    assert page(home, AgentFilter(identity_id="identity-1")) == ["Tax 100%"]
    assert page(home, AgentFilter(identifier_keys=("k", "other"))) == ["Tax 100%"]
    assert page(home, AgentFilter(show_hidden=True)) == ["secret", "Taxi", "Tax 100%"]
    assert home.read(lambda conn: agents.count(conn, DEFAULT_TENANT, AgentFilter(tags=("b",)))) == 2


def test_an_unknown_identity_is_named(home: Home) -> None:
    agent = home.agent()
    with pytest.raises(NotFound, match="Identity with ID identity-9 not found"):
        home.write(lambda conn: identities.set_of_agent(conn, DEFAULT_TENANT, agent.id, ["identity-9"]))


def test_tags_are_paged_by_name(home: Home) -> None:
    agent = home.agent()
    home.write(lambda conn: agents.set_tags(conn, agent.id, ["red", "green", "blue"]))

    def tags(page: Page, **wanted: str) -> list[str]:
        return home.read(lambda conn: agents.list_tags(conn, DEFAULT_TENANT, page, **wanted))

    assert tags(Page(ascending=True)) == ["blue", "green", "red"]
    assert tags(Page(ascending=True, after="blue", limit=1)) == ["green"]
    assert tags(Page(ascending=True, before="red", limit=1)) == ["green"]
    assert tags(Page(), query_text="RE") == ["red", "green"]


def test_relations_of_a_page_cost_the_same_for_one_agent_and_for_many(home: Home, vault: Vault) -> None:
    found = [home.agent(new_block("human", "x", tags=("t",))) for _ in range(5)]

    def prepare(conn: Connection) -> None:
        for index, agent in enumerate(found):
            tool = new_tool(f"tool_{index}")
            tools.seed(conn, DEFAULT_TENANT, [tool])
            tools.attach(conn, agent.id, tools.by_names(conn, DEFAULT_TENANT, [tool.name])[0].id)
            agents.set_tags(conn, agent.id, [f"tag {index}"])
            secrets.replace(conn, agent.id, {"KEY": f"value {index}"}, vault)

    home.write(prepare)
    last = home.say(found[4], "system", "hello")

    def counted(conn: Connection, these: list[Agent]) -> tuple[int, list[Any]]:
        sent: list[str] = []

        def note(*call: Any) -> None:
            sent.append(call[2])

        event.listen(conn, "before_cursor_execute", note)
        details = agents.details_of(conn, these, vault)
        event.remove(conn, "before_cursor_execute", note)
        return len(sent), details

    few, _ = home.read(lambda conn: counted(conn, found[:1]))
    many, details = home.read(lambda conn: counted(conn, found))
    assert few == many
    shown = details[4]
    assert ([block.label for block in shown.blocks], [tool.name for tool in shown.tools]) == (["human"], ["tool_4"])
    assert (shown.tags, shown.secrets[0].value, shown.message_ids) == (("tag 4",), "value 4", (last.id,))


def test_deleting_an_agent_leaves_its_blocks(home: Home) -> None:
    block = new_block("human", "x")
    agent = home.agent(block)
    home.say(agent, "user", "hi")
    home.write(lambda conn: agents.delete(conn, DEFAULT_TENANT, agent.id))
    assert home.read(lambda conn: blocks.get(conn, DEFAULT_TENANT, block.id)) == block
    with pytest.raises(NotFound):
        home.write(lambda conn: agents.delete(conn, DEFAULT_TENANT, new_id("agent")))
