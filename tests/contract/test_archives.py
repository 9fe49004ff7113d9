"""Long-term memory through the SDKs: archives and passages, by the API and by an agent's own tools."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from bench.recall.conversations import FIRST_HALF, read
from tests.rig.answers import call
from tests.rig.model import EMBEDDING, Script
from tests.rig.sdks import Client, SdkError
from tests.rig.server import Server
from tests.rig.stores import SQLITE

SMALL = f"openai/{EMBEDDING}"
LIMIT = 30.0
NOBODY = "passage-00000000-0000-4000-8000-000000000000"


def until(probe: Callable[[], Any]) -> Any:
    """What `probe` gives, once it gives something."""
    ends = time.monotonic() + LIMIT
    while not (found := probe()):
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("embedding", [None, SMALL])
def test_scenario_35_passages_are_inserted_and_searched_with_tags(
    server: Server, py: Client, embedding: str | None
) -> None:
    agent = server.new_agent(model="perdure/offline", name="Ada", embedding=embedding)["id"]

    def add(text: str, tags: list[str], at: str | None = None) -> str:
        (made,) = py.all("create_passage", agent_id=agent, text=text, tags=tags, **({"created_at": at} if at else {}))
        assert (made["text"], made["tags"]) == (text, sorted(tags))
        return made["id"]

    tea = add("Bob drinks green tea", ["bob", "drinks"], "2023-05-07T09:00:00Z")
    add("Carol drinks black coffee", ["carol", "drinks"], "2023-06-01T09:00:00Z")
    late = add("Bob bought a bicycle", ["bob"])
    listed = py.all("list_agent_passages", agent_id=agent)
    assert [each["text"] for each in listed] == [
        "Bob drinks green tea", "Carol drinks black coffee", "Bob bought a bicycle"
    ]  # fmt: skip
    assert listed[0]["created_at"].startswith("2023-05-07T09:00:00")
    assert [each["id"] for each in py.all("list_agent_passages", agent_id=agent, search="BICYCLE")] == [late]
    assert [each["id"] for each in py.all("list_agent_passages", agent_id=agent, after=tea, limit=1)] == [
        listed[1]["id"]
    ]

    def find(query: str, **conditions: Any) -> list[str]:
        found = py.one("find_passages", agent_id=agent, query=query, **conditions)
        assert found["count"] == len(found["results"])
        return [each["content"] for each in found["results"]]

    assert find("What does Bob drink?")[0] == "Bob drinks green tea"
    assert find("drinks", tags=["bob"], tag_match_mode="any") == ["Bob drinks green tea"]
    assert find("drink", tags=["carol", "drinks"], tag_match_mode="all") == ["Carol drinks black coffee"]
    assert find("bicycle", tags=["carol", "bob"], tag_match_mode="all") == []
    assert find("drinks", start_datetime="2023-05-20T00:00:00Z", top_k=1) == ["Carol drinks black coffee"]
    assert find("drinks", end_datetime="2023-05-07T09:00:00Z") == ["Bob drinks green tea"]
    if embedding is not None:
        shown = until(lambda: [e for e in passages(server, agent) if e["embedding_model"] == SMALL])
        assert "Bob" in find("What did Bob buy?")[0]
        assert shown
    py.all("delete_passage", agent_id=agent, memory_id=late)
    assert find("bicycle", tags=["bob"]) == []
    with pytest.raises(SdkError) as refused:
        py.all("delete_passage", agent_id=agent, memory_id=NOBODY)
    assert refused.value.status == 404


def passages(server: Server, agent: str) -> list[dict[str, Any]]:
    return server.get(f"/v1/agents/{agent}/archival-memory").json


def test_scenario_35_a_shared_archive_is_seen_by_two_agents(server: Server, new_client: Client) -> None:
    one, other = (server.new_agent(model="perdure/offline")["id"] for _ in range(2))
    shared = new_client.one("create_archive", name="House", description="What both need")
    new_client.all("attach_archive", agent_id=one, archive_id=shared["id"])
    new_client.all("attach_archive", agent_id=other, archive_id=shared["id"])
    texts = [{"text": "The key hangs by the door", "tags": ["key"]}, {"text": "The cellar is damp"}]
    added = new_client.all("add_passages", archive_id=shared["id"], passages=texts)
    assert [each["archive_id"] for each in added] == [shared["id"]] * 2
    for agent in (one, other):
        found = new_client.one("find_passages", agent_id=agent, query="Where is the key?", top_k=1)
        assert [each["content"] for each in found["results"]] == ["The key hangs by the door"]
    # What either writes goes there as well, since neither has one of its own.
    new_client.all("create_passage", agent_id=other, text="The roof was mended in May")
    found = new_client.one("find_passages", agent_id=one, query="roof", top_k=1)
    assert found["results"][0]["content"] == "The roof was mended in May"
    assert [each["id"] for each in new_client.all("list_archives", agent_id=one)] == [shared["id"]]
    if new_client.sdk.language == "py":
        scored = new_client.all("search_passages", query="key", archive_id=shared["id"], tags=["key"])
        assert [each["passage"]["text"] for each in scored] == ["The key hangs by the door"]
        assert scored[0]["score"] == 1
        edited = new_client.one("update_archive", archive_id=shared["id"], name="Home")
        assert (edited["name"], edited["description"]) == ("Home", "What both need")
        new_client.all("drop_passage", archive_id=shared["id"], passage_id=added[0]["id"])
        new_client.all("detach_archive", agent_id=one, archive_id=shared["id"])
        assert passages(server, one) == []
        new_client.all("delete_archive", archive_id=shared["id"])
        assert passages(server, other) == []


def test_an_agent_puts_something_away_and_is_told_what_it_has(server: Server, py1: Client, script: Script) -> None:
    tools = ["archival_memory_insert", "archival_memory_search"]
    agent = server.new_agent(model=script.handle, tools=tools)["id"]
    script.answer(call("archival_memory_insert", {"content": "Bob's cat is called Miso", "tags": ["cat"]})).say("Kept.")
    py1.all("create", agent_id=agent, input="My cat is called Miso.")
    assert [each["text"] for each in passages(server, agent)] == ["Bob's cat is called Miso"]
    script.answer(call("archival_memory_search", {"query": "What is the name of Bob's cat?"})).say("Miso.")
    script.answer(call("archival_memory_search", {"query": " ", "top_k": 3})).say("Nothing.")
    returns = [
        each["tool_return"]
        for text in ("What is my cat called?", "And?")
        for each in py1.all("create", agent_id=agent, input=text)
        if each.type == "tool_return_message"
    ]
    assert "Bob's cat is called Miso" in returns[0]
    assert returns[1] == "[]"
    system = script.asked[-1].system
    assert "- 1 passages are in your archives; archival_memory_search finds them." in system
    assert "- Tags of passages in your archives: cat" in system


def test_what_was_said_is_searched_across_agents_and_in_one_conversation(
    server: Server, py: Client, script: Script
) -> None:
    script.say("A heron, surely.").say("Hm.")
    word = f"quokka{server.new_agent(model='perdure/offline')['id'][-6:]}"
    one, other = (server.new_agent(model=script.handle)["id"] for _ in range(2))
    py.all("create", agent_id=one, messages=[{"role": "user", "content": f"I saw a {word} by the mill"}])
    py.all("create", agent_id=other, messages=[{"role": "user", "content": "Nothing of that"}])
    found = py.all("search_messages", query=f"{word} mill", search_mode="hybrid", limit=1)
    if py.sdk.generation == 0:
        assert found[0]["embedded_text"] == f"I saw a {word} by the mill"
        assert (found[0]["message"]["agent_id"], found[0]["fts_rank"]) == (one, 1)
    else:
        assert (found[0]["content"], found[0]["agent_id"]) == (f"I saw a {word} by the mill", one)
        assert found[0].type == "user_message"
        assert py.all("search_messages", query=word, agent_id=other) == []
        later = py.all("search_messages", query=word, start_date="2099-01-01T00:00:00Z")
        assert later == []


def test_what_was_said_is_told_apart_by_its_conversation(server: Server, py1: Client, script: Script) -> None:
    agent = server.new_agent(model=script.handle)["id"]
    word = f"okapi{agent[-6:]}"
    script.say("Yes.").say("No.").say("Well.")
    py1.all("create", agent_id=agent, input=f"The {word} of all")
    threads = [server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"] for _ in range(2)]
    for thread in threads:
        server.post(f"/v1/conversations/{thread}/messages", {"input": f"The {word} of {thread}", "streaming": False})
    fork = server.post(f"/v1/conversations/{threads[0]}/fork", {}).json["id"]

    def found(**query: str) -> set[tuple[str | None, str]]:
        items = py1.all("search_messages", query=word, **query)
        return {(each["conversation_id"], each["content"]) for each in items if word in each["content"]}

    first, second = ((thread, f"The {word} of {thread}") for thread in threads)
    assert found() == {(None, f"The {word} of all"), first, second}
    assert found(conversation_id="default") == {(None, f"The {word} of all")}
    assert found(conversation_id=threads[1], agent_id=agent) == {second}
    assert found(conversation_id=fork) == {(fork, first[1])}

    def listed(**query: Any) -> list[tuple[str, str]]:
        return [(each.type, each["content"]) for each in py1.all("method", path="messages.list", **query)]

    spoken = {"include_return_message_types": ["assistant_message", "user_message"]}
    assert listed(conversation_id=threads[0], **spoken, order="asc", limit=1) == [("user_message", first[1])]
    newest = server.get("/v1/messages/?conversation_id=default&limit=3&include_return_message_types=user_message").json
    assert newest[0]["content"] == f"The {word} of all"
    assert not {first[1], second[1]} & {each["content"] for each in newest}


def test_bad_passages_are_refused_with_what_to_do(server: Server) -> None:
    agent = server.new_agent(model="perdure/offline")["id"]
    path = f"/v1/agents/{agent}/archival-memory"
    for body, status, told in (
        ({"text": "   "}, 400, "empty"),
        ({"text": "word " * 8_000}, 400, "Divide it"),
        ({"text": "x", "created_at": "yesterday"}, 422, "datetime"),
        ({"text": "x", "created_at": "0001-01-01T00:00:00+14:00"}, 422, "years 1 to 9999"),
        ({"text": "x", "tags": [""]}, 422, "at least 1"),
        ({"text": "x\ud800"}, 422, ""),
    ):
        refused = server.post(path, body)
        assert (refused.status, told in str(refused.json)) == (status, True), body
    assert server.get(f"{path}/search?query=x&top_k=0").status == 422
    assert server.get(f"{path}/search").status == 422
    assert server.get(path).json == []


@pytest.mark.stores(SQLITE)
def test_a_hash_for_an_embedding_model_takes_no_evidence_away(server: Server) -> None:
    conversation = read(FIRST_HALF[1])
    texts = [{"text": turn, "created_at": at} for turn, at in conversation.turns]

    def evidence(embedding: str | None) -> list[set[str]]:
        """What is found of that for each question, as texts."""
        agent = server.new_agent(model="perdure/offline")["id"]
        archive = server.post("/v1/archives/", {"name": "told", "embedding": embedding}).json["id"]
        server.request("PATCH", f"/v1/agents/{agent}/archives/attach/{archive}")
        assert server.post(f"/v1/archives/{archive}/passages/batch", {"passages": texts}).status == 200
        if embedding is not None:
            until(lambda: all(each["embedding_model"] == embedding for each in passages(server, agent)))
        found: list[set[str]] = []
        for question in conversation.questions[:60]:
            path = f"/v1/agents/{agent}/archival-memory/search?{urlencode({'query': question.text, 'top_k': 10})}"
            turns = {each["content"] for each in server.get(path).json["results"]}
            assert len(turns) == 10
            found.append(turns & {conversation.turns[number][0] for number in question.evidence})
        return found

    assert all(words <= both for words, both in zip(evidence(None), evidence(SMALL), strict=True))
