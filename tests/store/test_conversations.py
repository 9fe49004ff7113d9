"""Conversations as stored: addresses, pages, forks that share messages, blocks of their own, deletion."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, func, insert, select

from perdure.domain.agents import Agent
from perdure.domain.conversations import Conversation
from perdure.domain.errors import NotFound, Unprocessable
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.messages import Message, Role, TextPart
from perdure.domain.runs import Run
from perdure.memory.search import search_messages
from perdure.store import blocks, conversation_blocks, conversations, messages, runs
from perdure.store.conversations import ConversationFilter, OrderBy
from perdure.store.pages import Page
from perdure.store.tables import blocks as blocks_table
from perdure.store.tables import tenants
from tests.memory.home import MODEL, Home, new_block
from tests.rig.stores import Place

ANY = ConversationFilter()


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


def opened(home: Home, agent: Agent, **fields: Any) -> Conversation:
    """A new conversation of an agent, with a system message."""
    thread = msgspec.structs.replace(
        Conversation(id=new_id("conv"), agent_id=agent.id, created_at=1, updated_at=1), **fields
    )
    home.write(lambda conn: conversations.create(conn, DEFAULT_TENANT, thread))
    said(home, agent, thread.id, "You help.", "system")
    return thread


def said(home: Home, agent: Agent, conversation_id: str, text: str, role: Role = "user") -> Message:
    message = new_message(agent, text, role)
    home.write(lambda conn: messages.append(conn, DEFAULT_TENANT, conversation_id, (message,)))
    return message


def new_message(agent: Agent, text: str, role: Role) -> Message:
    return Message(id=new_id("message"), agent_id=agent.id, role=role, parts=(TextPart(text=text),), created_at=1)


def forked(home: Home, agent: Agent, source: Conversation, up_to: str | None = None) -> Conversation:
    fork = msgspec.structs.replace(source, id=new_id("conv"))
    system = new_message(agent, "You help here.", "system")

    def store(conn: Connection) -> None:
        conversations.create(conn, DEFAULT_TENANT, fork)
        messages.fork(conn, DEFAULT_TENANT, source.id, fork.id, system, up_to=up_to)

    home.write(store)
    return fork


def address(home: Home, name: str, agent_id: str | None = None) -> Conversation:
    return home.read(lambda conn: conversations.addressed(conn, DEFAULT_TENANT, name, agent_id))


def page(home: Home, wanted: ConversationFilter = ANY, order_by: OrderBy = "created_at", **which: Any) -> list[str]:
    found = home.read(lambda conn: conversations.list_page(conn, DEFAULT_TENANT, wanted, Page(**which), order_by))
    return [conversation.id for conversation in found]


def read(home: Home, conversation_id: str, **which: Any) -> list[str]:
    found = home.read(lambda conn: messages.history(conn, DEFAULT_TENANT, conversation_id=conversation_id, **which))
    return [message.text for message in found]


def context(home: Home, conversation: Conversation) -> list[str]:
    return [message.text for message in home.read(lambda conn: messages.context(conn, conversation.id))]


def test_a_conversation_comes_back_as_it_was_stored(home: Home) -> None:
    settings = {"temperature": 0.5, "extra": {"x": [1]}}
    thread = opened(
        home, home.agent(), model=MODEL, settings=settings, model_settings={"temperature": 0.5}, summary="s",
        context_window_limit=5_000, archived_at=3, hidden=True,
    )  # fmt: skip
    assert home.read(lambda conn: conversations.get(conn, DEFAULT_TENANT, thread.id)) == thread


def test_another_tenants_conversation_does_not_exist(home: Home) -> None:
    thread = opened(home, home.agent())
    home.write(lambda conn: conn.execute(insert(tenants).values(id="org-2", name="b", created_at=1, updated_at=1)))
    for find in (conversations.get, lambda conn, tenant, it: conversations.addressed(conn, tenant, it, None)):
        with pytest.raises(NotFound):
            home.read(lambda conn, find=find: find(conn, "org-2", thread.id))
    assert home.read(lambda conn: conversations.list_page(conn, "org-2", ANY, Page())) == []


def test_addresses(home: Home) -> None:
    agent, other = home.agent(), home.agent()
    thread = opened(home, agent)
    assert address(home, thread.id) == address(home, thread.id, agent.id) == thread
    default = address(home, agent.id)
    assert default.id == agent.conversation_id
    assert address(home, "default", agent.id) == default
    for name, whose in (
        (default.id, None),
        (thread.id, other.id),
        (new_id("conv"), None),
        (new_id("agent"), None),
        ("default", new_id("agent")),
    ):
        with pytest.raises(NotFound):
            address(home, name, whose)
    with pytest.raises(Unprocessable, match="whose default conversation"):
        address(home, "default")


def test_default_and_hidden_conversations_are_not_listed(home: Home) -> None:
    agent = home.agent()
    thread = opened(home, agent)
    opened(home, agent, hidden=True)
    assert page(home) == [thread.id]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ConversationFilter(archived=True), ["second"]),
        (ConversationFilter(archived=False), ["third", "first"]),
        (ConversationFilter(summary_search="100%"), ["first"]),
        (ConversationFilter(summary_search="SURE"), ["second", "first"]),
        (ConversationFilter(agent_id="nobody"), []),
    ],
)
def test_filters(home: Home, wanted: ConversationFilter, found: list[str]) -> None:
    agent = home.agent()
    made = {
        opened(home, agent, created_at=1, summary="100% sure").id: "first",
        opened(home, agent, created_at=2, summary="1000 sure", archived_at=9).id: "second",
        opened(home, agent, created_at=3).id: "third",
    }
    assert [made[conversation_id] for conversation_id in page(home, wanted)] == found


def test_orders_and_pages(home: Home) -> None:
    agent = home.agent()
    a, b, c = (opened(home, agent, created_at=at).id for at in range(3))
    home.write(lambda conn: conversations.spoken_to(conn, b, 50))
    home.write(lambda conn: conversations.spoken_to(conn, a, 60))
    ended = Run(id=new_id("run"), agent_id=agent.id, conversation_id=c, status="completed", created_at=1)

    def run(conn: Connection) -> None:
        runs.create(conn, DEFAULT_TENANT, ended, runs.Origin(request=b"{}"))
        runs.finish(
            conn, ended.id, status="completed", stop_reason="end_turn", usage=ended.usage, metadata={}, at=70,
            ttft_ns=None, total_ns=1,
        )  # fmt: skip

    home.write(run)
    assert page(home) == [c, b, a]
    assert page(home, order_by="last_message_at") == [a, b, c]
    assert page(home, order_by="last_run_completion")[0] == c
    assert page(home, order_by="last_message_at", after=a, limit=1) == [b]
    assert page(home, order_by="last_run_completion", after=c, ascending=True) == []
    assert page(home, ascending=True, before=c) == [a, b]
    with pytest.raises(NotFound):
        page(home, after=new_id("conv"))


def test_only_what_changed_is_written(home: Home) -> None:
    agent = home.agent()
    before = opened(home, agent, model=MODEL)
    home.write(lambda conn: conversations.spoken_to(conn, before.id, 5))
    after = msgspec.structs.replace(before, summary="s", model=None)
    changed = home.write(lambda conn: conversations.update(conn, DEFAULT_TENANT, before, after))
    stored = home.read(lambda conn: conversations.get(conn, DEFAULT_TENANT, before.id))
    assert (stored.summary, stored.model, stored.last_message_at) == ("s", None, 5)
    assert stored.updated_at == changed.updated_at > 1
    assert home.write(lambda conn: conversations.update(conn, DEFAULT_TENANT, stored, stored)) is stored


def test_conversations_of_one_agent_hold_their_own_messages(home: Home) -> None:
    agent = home.agent()
    first, second = opened(home, agent), opened(home, agent)
    said(home, agent, first.id, "to one")
    said(home, agent, second.id, "to two")
    assert context(home, first) == ["You help.", "to one"]
    assert read(home, second.id) == ["to two", "You help."]


def test_a_fork_begins_with_its_own_system_message_and_goes_its_own_way(home: Home) -> None:
    agent = home.agent()
    source = opened(home, agent)
    said(home, agent, source.id, "one")
    fork = forked(home, agent, source)
    said(home, agent, fork.id, "in the fork")
    said(home, agent, source.id, "in the source")
    again = forked(home, agent, fork)
    assert context(home, fork) == context(home, again) == ["You help here.", "one", "in the fork"]
    assert read(home, fork.id, newest_first=False) == context(home, fork)
    assert context(home, source) == ["You help.", "one", "in the source"]
    own = home.read(lambda conn: messages.system_messages(conn, agent.id))
    assert {thread: message.text for thread, message in own} == {
        source.id: "You help.", fork.id: "You help here.", again.id: "You help here.",
    }  # fmt: skip


def test_a_fork_up_to_a_message(home: Home) -> None:
    agent = home.agent()
    source = opened(home, agent)
    one, _ = said(home, agent, source.id, "one"), said(home, agent, source.id, "two")
    assert context(home, forked(home, agent, source, one.id)) == ["You help here.", "one"]
    elsewhere = said(home, agent, agent.conversation_id, "elsewhere")
    with pytest.raises(NotFound):
        forked(home, agent, source, elsewhere.id)
    home.write(lambda conn: messages.reset_context(conn, source.id))
    with pytest.raises(NotFound):
        forked(home, agent, source, one.id)


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_forks_history_is_paged_without_gaps(home: Home, newest_first: bool) -> None:
    agent = home.agent()
    source = opened(home, agent)
    for text in ("one", "two", "three"):
        said(home, agent, source.id, text)
    fork = forked(home, agent, source)
    said(home, agent, fork.id, "four")
    whole = home.read(lambda conn: messages.history(conn, DEFAULT_TENANT, conversation_id=fork.id, newest_first=False))
    ids = [message.id for message in (whole[::-1] if newest_first else whole)]
    assert len(ids) == 5
    for towards, walk in (("forth", ids), ("back", ids[::-1])):
        cursor = "before" if newest_first == (towards == "forth") else "after"
        seen = walk[:1]
        while found := home.read(
            lambda conn, cursor=cursor, seen=seen: messages.history(
                conn, DEFAULT_TENANT, conversation_id=fork.id, newest_first=newest_first, limit=2, **{cursor: seen[-1]}
            )
        ):
            seen += [message.id for message in (found if towards == "forth" else found[::-1])]
        assert seen == walk


def test_a_limit_counts_what_is_kept(home: Home) -> None:
    agent = home.agent()
    thread = opened(home, agent)
    for number in range(250):
        said(home, agent, thread.id, "rare" if number % 100 == 0 else "often")

    def rare(message: Message) -> bool:
        return message.text == "rare"

    assert read(home, thread.id, limit=2, keep=rare) == ["rare", "rare"]
    assert read(home, thread.id, limit=5, keep=rare, newest_first=False) == ["rare"] * 3
    assert read(home, thread.id, limit=1, keep=lambda message: message.role == "system") == ["You help."]


def test_a_cursor_of_another_conversation_is_unknown(home: Home) -> None:
    agent = home.agent()
    first, second = opened(home, agent), opened(home, agent)
    message = said(home, agent, first.id, "one")
    with pytest.raises(NotFound):
        read(home, second.id, after=message.id)


def test_what_a_conversation_has_for_itself_stands_in_the_place_of_the_agents_block(home: Home) -> None:
    human, persona = new_block("human", "Bob", tags=("t",)), new_block("persona", "I")
    agent = home.agent(human, persona)
    thread, other = opened(home, agent), opened(home, agent)
    home.write(lambda conn: conversation_blocks.isolate(conn, DEFAULT_TENANT, thread.id, [human], actor="a"))
    copy, kept = home.read(lambda conn: conversation_blocks.shown_in(conn, agent.id, thread.id))
    assert (copy.label, copy.value, copy.tags, copy.hidden) == ("human", "Bob", ("t",), True)
    assert copy.id != human.id
    assert kept == persona
    assert home.read(lambda conn: conversation_blocks.shown_in(conn, agent.id, other.id)) == (human, persona)
    assert home.read(lambda conn: conversation_blocks.of_agent(conn, agent.id)) == {thread.id: [copy]}
    assert home.read(lambda conn: blocks.agents_of(conn, copy.id)) == (agent.id,)

    home.write(lambda conn: blocks.detach(conn, agent.id, human.id))
    assert home.read(lambda conn: conversation_blocks.shown_in(conn, agent.id, thread.id)) == (persona, copy)
    renamed = msgspec.structs.replace(copy, label="persona")
    home.write(lambda conn: blocks.update(conn, DEFAULT_TENANT, copy, renamed, actor="a"))
    (shown,) = home.read(lambda conn: conversation_blocks.shown_in(conn, agent.id, thread.id))
    assert shown.id == copy.id


def test_deleting_a_conversation_leaves_what_a_fork_shares(home: Home) -> None:
    human = new_block("human", "Bob")
    agent = home.agent(human)
    source = opened(home, agent)
    said(home, agent, source.id, "shared pineapple")
    fork = forked(home, agent, source)
    said(home, agent, source.id, "private pineapple")
    home.write(lambda conn: conversation_blocks.isolate(conn, DEFAULT_TENANT, source.id, [human], actor="a"))
    run = Run(id=new_id("run"), agent_id=agent.id, conversation_id=source.id, status="completed", created_at=1)
    home.write(lambda conn: runs.create(conn, DEFAULT_TENANT, run, runs.Origin(request=b"{}")))

    home.write(lambda conn: conversations.delete(conn, DEFAULT_TENANT, source))
    assert context(home, fork) == ["You help here.", "shared pineapple"]
    found = home.read(lambda conn: search_messages(conn, DEFAULT_TENANT, [agent.id], "pineapple", limit=9))
    assert [message.text for message, _ in found] == ["shared pineapple"]
    assert len(home.read(lambda conn: messages.history(conn, DEFAULT_TENANT, agent_id=agent.id))) == 2
    assert home.read(lambda conn: conn.execute(select(func.count()).select_from(blocks_table)).scalar_one()) == 1
    for gone in (lambda conn: runs.get(conn, DEFAULT_TENANT, run.id), lambda conn: address_of(conn, source)):
        with pytest.raises(NotFound):
            home.read(gone)


def address_of(conn: Connection, conversation: Conversation) -> Conversation:
    return conversations.get(conn, DEFAULT_TENANT, conversation.id)


def test_the_run_of_an_otid_is_found_in_its_stored_request(home: Home) -> None:
    agent = home.agent()
    for text in ("first_otid", "second%otid"):
        run = Run(
            id=f"run-{text}", agent_id=agent.id, conversation_id=agent.conversation_id, status="completed", created_at=1
        )
        request = b'{"input":[{"otid":"%s"}]}' % text.encode()
        home.write(
            lambda conn, run=run, request=request: runs.create(conn, DEFAULT_TENANT, run, runs.Origin(request=request))
        )

    def find(part: str) -> str | None:
        return home.read(lambda conn: runs.find_by_request(conn, agent.conversation_id, part))

    assert find('"otid":"first_otid"') == "run-first_otid"
    assert find('"otid":"second%otid"') == "run-second%otid"
    assert find('"otid":"firstXotid"') is None
    assert find('"otid":"%"') is None
