"""Editing blocks: what an edit does to the text, what it refuses, and what is stored of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from perdure.domain.agents import Agent
from perdure.domain.errors import Conflict, Invalid, NotFound
from perdure.domain.ids import DEFAULT_TENANT
from perdure.memory import blocks
from perdure.memory.blocks import LINE_NUMBER_WARNING, memory_insert, memory_replace
from perdure.store import blocks as block_store
from perdure.store.tables import block_history
from tests.memory.home import Home, new_block
from tests.rig.stores import Place

plain = st.text(st.characters(exclude_characters="\t\r→", exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(("line", "wanted"), [(0, "new\na\nb"), (1, "a\nnew\nb"), (2, "a\nb\nnew"), (-1, "a\nb\nnew")])
def test_insert_puts_text_after_the_line(line: int, wanted: str) -> None:
    assert memory_insert("a\nb", "new", line) == wanted


@pytest.mark.parametrize("line", [-1, 0, 1])
def test_insert_into_an_empty_block_adds_no_blank_line(line: int) -> None:
    assert memory_insert("", "first", line) == "first"


@pytest.mark.parametrize("line", [-2, 3, 2**62])
def test_insert_out_of_range_says_how_many_lines_there_are(line: int) -> None:
    with pytest.raises(Invalid, match=r"out of range: this block has 2 line"):
        memory_insert("a\nb", "new", line)


@given(plain.filter(bool), plain, st.data())
def test_insert_keeps_every_line(value: str, added: str, data: st.DataObject) -> None:
    lines = value.split("\n")
    at = data.draw(st.integers(0, len(lines)))
    assert memory_insert(value, added, at).split("\n") == lines[:at] + added.split("\n") + lines[at:]


@given(before=plain, old=plain.filter(bool), after=plain, new=plain)
def test_replace_changes_one_place_or_refuses(before: str, old: str, after: str, new: str) -> None:
    value = before + old + after
    places = sum(value.startswith(old, at) for at in range(len(value)))
    if places == 1:
        assert memory_replace(value, old, new) == before + new + after
    else:
        with pytest.raises(Invalid, match="more than once"):
            memory_replace(value, old, new)


def test_replace_without_a_match_says_zero() -> None:
    with pytest.raises(Invalid, match="occurs 0 times"):
        memory_replace("tea", "coffee", "water")


def test_replace_with_two_matches_names_their_lines() -> None:
    with pytest.raises(Invalid, match="on lines 1, 3"):
        memory_replace("likes tea\nlikes milk\nlikes tea", "likes tea", "x")


def test_replace_with_two_matches_on_one_line_names_it() -> None:
    with pytest.raises(Invalid, match=r"more than once, on line 2\."):
        memory_replace("a\nb b", "b", "x")


def test_replace_with_very_many_matches_stays_short() -> None:
    with pytest.raises(Invalid) as refused:
        memory_replace("x\n" * 50_000, "x", "y")
    assert "19, 20 and more" in refused.value.message
    assert len(refused.value.message) < 400


def test_replace_of_nothing_points_to_insert() -> None:
    with pytest.raises(Invalid, match="memory_insert"):
        memory_replace("a", "", "b")


@pytest.mark.parametrize(("old", "new"), [("a\tb", "c"), ("a       b", "c"), ("\tb", "c")])
def test_replace_finds_text_with_tabs_as_stored_and_as_shown(old: str, new: str) -> None:
    assert "\t" not in memory_replace("a\tb\n\tz", old, new)


def test_insert_expands_tabs() -> None:
    assert memory_insert("", "a\tb") == "a       b"


@pytest.mark.parametrize("copied", ["1→ likes tea", "a\n  12→b", f"x {LINE_NUMBER_WARNING}"])
def test_copied_line_numbers_are_refused(copied: str) -> None:
    for attempt in (
        lambda: memory_insert("a", copied),
        lambda: memory_replace("a", copied, "b"),
        lambda: memory_replace("a", "a", copied),
    ):
        with pytest.raises(Invalid, match="line numbers"):
            attempt()


def test_an_arrow_inside_a_line_is_text() -> None:
    assert memory_insert("", "go 1→2") == "go 1→2"


def test_an_edit_stores_the_value_a_version_and_who_made_it(place: Place) -> None:
    with Home(place) as home:
        agent = home.agent(new_block("human", "Bob"))

        def edit(conn: Connection) -> None:
            blocks.edit(
                conn, DEFAULT_TENANT, agent.id, agent.conversation_id, "human", lambda value: value + "!",
                actor=agent.id, run_id="run-1",
            )  # fmt: skip

        home.write(edit)
        stored = home.read(lambda conn: block_store.labelled(conn, agent.id, "human"))
        assert (stored.value, stored.version) == ("Bob!", 2)
        history = home.read(lambda conn: conn.execute(select(block_history).order_by(block_history.c.version)).all())
        assert [(row.value, row.actor, row.run_id) for row in history] == [
            ("Bob", "test", None),
            ("Bob!", agent.id, "run-1"),
        ]


def test_an_edit_of_an_unknown_label_lists_the_labels(place: Place) -> None:
    with Home(place) as home:
        agent = home.agent(new_block("human", ""), new_block("persona", ""))
        with pytest.raises(NotFound, match="human, persona"):
            home.write(_append_to(agent, "humans", "x"))


def test_a_read_only_block_is_left_alone(place: Place) -> None:
    with Home(place) as home:
        agent = home.agent(new_block("rules", "Be kind.", read_only=True))
        with pytest.raises(Invalid, match="read-only"):
            home.write(_append_to(agent, "rules", "x"))
        assert home.read(lambda conn: block_store.labelled(conn, agent.id, "rules")).value == "Be kind."


def test_the_limit_of_a_block_is_enforced(place: Place) -> None:
    with Home(place) as home:
        agent = home.agent(new_block("human", "12345", limit=6))
        home.write(_append_to(agent, "human", "6"))
        with pytest.raises(Invalid, match="limit of 6"):
            home.write(_append_to(agent, "human", "7"))
        assert home.read(lambda conn: block_store.labelled(conn, agent.id, "human")).value == "123456"


def test_a_change_by_another_agent_meanwhile_is_kept(place: Place) -> None:
    with Home(place) as home:
        agent = home.agent(new_block("shared", "a"))

        def edit(conn: Connection) -> str:
            faster = iter((True,))

            def change(value: str) -> str:
                if next(faster, False):
                    seen = block_store.labelled(conn, agent.id, "shared")
                    block_store.update_value(conn, DEFAULT_TENANT, seen, "theirs", actor="other")
                return value + "+mine"

            thread = agent.conversation_id
            return blocks.edit(conn, DEFAULT_TENANT, agent.id, thread, "shared", change, actor="me", run_id=None).value

        assert home.write(edit) == "theirs+mine"


def test_an_edit_that_never_gets_its_turn_gives_up(place: Place) -> None:
    with Home(place) as home:
        agent = home.agent(new_block("shared", "a"))

        def edit(conn: Connection) -> None:
            def change(value: str) -> str:
                seen = block_store.labelled(conn, agent.id, "shared")
                block_store.update_value(conn, DEFAULT_TENANT, seen, value + "theirs", actor="other")
                return value + "mine"

            thread = agent.conversation_id
            blocks.edit(conn, DEFAULT_TENANT, agent.id, thread, "shared", change, actor="me", run_id=None)

        with pytest.raises(Conflict):
            home.write(edit)


def _append_to(agent: Agent, label: str, text: str):
    def edit(conn: Connection) -> None:
        blocks.edit(
            conn, DEFAULT_TENANT, agent.id, agent.conversation_id, label, lambda value: value + text,
            actor="test", run_id=None,
        )  # fmt: skip

    return edit
