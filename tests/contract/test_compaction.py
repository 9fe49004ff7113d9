"""Compaction through the SDKs: S58 to S60, what history shows afterwards, compacting on request, the overview."""

import json
from typing import Any

import pytest

from tests.contract.told import ADA, fresh_agent, said, types, user
from tests.rig.answers import Hold, text
from tests.rig.model import Script
from tests.rig.sdks import Client, Decoded, SdkError
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
TOO_LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
WINDOW = 8_000
TOLD = {"include_compaction_messages": True}
V0 = {"x-fern-sdk-version": "0.1.324", "x-fern-language": "Python"}


def talk(server: Server, script: Script, agent: str, turns: int = 3, *, thread: str | None = None) -> None:
    """Some turns that fill a part of the context."""
    path = f"/v1/agents/{agent}/messages" if thread is None else f"/v1/conversations/{thread}/messages"
    for turn in range(turns):
        script.say(f"answer {turn} " + "." * 500)
        reply = server.post(path, {"messages": user(f"question {turn} " + "?" * 500), "streaming": False})
        assert reply.status == 200, reply.text


def agent_of(server: Server, script: Script, **fields: Any) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA, context_window_limit=WINDOW, **fields)["id"]


def turn(client: Client, agent: str, what: str = "hi", **options: Any) -> list[Decoded]:
    return client.all("stream", agent_id=agent, messages=user(what), **options)


def history(server: Server, agent: str, **query: Any) -> list[dict[str, Any]]:
    asked = "&".join(f"{name}={value}" for name, value in {"limit": 100, **query}.items())
    return server.get(f"/v1/agents/{agent}/messages?{asked}").json


def compactions(items: list[Decoded]) -> tuple[Decoded, Decoded]:
    """The event and the summary of a stream."""
    began, summary = (item for item in items if item.type in ("event_message", "summary_message"))
    assert (began.type, summary.type) == ("event_message", "summary_message")
    return began, summary


@pytest.mark.parametrize("stream_tokens", [False, True])
def test_s58_a_call_that_overflows(server: Server, new_client: Client, script: Script, stream_tokens: bool) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent)
    script.refuse(400, TOO_LONG).say("They talked.").say("Still", " here.")
    items = turn(new_client, agent, "still there?", stream_tokens=stream_tokens, **TOLD)
    assert types(items) == ["event_message", "summary_message", "assistant_message", *ENDING]
    began, summary = compactions(items)
    assert began["event_type"] == "compaction"
    assert began["event_data"]["trigger"] == "context_window_exceeded"
    assert began["event_data"]["context_window"] == WINDOW
    stats = summary["compaction_stats"]
    assert (summary["summary"], stats["trigger"]) == ("They talked.", "context_window_exceeded")
    assert stats["context_tokens_before"] == began["event_data"]["context_token_estimate"]
    assert stats["context_tokens_after"] < stats["context_tokens_before"]
    assert stats["messages_count_after"] < stats["messages_count_before"] == 8
    assert said(items) == "Still here."
    assert [item["stop_reason"] for item in items if item.type == "stop_reason"] == ["end_turn"]
    assert len({item["run_id"] for item in items if item.type != "usage_statistics"}) == 1
    everything = history(server, agent)
    assert [item["content"][:10] for item in everything if item["message_type"] == "user_message"] == [
        "question 0", "question 1", "question 2", "still ther",
    ]  # fmt: skip
    (shown,) = [item for item in everything if item["message_type"] == "summary_message"]
    assert {name: shown[name] for name in ("id", "otid", "summary", "compaction_stats")} == {
        name: summary[name] for name in ("id", "otid", "summary", "compaction_stats")
    }


def test_s59_a_step_that_leaves_no_room_told(server: Server, new_client: Client, script: Script) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent)
    script.answer(text("Still here."), usage=(7_500, 10)).say("They talked.")
    items = turn(new_client, agent, "still there?", **TOLD)
    assert types(items) == ["assistant_message", "event_message", "summary_message", *ENDING]
    began, summary = compactions(items)
    assert began["event_data"]["trigger"] == summary["compaction_stats"]["trigger"] == "post_step_context_check"
    usage = items[-1]
    assert (usage["prompt_tokens"], usage["total_tokens"], usage["step_count"]) == (7_600, 7_620, 2)
    assert usage["context_tokens"] == summary["compaction_stats"]["context_tokens_after"]


def test_s59_a_step_that_leaves_no_room_untold(server: Server, client: Client, script: Script) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent)
    script.answer(text("Still here."), usage=(7_500, 10)).say("They talked.")
    assert types(turn(client, agent, "still there?")) == ["assistant_message", *ENDING]
    shown = history(server, agent)
    assert {item["message_type"] for item in shown} == {"system_message", "user_message", "assistant_message"}
    (alert,) = [item for item in shown if item["message_type"] == "user_message" and item["content"].startswith("{")]
    packed = json.loads(alert["content"])
    assert packed["type"] == "system_alert"
    assert packed["message"].endswith("summary of the previous messages:\n\nThey talked.")
    assert packed["compaction_stats"]["trigger"] == "post_step_context_check"
    (asked,) = history(server, agent, include_return_message_types="summary_message")
    assert (asked["id"], asked["summary"]) == (alert["id"], "They talked.")
    listed = [item for item in client.all("list_messages", agent_id=agent, limit=50) if item["id"] == alert["id"]]
    assert [item.type for item in listed] == ["user_message"]
    assert len([item for item in shown if item["message_type"] == "assistant_message"]) == 4


def test_s60_a_system_prompt_larger_than_the_window(server: Server, client: Client, script: Script) -> None:
    agent = server.new_agent(model=script.handle, system="Too much. " * 2_000, context_window_limit=2_000)["id"]
    with pytest.raises(SdkError) as raised:
        client.all("create", agent_id=agent, messages=user("hi"))
    assert raised.value.status == 400
    assert "system prompt is too large" in str(raised.value)
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
        frames = stream.read()
    overfull = "context_window_overflow_in_system_prompt"
    assert [frame.json["stop_reason"] for frame in frames if frame.kind == "stop_reason"] == [overfull]
    assert [frame.json["error_type"] for frame in frames if frame.kind == "error_message"] == [overfull]
    assert frames[-1].kind == "[DONE]"
    assert script.asked == []


def test_an_older_caller_never_sees_the_new_types(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent)
    script.refuse(400, TOO_LONG).say("They talked.").say("Still here.")
    body = {"messages": user("still there?"), **TOLD}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body, headers=V0) as stream:
        frames = [frame.json for frame in stream.read() if frame.kind != "[DONE]"]
    assert [frame["message_type"] for frame in frames] == ["ping", "assistant_message", *ENDING]
    assert [frame["seq_id"] for frame in frames] == [1, 4, 5, 6]
    shown = server.get(f"/v1/agents/{agent}/messages?limit=100", headers=V0).json
    assert "summary_message" not in {item["message_type"] for item in shown}


def test_a_json_answer_holds_the_summary_for_who_asked(server: Server, new_client: Client, script: Script) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent)
    script.refuse(400, TOO_LONG).say("They talked.").say("Still here.")
    kinds = ["assistant_message"]
    items = new_client.all(
        "create", agent_id=agent, messages=user("still there?"), include_return_message_types=kinds, **TOLD
    )
    assert types(items) == ["summary_message", "assistant_message", *ENDING]
    script.refuse(400, TOO_LONG).say("They talked on.").say("Of course.")
    items = new_client.all("create", agent_id=agent, messages=user("and now?"))
    assert types(items) == ["assistant_message", *ENDING]


def test_a_conversation_is_compacted_by_itself(server: Server, new_client: Client, script: Script) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent, 2)
    thread = new_client.one("create_conversation", agent_id=agent)["id"]
    talk(server, script, agent, thread=thread)
    script.refuse(400, TOO_LONG).say("They talked.").say("Still here.")
    items = new_client.all("send_to_conversation", conversation_id=thread, messages=user("still there?"), **TOLD)
    assert types(items) == ["event_message", "summary_message", "assistant_message", *ENDING]
    talk(server, script, agent, 1, thread=thread)
    script.say("They talked on.")
    done = new_client.one("compact_conversation", conversation_id=thread, compaction_settings={"mode": "all"})
    assert done["summary"] == "They talked on."
    assert done["num_messages_after"] == 4 < done["num_messages_before"]
    found = new_client.one("retrieve_conversation", conversation_id=thread)
    assert len(found["in_context_message_ids"]) == 4
    shown = server.get(f"/v1/conversations/{thread}/messages?limit=100").json
    assert len([item for item in shown if item["message_type"] == "assistant_message"]) == 5
    assert len(server.get(f"/v1/agents/{agent}").json["message_ids"]) == 5


def test_an_agent_is_compacted_on_request(server: Server, new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script, compaction_settings={"mode": "all", "prompt": "Sum up!"})
    talk(server, script, agent)
    script.say("They talked.")
    done = new_client.one("compact", agent_id=agent)
    assert (done["summary"], done["num_messages_before"], done["num_messages_after"]) == ("They talked.", 7, 4)
    assert script.asked[-1].system == "Sum up!"
    again = new_client.one("compact", agent_id=agent)
    assert (again["summary"], again["num_messages_before"], again["num_messages_after"]) == ("They talked.", 4, 4)
    talk(server, script, agent, 2)
    script.say("They talked on.")
    new_client.one("compact", agent_id=agent, compaction_settings={"prompt": "Briefly!", "clip_chars": 9})
    assert script.asked[-1].system == "Briefly!"
    assert server.get(f"/v1/agents/{agent}").json["compaction_settings"]["prompt"] == "Sum up!"
    summary = history(server, agent, include_return_message_types="summary_message")[-1]
    assert summary["summary"] == "They talk"


def test_older_callers_say_how_many_messages_may_stay(server: Server, old_client: Client, script: Script) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent, 4)
    script.say("They talked.")
    old_client.all("summarize", agent_id=agent, max_message_length=6)
    assert len(server.get(f"/v1/agents/{agent}").json["message_ids"]) == 6


def test_a_failed_compaction_is_an_answer_and_leaves_all_as_it_was(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    talk(server, script, agent)
    before = server.get(f"/v1/agents/{agent}").json["message_ids"]
    script.refuse(401, "wrong key")
    failed = server.post(f"/v1/agents/{agent}/summarize", {})
    assert (failed.status, failed.json["error"]["type"]) == (401, "llm_authentication")
    assert failed.headers["x-should-retry"] == "false"
    assert server.get(f"/v1/agents/{agent}").json["message_ids"] == before


def test_it_takes_the_turn_like_any_run(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    thread = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    talk(server, script, agent, thread=thread)
    hold = Hold()
    script.answer(hold, text("Hello."))
    with server.stream(f"/v1/conversations/{thread}/messages", {"messages": user("hi")}) as stream:
        hold.wait_reached()
        refused = server.post(f"/v1/conversations/{thread}/compact", {})
        assert (refused.status, refused.headers["retry-after"]) == (409, "2")
        hold.release()
        stream.read()
    script.say("They talked.")
    assert server.post(f"/v1/conversations/{thread}/compact", {}).json["summary"] == "They talked."
    kinds = [run["metadata"]["run_type"] for run in server.get(f"/v1/runs/?agent_id={agent}&limit=2").json]
    assert kinds == ["compact", "send_message"]


def test_the_overview_counts_what_the_model_is_sent(server: Server, old_client: Client, script: Script) -> None:
    rules = [{"type": "exit_loop", "tool_name": "memory_insert"}]
    agent = agent_of(server, script, tool_rules=rules)
    talk(server, script, agent, 4)
    script.say("They talked.")
    server.post(f"/v1/agents/{agent}/summarize", {"compaction_settings": {"mode": "all"}})
    found = old_client.one("retrieve_context", agent_id=agent)
    parts = (
        "system", "core_memory", "external_memory_summary", "summary_memory", "functions_definitions", "messages",
        "tool_usage_rules",
    )  # fmt: skip
    counts = {name: found[f"num_tokens_{name}"] for name in parts}
    assert min(counts.values()) > 0, counts
    assert sum(counts.values()) == found["context_window_size_current"]
    assert found["context_window_size_max"] == WINDOW
    assert (found["num_messages"], found["num_recall_memory"], found["num_archival_memory"]) == (4, 10, 0)
    assert [message["role"] for message in found["messages"]] == ["system", "user", "user", "assistant"]
    assert "Name: Ada." in found["core_memory"]
    assert "They talked." in found["summary_memory"]
    names = [tool["function"]["name"] for tool in found["functions_definitions"]]
    script.say("Still here.")
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("?")})
    asked = script.asked[-1]
    assert list(asked.tools) == names
    size = sum(len(json.dumps(message, ensure_ascii=False)) for message in asked.messages)
    size += sum(len(json.dumps(tool, ensure_ascii=False)) for tool in asked.tools.values())
    assert found["context_window_size_current"] == pytest.approx(size / 3, rel=0.15)


def test_the_overview_of_another_conversation(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    thread = server.post(f"/v1/conversations/?agent_id={agent}", {"context_window_limit": 4_000}).json["id"]
    talk(server, script, agent, 1, thread=thread)
    script.say("Long.")
    long = server.post(f"/v1/agents/{agent}/messages", {"messages": user("word " * 20_000)})
    assert long.status == 200
    # What is too large by itself is cut before it is sent, and counted like that.
    assert server.get(f"/v1/agents/{agent}/context").json["context_window_size_current"] < WINDOW
    found = server.get(f"/v1/agents/{agent}/context?conversation_id={thread}").json
    assert (found["num_messages"], found["context_window_size_max"]) == (3, 4_000)
    assert server.get(f"/v1/agents/{agent}/context").json["num_messages"] == 3
    nobody = "conv-123e4567-e89b-42d3-8456-426614174000"
    assert server.get(f"/v1/agents/{agent}/context?conversation_id={nobody}").status == 404
