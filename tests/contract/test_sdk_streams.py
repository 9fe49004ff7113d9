"""Streams as the four official SDKs decode them: each chunk its own class, each text whole, history the same."""

import json

import pytest

from tests.contract.told import REMEMBERED, SAID, assert_classes, fresh_agent, remembering, said, told, types, user
from tests.rig.answers import Hold, call, text
from tests.rig.model import Script
from tests.rig.sdks import Client
from tests.rig.server import Server

FULL_TURN = [
    "reasoning_message",
    "assistant_message",
    "tool_call_message",
    "tool_return_message",
    "assistant_message",
    "stop_reason",
    "usage_statistics",
]
BOTH_MODES = pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])


@BOTH_MODES
def test_stream_is_decoded_and_equals_history(client: Client, script: Script, tokens: bool) -> None:
    remembering(script)
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("I like tea."), stream_tokens=tokens)

    assert types(items) == FULL_TURN
    assert_classes(client, items)
    assert said(items) == "Saving it.I saved that."
    assert said(items, "reasoning_message") == "She likes tea."
    assert items[-2]["stop_reason"] == "end_turn"
    assert (items[-1]["step_count"], items[-1]["total_tokens"]) == (2, 220)
    if tokens:
        assert len(items) > len(FULL_TURN) + 4, "tokens did not arrive one by one"

    history = client.all("list_messages", agent_id=agent)
    assert_classes(client, history)
    assert told(history) == told(items)


@BOTH_MODES
def test_tool_call_has_whole_arguments(client: Client, script: Script, tokens: bool) -> None:
    arguments = {"label": "human", "new_string": "x" * 50}
    script.answer(call("memory_insert", arguments, id="call_one", fragments=9)).say("Done.")
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("go"), stream_tokens=tokens)
    calls = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    assert {each["tool_call_id"] for each in calls} == {"call_one"}
    assert calls[0]["name"] == "memory_insert"
    assert json.loads("".join(each.get("arguments") or "" for each in calls)) == arguments
    if client.sdk.language == "py":
        nested = {item.nested["tool_call"] for item in items if item.type == "tool_call_message"}
        assert nested == {"ToolCallDelta" if tokens else "ToolCall"}
    (returned,) = [item for item in items if item.type == "tool_return_message"]
    assert (returned["tool_call_id"], returned["status"]) == ("call_one", "success")


def test_agent_remembers(client: Client, script: Script) -> None:
    remembering(script)
    script.say("You like tea.")
    agent = fresh_agent(client, script)
    client.all("stream", agent_id=agent, messages=user("I like tea."))
    block = client.one("retrieve_agent_block", agent_id=agent, label="human")
    assert block["value"] == f"Name: Ada.\n{REMEMBERED}"
    client.all("stream", agent_id=agent, messages=user("What do I like?"))
    assert REMEMBERED in script.asked[-1].system


def test_answer_without_streaming(client: Client, script: Script) -> None:
    remembering(script)
    agent = fresh_agent(client, script)
    *messages, stop, usage = client.all("create", agent_id=agent, messages=user("I like tea."))
    assert_classes(client, messages)
    assert types(messages) == FULL_TURN[:-2]
    assert said(messages) == "Saving it.I saved that."
    assert stop["stop_reason"] == "end_turn"
    assert (usage["step_count"], usage["prompt_tokens"], usage["completion_tokens"]) == (2, 200, 20)
    assert told(client.all("list_messages", agent_id=agent)) == told(messages)


@BOTH_MODES
def test_streaming_flag_of_the_newer_sdks(new_client: Client, script: Script, tokens: bool) -> None:
    remembering(script)
    agent = fresh_agent(new_client, script)
    items = new_client.all("create_streaming", agent_id=agent, input="I like tea.", stream_tokens=tokens)
    assert types(items) == FULL_TURN
    assert_classes(new_client, items)
    assert script.asked[0].said == "I like tea."


def test_tokens_arrive_while_the_model_still_speaks(client: Client, script: Script) -> None:
    hold = Hold()
    script.answer(text("First "), hold, text("and last."))
    agent = fresh_agent(client, script)
    stream = client.each("stream", agent_id=agent, messages=user("hi"), stream_tokens=True)
    early = next(item for item in stream if item.type == "assistant_message")
    assert early["content"] == "First "
    hold.release()
    assert said([early, *stream]) == "First and last."


def test_parallel_calls(client: Client, server: Server, script: Script) -> None:
    calls = [call("weather", {"city": city}, id=f"call_{city}") for city in ("Oslo", "Rome", "Bern")]
    script.answer(*calls).say("Sunny all over.")
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    agent = server.new_agent(model=script.handle, model_settings=settings, tools=["weather"])["id"]
    items = client.all("stream", agent_id=agent, messages=user("weather?"))
    assert_classes(client, items)
    called = [item for item in items if item.type == "tool_call_message"]
    returned = [item for item in items if item.type == "tool_return_message"]
    ids = [each.id for each in calls]
    if client.sdk.generation == 0:
        assert [item["tool_call"]["tool_call_id"] for item in called] == ids
        assert [item["tool_call_id"] for item in returned] == ids
        assert [item["tool_return"] for item in returned] == [f"It is sunny in {c}." for c in ("Oslo", "Rome", "Bern")]
    else:
        assert [each["tool_call_id"] for item in called for each in item["tool_calls"]] == ids
        assert [each["tool_call_id"] for item in returned for each in item["tool_returns"]] == ids
    history = client.all("list_messages", agent_id=agent)
    assert_classes(client, history)
    assert told(history) == told(items)


NASTY = [
    "line one\nline two\r\n",
    "data: not a frame\n\ndata: neither\n\n",
    "event: error\ndata: {}\n\n",
    ": a comment\nid: 7\nretry: 1\n",
    "[DO",
    "NE] data: [DONE]\n\n",
    "\U0001f600 \ud83d",
    "\ude00 \u2028\u2029\u0085\x0b\x0c\x1c end \\ \" ' \t",
]


@BOTH_MODES
def test_text_that_looks_like_the_protocol_arrives_whole(client: Client, script: Script, tokens: bool) -> None:
    script.say(*NASTY)
    whole = "".join(NASTY).replace("\ud83d\ude00", "\U0001f600")
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user(whole), stream_tokens=tokens)
    assert said(items) == whole
    assert types(items) == ["assistant_message", "stop_reason", "usage_statistics"]
    history = client.all("list_messages", agent_id=agent)
    assert said(history) == whole
    assert [item["content"] for item in history if item.type == "user_message"] == [whole]
    assert script.asked[0].said == whole


@BOTH_MODES
def test_a_megabyte_without_a_newline_arrives_whole(client: Client, script: Script, tokens: bool) -> None:
    piece = "0123456789abcdé\U0001f600" * 1000
    script.say(*[piece] * 60)
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("write"), stream_tokens=tokens)
    assert said(items) == piece * 60
    assert types(items) == ["assistant_message", "stop_reason", "usage_statistics"]


def test_run_can_be_looked_up_and_read_again(client: Client, script: Script) -> None:
    remembering(script)
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("I like tea."), stream_tokens=True)
    run_id = items[0]["run_id"]
    run = client.one("retrieve_run", run_id=run_id)
    assert (run["status"], run["agent_id"]) == ("completed", agent)
    again = client.all("stream_run", run_id=run_id)
    assert_classes(client, again)
    assert told(again) == told(items)
    seen = [item for item in items if item.type in SAID]
    rest = client.all("stream_run", run_id=run_id, starting_after=seen[2]["seq_id"])
    assert told(rest) == told(seen[3:])


def test_only_the_types_asked_for(client: Client, script: Script) -> None:
    remembering(script)
    agent = fresh_agent(client, script)
    wanted = {"include_return_message_types": ["assistant_message"], "include_pings": False}
    items = client.all("stream", agent_id=agent, messages=user("I like tea."), **wanted)
    assert [item.type for item in items] == ["assistant_message"] * 2 + ["stop_reason", "usage_statistics"]


def test_step_limit(client: Client, script: Script) -> None:
    remembering(script)
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("I like tea."), max_steps=1)
    assert types(items) == [*FULL_TURN[:4], "stop_reason", "usage_statistics"]
    assert items[-2]["stop_reason"] == "max_steps"
    assert_classes(client, items)


def test_cut_off_text(client: Client, script: Script) -> None:
    script.answer(text("Once upon"), finish="length")
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("tell"))
    assert items[-2]["stop_reason"] == "max_tokens_exceeded"
    assert_classes(client, items)


def test_failing_tool_is_told_to_the_model(client: Client, server: Server, script: Script) -> None:
    script.answer(call("fail", {"reason": "it rains"})).say("It failed.")
    agent = server.new_agent(model=script.handle, tools=["fail"])["id"]
    items = client.all("stream", agent_id=agent, messages=user("go"))
    (returned,) = [item for item in items if item.type == "tool_return_message"]
    assert returned["status"] == "error"
    assert "it rains" in returned["tool_return"]
    assert "it rains" in script.asked[1].said
    assert items[-2]["stop_reason"] == "end_turn"
    assert_classes(client, items)
