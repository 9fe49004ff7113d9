"""Conversations through both 1.x SDKs: threads of one agent that keep to themselves, and their streams."""

import json
import uuid
from typing import Any

import pytest

from tests.contract.told import ADA, assert_classes, fresh_agent, said, told, types, user
from tests.rig.answers import Hold, call, text
from tests.rig.model import Script
from tests.rig.sdks import Client, Decoded, SdkError
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
NOBODY = "123e4567-e89b-42d3-8456-426614174000"


def opened(client: Client, agent: str, **fields: Any) -> str:
    """A new conversation; returns its id."""
    return client.one("create_conversation", agent_id=agent, **fields)["id"]


def isolating(server: Server, agent: str, *labels: str) -> str:
    """A conversation with copies of these blocks, which no SDK can ask for."""
    body = {"isolated_block_labels": labels}
    return server.post(f"/v1/conversations/?agent_id={agent}", body).json["id"]


def turn(client: Client, thread: str, what: str, **options: Any) -> list[Decoded]:
    """A streamed turn in a conversation."""
    return client.all("send_to_conversation", conversation_id=thread, messages=user(what), **options)


def history(client: Client, thread: str, **query: Any) -> list[Decoded]:
    return client.all("list_conversation_messages", conversation_id=thread, **query)


def spoken(items: list[Decoded]) -> list[str]:
    return [item["content"] for item in items if item.type in ("user_message", "assistant_message")]


def test_from_opening_to_deletion(new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    made = new_client.one("create_conversation", agent_id=agent, summary="tea")
    assert (made["agent_id"], made["summary"], made["archived"]) == (agent, "tea", False)
    assert made["last_message_at"] is None
    changed = new_client.one("update_conversation", conversation_id=made["id"], description="of tea")
    assert (changed["summary"], changed["description"]) == ("tea", "of tea")
    script.say("Hello")
    turn(new_client, made["id"], "hi")
    shown = new_client.one("retrieve_conversation", conversation_id=made["id"])
    assert shown["last_message_at"]
    assert len(shown["in_context_message_ids"]) == 3
    other = opened(new_client, agent)
    listed = new_client.all("list_conversations", agent_id=agent, order_by="last_message_at")
    assert [each["id"] for each in listed] == [made["id"], other]
    new_client.one("update_conversation", conversation_id=other, archived=True)
    assert [each["id"] for each in new_client.all("list_conversations", agent_id=agent)] == [made["id"]]
    new_client.one("delete_conversation", conversation_id=made["id"])
    with pytest.raises(SdkError) as raised:
        new_client.one("retrieve_conversation", conversation_id=made["id"])
    assert raised.value.status == 404


@pytest.mark.parametrize("stream_tokens", [False, True])
def test_what_is_sent_without_a_word_about_streaming_is_streamed(
    new_client: Client, script: Script, stream_tokens: bool
) -> None:
    thread = opened(new_client, fresh_agent(new_client, script))
    script.answer(text("Saving."), call("memory_insert", TEA)).say("Sa", "ved.")
    items = turn(new_client, thread, "I like tea", stream_tokens=stream_tokens)
    assert items[0].type == "ping"
    assert types(items) == [
        "assistant_message", "tool_call_message", "tool_return_message", "assistant_message", *ENDING,
    ]  # fmt: skip
    assert_classes(new_client, items)
    stored = history(new_client, thread, order="asc", limit=100)
    assert told(stored) == told(items)
    assert said(items) == "Saving.Saved."


def test_without_streaming_the_answer_is_json(server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle)["id"]
    thread = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    script.say("Hello")
    answer = server.post(f"/v1/conversations/{thread}/messages", {"input": "hi", "streaming": False}).json
    (message,) = answer["messages"]
    assert message["content"] == "Hello"
    assert answer["stop_reason"]["stop_reason"] == "end_turn"
    run = server.get(f"/v1/runs/{message['run_id']}").json
    assert (run["conversation_id"], run["status"]) == (thread, "completed")


def test_37_conversations_do_not_see_each_other(new_client: Client, server: Server, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    first, second = opened(new_client, agent), opened(new_client, agent)
    script.say("Blue it is.").say("I do not know.").say("Hello.")
    turn(new_client, first, "My colour is blue")
    turn(new_client, second, "What is my colour?")
    new_client.all("stream", agent_id=agent, messages=user("hi"))
    for asked, expected in zip(script.asked, ("My colour is blue", "What is my colour?", "hi"), strict=True):
        assert [message["content"] for message in asked.messages[1:]] == [expected]
    assert f"CONVERSATION_ID: {second}" in script.asked[1].system
    assert "CONVERSATION_ID: default" in script.asked[2].system
    assert spoken(history(new_client, first, order="asc")) == ["My colour is blue", "Blue it is."]
    assert spoken(new_client.all("list_messages", agent_id=agent, limit=100)) == ["hi", "Hello."]


def test_37_an_isolated_block_is_written_in_its_conversation_alone(
    new_client: Client, server: Server, script: Script
) -> None:
    agent = fresh_agent(new_client, script)
    own, shared = isolating(server, agent, "human"), opened(new_client, agent)
    script.answer(call("memory_insert", TEA)).say("Saved.").say("Hi.").say("Hi.")
    turn(new_client, own, "I like tea")
    assert "Likes tea." not in new_client.one("retrieve_agent_block", agent_id=agent, label="human")["value"]
    turn(new_client, own, "hi")
    turn(new_client, shared, "hi")
    assert "Likes tea." in script.asked[2].system
    assert "Likes tea." not in script.asked[3].system


def test_a_shared_block_is_refreshed_in_every_conversation(new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    first, second = opened(new_client, agent), opened(new_client, agent)
    script.answer(call("memory_insert", TEA)).say("Saved.").say("Hi.").say("Hi.")
    turn(new_client, first, "I like tea")
    turn(new_client, second, "hi")
    assert "Likes tea." in script.asked[2].system
    new_client.one("update_agent_block", agent_id=agent, label="human", value="Likes coffee.")
    turn(new_client, first, "hi")
    assert "Likes coffee." in script.asked[3].system


def test_a_model_of_its_own(new_client: Client, script: Script, new_script: Any) -> None:
    agents_own, own, once = script, new_script(), new_script()
    agent = fresh_agent(new_client, agents_own)
    settings = {"provider_type": "openai", "temperature": 0.25, "max_output_tokens": 99}
    made = new_client.one("create_conversation", agent_id=agent, model=own.handle, model_settings=settings)
    assert made["model"] == own.handle
    own.say("from its own")
    once.say("from another, once")
    agents_own.say("from the agent's").say("from the agent's again")
    assert said(turn(new_client, made["id"], "hi")) == "from its own"
    assert own.asked[0].body["temperature"] == 0.25
    assert 99 in (own.asked[0].body.get("max_completion_tokens"), own.asked[0].body.get("max_tokens"))
    assert said(turn(new_client, made["id"], "hi", override_model=once.handle)) == "from another, once"
    assert said(turn(new_client, opened(new_client, agent), "hi")) == "from the agent's"
    new_client.one("update_conversation", conversation_id=made["id"], model=None, model_settings=None)
    assert said(turn(new_client, made["id"], "hi")) == "from the agent's again"
    with pytest.raises(SdkError) as raised:
        new_client.one("create_conversation", agent_id=agent, model="openai/unheard-of")
    assert raised.value.status == 404


def test_a_fork_goes_its_own_way(new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    source = opened(new_client, agent)
    script.say("One.").say("Two.").say("Branch.").say("Trunk.")
    turn(new_client, source, "first")
    turn(new_client, source, "second")
    after_first = [item["id"] for item in history(new_client, source, order="asc") if item.type != "system_message"][1]
    fork = new_client.one("fork_conversation", conversation_id=source, message_id=after_first)["id"]
    turn(new_client, fork, "in the branch")
    turn(new_client, source, "in the trunk")
    branch, trunk = history(new_client, fork, order="asc"), history(new_client, source, order="asc")
    assert branch[0].type == "system_message"
    assert fork in branch[0]["content"]
    assert spoken(branch) == ["first", "One.", "in the branch", "Branch."]
    assert spoken(trunk) == ["first", "One.", "second", "Two.", "in the trunk", "Trunk."]
    assert [message["content"] for message in script.asked[2].messages[1:]] == ["first", "One.", "in the branch"]
    assert [item["id"] for item in branch[1:3]] == [item["id"] for item in trunk[1:3]]
    new_client.one("delete_conversation", conversation_id=source)
    assert spoken(history(new_client, fork, order="asc")) == ["first", "One.", "in the branch", "Branch."]


def test_a_default_conversation_goes_by_its_agent(new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    script.say("One.").say("Two.").say("Three.")
    turn(new_client, agent, "by its agent's id")
    turn(new_client, "default", "by name", agent_id=agent)
    new_client.all("stream", agent_id=agent, messages=user("by the agent"))
    expected = ["by its agent's id", "One.", "by name", "Two.", "by the agent", "Three."]
    assert spoken(history(new_client, agent, order="asc")) == expected
    assert spoken(history(new_client, "default", agent_id=agent, order="asc")) == expected
    assert spoken(new_client.all("list_messages", agent_id=agent, order="asc")) == expected
    shown = new_client.one("retrieve_conversation", conversation_id=agent)
    assert (shown["id"], shown["agent_id"]) == ("default", agent)
    assert new_client.all("list_conversations", agent_id=agent) == []
    fork = new_client.one("fork_conversation", conversation_id="default", agent_id=agent)["id"]
    assert spoken(history(new_client, fork, order="asc")) == expected


def test_a_system_message_compiled_anew(new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    thread = opened(new_client, agent)

    def recompiled(**fields: Any) -> str:
        answer = new_client.one("recompile_conversation", **fields).fields
        # The Python SDK hands on the JSON as it came.
        return json.loads(answer) if new_client.sdk.language == "py" else answer

    assert thread in recompiled(conversation_id=thread, dry_run=True)
    assert "CONVERSATION_ID: default" in recompiled(conversation_id="default", agent_id=agent)
    new_client.one("update_agent", agent_id=agent, system="Be brief.")
    assert recompiled(conversation_id=thread).startswith("Be brief.")


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_pages_show_each_message_once(new_client: Client, script: Script, order: str, limit: int) -> None:
    thread = opened(new_client, fresh_agent(new_client, script))
    script.answer(text("Saving."), call("memory_insert", TEA)).say("Saved.").say("Two.")
    turn(new_client, thread, "one")
    turn(new_client, thread, "two")
    whole = [item["id"] for item in history(new_client, thread, order="asc", limit=100)]
    paged = [item["id"] for item in history(new_client, thread, order=order, limit=limit)]
    rows = list(dict.fromkeys(paged))
    assert rows == list(dict.fromkeys(whole if order == "asc" else whole[::-1]))
    assert len(paged) == len(whole)


def test_pages_of_one_kind_go_on_where_none_of_it_is(new_client: Client, script: Script) -> None:
    thread = opened(new_client, fresh_agent(new_client, script))
    script.answer(call("memory_insert", TEA)).say("Saved.").say("Two.").say("Three.")
    for what in ("one", "two", "three"):
        turn(new_client, thread, what)
    found = history(new_client, thread, limit=1, include_return_message_types=["tool_call_message"])
    assert [item.type for item in found] == ["tool_call_message"]
    asked = [
        item["content"] for item in history(new_client, thread, limit=2, include_return_message_types=["user_message"])
    ]
    assert asked == ["three", "two", "one"]


def test_s55_a_busy_conversation_refuses_and_another_answers(server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    first, second = (server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"] for _ in range(2))
    hold = Hold()
    script.answer(hold, text("late")).say("at once").say("afterwards")
    with server.stream(f"/v1/conversations/{first}/messages", {"input": "hi"}) as stream:
        run_id = stream.until("ping").json["run_id"]
        hold.wait_reached()
        for streaming in (True, False):
            refused = server.post(f"/v1/conversations/{first}/messages", {"input": "me too", "streaming": streaming})
            assert (refused.status, refused.headers["retry-after"]) == (409, "2")
            assert "x-should-retry" not in refused.headers
            assert refused.json == {
                "detail": f"CONFLICT: Cannot send a new message: Another request (run_id={run_id}) is currently being "
                "processed for this conversation. Please wait for it to complete.",
                "run_id": run_id,
            }
        with server.stream(f"/v1/conversations/{second}/messages", {"input": "hi"}) as other:
            assert "at once" in [frame.json.get("content") for frame in other.read() if frame.data != "[DONE]"]
        hold.release()
        stream.read()
    with server.stream(f"/v1/conversations/{first}/messages", {"input": "again"}) as stream:
        stream.read()
    shown = server.get(f"/v1/conversations/{first}/messages?order=asc").json
    assert [message["content"] for message in shown[1:]] == ["hi", "late", "again", "afterwards"]


def test_a_run_is_followed_by_its_id_by_an_otid_or_as_the_newest(
    new_client: Client, server: Server, script: Script
) -> None:
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    thread = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    hold, otids = Hold(), [str(uuid.uuid4()) for _ in range(2)]
    script.answer(hold, text("late"))
    messages = [{"role": "user", "content": f"message {otid}", "otid": otid} for otid in otids]
    with server.stream(f"/v1/conversations/{thread}/messages", {"messages": messages}) as stream:
        run_id = stream.until("ping").json["run_id"]
        hold.wait_reached()
        following = new_client.each("stream_conversation", conversation_id=thread)
        assert next(following)["run_id"] == run_id
        hold.release()
        newest = list(following)
        stream.read()
    assert types(newest) == ["assistant_message", *ENDING]
    for which in ({"run_id": run_id}, {"otid": otids[0]}, {"otid": otids[1]}):
        again = new_client.all("stream_conversation", conversation_id=thread, **which)
        assert types(again) == types(newest)
        assert said(again) == "late"
    rest = new_client.all("stream_conversation", conversation_id=thread, run_id=run_id, starting_after=2)
    assert types(rest) == ENDING
    for query in (f"run_id={run_id}", f"otid={otids[1]}"):
        path = f"/v1/conversations/{thread}/stream?{query}&starting_after=2&include_pings=false"
        with server.stream(path, method="GET") as stream:
            assert [frame.json["seq_id"] for frame in stream.read()[:-1]] == [3, 4]
    assert server.get(f"/v1/conversations/{thread}/stream").status == 400
    assert server.get(f"/v1/conversations/{thread}/stream?otid={'x' * 2000}").status == 422
    for which, status in (({}, 400), ({"otid": "unheard-of"}, 404), ({"run_id": f"run-{NOBODY}"}, 404)):
        with pytest.raises(SdkError) as raised:
            new_client.all("stream_conversation", conversation_id=thread, **which)
        assert raised.value.status == status
    with pytest.raises(SdkError) as raised:
        new_client.all("stream_conversation", conversation_id=opened(new_client, agent), run_id=run_id)
    assert raised.value.status == 404


def test_the_same_message_again_is_answered_by_the_same_run(new_client: Client, script: Script) -> None:
    thread = opened(new_client, fresh_agent(new_client, script))
    script.say("once")
    named = [{"role": "user", "content": "hi", "otid": str(uuid.uuid4())}]
    first, again = (new_client.all("send_to_conversation", conversation_id=thread, messages=named) for _ in range(2))
    assert first[0]["run_id"] == again[0]["run_id"]
    assert said(again) == "once"
    assert len(script.asked) == 1


def test_a_run_is_cancelled(new_client: Client, server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    thread = opened(new_client, agent)
    hold = Hold()
    script.answer(text("Begun"), hold, text("never"))
    with server.stream(f"/v1/conversations/{thread}/messages", {"input": "hi", "stream_tokens": True}) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
        assert new_client.one("cancel_conversation", conversation_id=thread).fields == {run_id: "cancelled"}
        kinds = [frame.kind for frame in stream.read()]
    hold.release()
    assert kinds[-3:] == [*ENDING, "[DONE]"]
    assert spoken(history(new_client, thread, order="asc")) == ["hi", "Begun"]


def test_deleting_cancels_first(new_client: Client, server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    thread = opened(new_client, agent)
    hold = Hold()
    script.answer(hold, text("never"))
    with server.stream(f"/v1/conversations/{thread}/messages", {"input": "hi"}) as stream:
        hold.wait_reached()
        new_client.one("delete_conversation", conversation_id=thread)
        assert [frame.kind for frame in stream.read()][-3:] == [*ENDING, "[DONE]"]
    hold.release()
    assert server.get(f"/v1/messages/?conversation_id={thread}").json == []


@pytest.mark.parametrize(
    ("op", "more"),
    [
        ("retrieve_conversation", {}),
        ("update_conversation", {"summary": "s"}),
        ("delete_conversation", {}),
        ("fork_conversation", {}),
        ("recompile_conversation", {}),
        ("cancel_conversation", {}),
        ("list_conversation_messages", {}),
        ("send_to_conversation", {"messages": user("hi")}),
        ("stream_conversation", {}),
    ],
)
@pytest.mark.parametrize("prefix", ["conv", "agent"])
def test_an_unknown_one_is_not_found(new_client: Client, op: str, more: dict[str, Any], prefix: str) -> None:
    with pytest.raises(SdkError) as raised:
        new_client.all(op, conversation_id=f"{prefix}-{NOBODY}", **more)
    assert raised.value.status == 404


def test_a_conversation_outlives_a_restart(new_server: Any, script: Script) -> None:
    server = new_server().start()
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    thread = isolating(server, agent, "human")
    script.answer(call("memory_insert", TEA)).say("Saved.").say("Tea.")
    server.post(f"/v1/conversations/{thread}/messages", {"input": "I like tea", "streaming": False})
    server.kill()
    server.start()
    again = server.post(f"/v1/conversations/{thread}/messages", {"input": "What do I like?", "streaming": False}).json
    assert again["messages"][0]["content"] == "Tea."
    assert "Likes tea." in script.asked[2].system
