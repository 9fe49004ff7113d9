"""Searching history: what is found for whom, by words, role and date, and that a query is never more than words."""

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, text

from perdure.domain.agents import Agent
from perdure.domain.errors import Invalid
from perdure.domain.ids import DEFAULT_TENANT, new_id, now
from perdure.domain.messages import Message, Role, TextPart, ToolCallPart, ToolReturnPart
from perdure.memory.search import CONTENT_CHARS, conversation_search, search_messages, time_ago
from perdure.store import messages, search
from perdure.store.message_search import MESSAGES
from perdure.store.tables import messages as message_table
from tests.memory.home import Home
from tests.rig.stores import Place


def found(home: Home, agent: Agent, query: str = "", **conditions: Any) -> list[str]:
    """The contents found, in order."""
    return [result["content"] for result in asked(home, agent, query, **conditions)["results"]]


def asked(home: Home, agent: Agent, query: str = "", tenant: str = DEFAULT_TENANT, **conditions: Any) -> dict[str, Any]:
    return json.loads(home.read(lambda conn: conversation_search(conn, tenant, agent, query, **conditions)))


def at(moment: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1_000_000)


@pytest.fixture
def home(place: Place):
    with Home(place) as opened:
        yield opened


def test_the_best_match_comes_first(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", "I moved to Lisbon and bought a red bicycle")
    home.say(agent, "assistant", "A bicycle is a fine thing")
    home.say(agent, "user", "Nothing of the kind")
    result = asked(home, agent, "red bicycle")
    assert [entry["role"] for entry in result["results"]] == ["user", "assistant", "user"]
    relevances = [entry["relevance"] for entry in result["results"]]
    assert relevances == sorted(relevances, reverse=True)
    assert (relevances[0], relevances[1] < 1) == (1, True)
    assert result["message"].startswith("Found 3 messages")
    assert result["results"][0]["time_ago"] == "just now"


def test_words_match_in_other_forms_and_without_accents(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", "We were running past the Café")
    assert found(home, agent, "runs") == found(home, agent, "CAFE") == ["We were running past the Café"]


@pytest.mark.parametrize("query", ["世界", "你好", "界", "こんにちは"])
def test_scripts_without_spaces_are_found_by_a_part(home: Home, query: str) -> None:
    agent = home.agent()
    home.say(agent, "user", "你好世界 こんにちは皆さん")
    home.say(agent, "user", "something else")
    assert found(home, agent, query)[0] == "你好世界 こんにちは皆さん"


@pytest.mark.parametrize("query", ["", "   ", "***", "?!", "🎉", '"', "\x00", "\ud800"])
def test_a_query_without_a_word_gives_the_newest(home: Home, query: str) -> None:
    agent = home.agent()
    for number in range(7):
        home.say(agent, "user", f"number {number}")
    result = asked(home, agent, query)
    assert [entry["content"] for entry in result["results"]] == [f"number {number}" for number in (6, 5, 4, 3, 2)]
    assert "relevance" not in result["results"][0]


@pytest.mark.parametrize(
    "query", ['" OR *', "tea AND NOT milk", "NEAR(tea milk)", 'tea" OR "', "text:tea", "tea*", "^tea", "(tea", "-tea"]
)
def test_syntax_in_a_query_is_only_words(home: Home, query: str) -> None:
    agent = home.agent()
    home.say(agent, "user", "tea")
    home.say(home.agent(), "user", "tea or not near anyone")
    assert set(found(home, agent, query)) <= {"tea"}


def test_any_text_can_be_a_query(home: Home) -> None:
    agent, other = home.agent(), home.agent()
    home.say(agent, "user", "plain words 世界 naïve 42")
    home.say(other, "user", "a secret of another agent")

    @given(
        st.text(st.characters(), max_size=80) | st.from_regex(r'("|\*|OR|NEAR|\(|\)|:|\^|a| ){1,20}', fullmatch=True)
    )
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def ask(query: str) -> None:
        assert set(found(home, agent, query)) <= {"plain words 世界 naïve 42"}

    ask()


def test_another_agent_and_another_tenant_find_nothing(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", "the canary sings")
    assert found(home, home.agent(), "canary") == []
    assert found(home, agent, "canary", tenant="org-other") == []
    assert found(home, agent, tenant="org-other") == []


def test_send_message_is_what_the_agent_said(home: Home) -> None:
    agent = home.agent(agent_type="memgpt_agent")
    call = ToolCallPart(call_id="c", name="send_message", arguments='{"message": "Your dog is called Rex."}')
    home.say(agent, "assistant", call)
    assert found(home, agent, "dog") == ["Your dog is called Rex."]


def test_the_question_that_is_being_answered_is_not_its_own_answer(home: Home) -> None:
    agent = home.agent()
    question = Message(
        id=new_id("message"), agent_id=agent.id, role="user", parts=(TextPart(text="Where does the heron nest?"),),
        created_at=2, run_id="run-1",
    )  # fmt: skip
    home.write(lambda conn: messages.append(conn, DEFAULT_TENANT, agent.conversation_id, (question,)))
    assert found(home, agent, "heron nest", run_id="run-1") == ["Where does the heron nest?"]
    home.say(agent, "user", "A heron nests at the mill")
    assert found(home, agent, "heron nest", run_id="run-1") == ["A heron nests at the mill"]
    assert "Where does the heron nest?" in found(home, agent, "heron nest", run_id="run-2")
    assert "Where does the heron nest?" in found(home, agent, run_id="run-1")


def test_who_said_a_message_is_known_by_its_name(home: Home) -> None:
    agent = home.agent()
    for name in ("Anna", "Tom"):
        said = Message(
            id=new_id("message"), agent_id=agent.id, role="user", parts=(TextPart(text="I went to the sea"),),
            created_at=1, name=name,
        )  # fmt: skip
        home.write(lambda conn, said=said: messages.append(conn, DEFAULT_TENANT, agent.conversation_id, (said,)))
    hits = home.read(lambda conn: search_messages(conn, DEFAULT_TENANT, [agent.id], "Where did Anna go?", limit=5))
    assert [message.name for message, _ in hits] == ["Anna", "Tom"]
    hits = home.read(lambda conn: search_messages(conn, DEFAULT_TENANT, [agent.id], "Where did Tom go?", limit=5))
    assert [message.name for message, _ in hits] == ["Tom", "Anna"]


def test_tool_returns_are_found_when_asked_for_and_never_its_own(home: Home) -> None:
    agent = home.agent()
    for name in ("weather", "conversation_search", "send_message"):
        home.say(agent, "tool", ToolReturnPart(call_id="c", name=name, status="success", text=f"sunny, says {name}"))
    assert found(home, agent, "sunny") == []
    assert found(home, agent, "sunny", roles=["tool"]) == ["sunny, says weather"]
    assert found(home, agent, roles=["tool"]) == ["sunny, says weather"]


def test_messages_of_the_server_are_not_found_and_wrapped_ones_are(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", '{"type":"heartbeat","reason":"tick","time":"now"}')
    home.say(agent, "user", '{"type":"user_message","message":"tick tock","time":"now"}')
    home.say(agent, "user", '{"my": "json tick"')
    assert found(home, agent, "tick tock") == ["tick tock", '{"my": "json tick"']


def test_deeply_nested_text_is_stored_and_found(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", '{"type":"login","x":' + "[" * 20_000)
    assert len(found(home, agent, "login")) == 1


def test_a_rewritten_message_is_found_by_its_new_words(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", "old words")
    message = home.read(lambda conn: messages.context(conn, agent.conversation_id))[-1]
    home.write(lambda conn: messages.rewrite(conn, DEFAULT_TENANT, message, (TextPart(text="new thing"),)))
    assert (found(home, agent, "old"), found(home, agent, "thing")) == ([], ["new thing"])


def test_forgetting_an_agent_leaves_nothing_of_it_in_the_index(home: Home) -> None:
    agent, other = home.agent(), home.agent()
    home.say(agent, "user", "mine")
    home.say(other, "user", "theirs")
    home.write(lambda conn: search.forget(conn, MESSAGES, agent.id))
    assert (found(home, agent), found(home, other)) == ([], ["theirs"])


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ({"start_date": "2026-03-02"}, ["third", "second", "last of first"]),
        ({"end_date": "2026-03-01"}, ["first"]),
        ({"start_date": "2026-03-02", "end_date": "2026-03-02"}, ["second", "last of first"]),
        ({"end_date": "2026-03-02T10:00"}, ["second", "last of first", "first"]),
        ({"end_date": "2026-03-02T09:59:59"}, ["last of first", "first"]),
        ({"start_date": "2026-03-02T09:00:00Z"}, ["third", "second"]),
        ({"start_date": "0001-01-01", "end_date": "9999-12-31"}, ["third", "second", "last of first", "first"]),
    ],
)
def test_dates_are_the_agents_own_and_both_included(home: Home, conditions: dict[str, str], wanted: list[str]) -> None:
    agent = home.agent(timezone="Europe/Berlin")
    home.say(agent, "user", "first", at("2026-03-01T12:00", "Europe/Berlin"))
    home.say(agent, "user", "last of first", at("2026-03-01T23:30", "UTC"))
    home.say(agent, "user", "second", at("2026-03-02T10:00", "Europe/Berlin") + 400_000)
    home.say(agent, "user", "third", at("2026-03-03T00:00", "Europe/Berlin"))
    assert found(home, agent, **conditions) == wanted


def test_times_are_shown_in_the_agents_timezone(home: Home) -> None:
    agent = home.agent(timezone="America/New_York")
    home.say(agent, "user", "hello", at("2026-01-01T12:00"))
    assert asked(home, agent, "hello")["results"][0]["timestamp"] == "2026-01-01T07:00:00-05:00"


@pytest.mark.parametrize("bad", ["yesterday", "2026-13-01", "2026-02", "x" * 400, "2026-01-01T25:00"])
def test_a_bad_date_is_told(home: Home, bad: str) -> None:
    agent = home.agent()
    for name in ("start_date", "end_date"):
        with pytest.raises(Invalid, match=f"{name} .* is not a date"):
            asked(home, agent, **{name: bad})


def test_dates_in_the_wrong_order_are_told(home: Home) -> None:
    with pytest.raises(Invalid, match="Swap"):
        asked(home, home.agent(), start_date="2026-02-02", end_date="2026-02-01")


def test_limits(home: Home) -> None:
    agent = home.agent()
    for number in range(55):
        home.say(agent, "user", f"tea {number}")
    assert len(found(home, agent, "tea")) == 5
    assert len(found(home, agent, "tea", limit=7)) == 7
    assert len(found(home, agent, "tea", limit=2**40)) == 50
    with pytest.raises(Invalid, match="limit is 0"):
        found(home, agent, "tea", limit=0)


def test_a_huge_message_is_shown_in_part(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", "whale " * 10_000)
    content = found(home, agent, "whale")[0]
    assert len(content) < CONTENT_CHARS + 50
    assert content.endswith("more characters]")


@pytest.mark.stores("sqlite")
def test_a_query_is_answered_from_the_index_and_not_by_reading_history(home: Home) -> None:
    agent = home.agent()
    home.say(agent, "user", "needle")
    plans: list[str] = []

    def explain(conn: Connection) -> None:
        driver = conn.info["driver"]
        driver.set_trace_callback(plans.append)
        for query in ("needle", ""):
            search_messages(conn, DEFAULT_TENANT, [agent.id], query, roles=("user",), start=None, end=None, limit=5)
        driver.set_trace_callback(None)
        ran = [statement for statement in plans if "messages.seq" in statement]
        plans[:] = ["; ".join(row[-1] for row in conn.execute(text(f"EXPLAIN QUERY PLAN {one}"))) for one in ran]

    home.read(explain)
    assert len(plans) >= 4
    assert "SCAN messages" not in "".join(plans)
    newest = next(plan for plan in plans if "ix_messages_agent_seq" in plan and "VIRTUAL TABLE INDEX 0:=" in plan)
    assert newest.index("SEARCH messages USING INDEX ix_messages_agent_seq") < newest.index("VIRTUAL TABLE INDEX 0:=")


def test_every_searchable_message_is_in_the_index_once(home: Home) -> None:
    agent = home.agent()
    roles: tuple[Role, ...] = ("system", "user", "assistant")
    for role in roles:
        home.say(agent, role, f"from {role}", now())
    stored = home.read(lambda conn: conn.execute(select(func.count()).select_from(message_table)).scalar_one())
    indexed = home.read(lambda conn: conn.execute(text("SELECT count(*) FROM message_search")).scalar_one())
    assert (stored, indexed) == (3, 2)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7_300, "2 hours ago"), (90_000, "1 day ago"),
     (70_000_000, "2 years ago")],
)  # fmt: skip
def test_time_ago(seconds: int, wanted: str) -> None:
    assert time_ago(seconds * 1_000_000) == wanted
