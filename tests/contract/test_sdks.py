"""What programs do with the official SDKs works with all four, and each decodes every answer into its own types."""

import json
import uuid
from typing import Any

import pytest

from tests.contract.told import (
    ADA,
    REMEMBERED,
    SAID,
    assert_classes,
    fresh_agent,
    remembering,
    said,
    told,
    types,
    user,
)
from tests.rig.answers import Hold, call, text
from tests.rig.model import Script
from tests.rig.sdks import JS0, PY0, PY1, Client, Decoded, SdkError
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


def test_health(client: Client) -> None:
    answer = client.one("health")
    assert answer["status"] == "ok"
    assert answer["version"]


def test_agent_from_creation_to_deletion(client: Client, script: Script) -> None:
    tag = uuid.uuid4().hex
    made = client.one("create_agent", name="Ada's agent", model=script.handle, memory_blocks=ADA, tags=[tag])
    if client.sdk.language == "py":
        assert made.cls == "AgentState"
    assert {block["label"]: block["value"] for block in made["memory"]["blocks"]} == {
        "human": "Name: Ada.",
        "persona": "I answer briefly.",
    }
    assert made["llm_config"]["model"] == script.name
    assert client.one("retrieve_agent", agent_id=made["id"])["name"] == "Ada's agent"

    updated = client.one("update_agent", agent_id=made["id"], name="Renamed", description="of Ada")
    assert (updated["name"], updated["description"]) == ("Renamed", "of Ada")
    assert updated["memory"]["blocks"], "an update forgot the blocks"

    assert [(each["id"], each["name"]) for each in client.all("list_agents", tags=[tag])] == [(made["id"], "Renamed")]
    client.one("delete_agent", agent_id=made["id"])
    assert client.all("list_agents", tags=[tag]) == []
    with pytest.raises(SdkError) as raised:
        client.one("retrieve_agent", agent_id=made["id"])
    assert raised.value.status == 404


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


def test_blocks_from_creation_to_deletion(client: Client, script: Script) -> None:
    label = f"notes_{uuid.uuid4().hex}"
    made = client.one("create_block", label=label, value="first", description="what was noted", limit=500)
    assert client.one("retrieve_block", block_id=made["id"])["value"] == "first"
    assert client.one("update_block", block_id=made["id"], value="second")["value"] == "second"
    assert [each["id"] for each in client.all("list_blocks", label=label)] == [made["id"]]

    agent = fresh_agent(client, script)
    attached = client.one("attach_block", agent_id=agent, block_id=made["id"])
    assert label in {block["label"] for block in attached["memory"]["blocks"]}
    assert {each["label"] for each in client.all("list_agent_blocks", agent_id=agent)} == {"human", "persona", label}
    assert client.one("update_agent_block", agent_id=agent, label=label, value="third")["value"] == "third"
    assert client.one("retrieve_block", block_id=made["id"])["value"] == "third"
    detached = client.one("detach_block", agent_id=agent, block_id=made["id"])
    assert label not in {block["label"] for block in detached["memory"]["blocks"]}

    client.one("delete_block", block_id=made["id"])
    with pytest.raises(SdkError) as raised:
        client.one("retrieve_block", block_id=made["id"])
    assert raised.value.status == 404


def every(client: Client, op: str, **query: Any) -> list[Decoded]:
    """All items of a list read two at a time: 1.x SDKs turn pages by themselves, for 0.1.x the caller does."""
    if client.sdk.generation == 1:
        return client.all(op, limit=2, **query)
    found: list[Decoded] = []
    while page := client.all(op, limit=2, **query, **({"after": found[-1]["id"]} if found else {})):
        found += page
        assert len(found) < 100, "the pages never end"
    return found


def test_pages_of_agents(client: Client, script: Script) -> None:
    tag = uuid.uuid4().hex
    made = [fresh_agent(client, script, tags=[tag]) for _ in range(5)]
    assert [each["id"] for each in every(client, "list_agents", tags=[tag])] == made[::-1]


def test_pages_of_blocks(client: Client) -> None:
    label = f"pages_{uuid.uuid4().hex}"
    made = [client.one("create_block", label=label, value=str(n))["id"] for n in range(5)]
    assert sorted(each["id"] for each in every(client, "list_blocks", label=label)) == sorted(made)


def test_pages_of_messages(new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    for number in range(4):
        script.say(f"answer {number}")
        new_client.all("stream", agent_id=agent, messages=user(f"question {number}"))
    paged = new_client.all("list_messages", agent_id=agent, limit=2, order="asc")
    whole = new_client.all("list_messages", agent_id=agent, limit=100)
    assert [item["id"] for item in paged] == [item["id"] for item in whole]
    spoken = [item["content"] for item in paged if item.type in ("user_message", "assistant_message")]
    assert spoken == [f"{kind} {n}" for n in range(4) for kind in ("question", "answer")]
    newest_first = [item["id"] for item in new_client.all("list_messages", agent_id=agent, limit=2)]
    assert len(newest_first) == len(set(newest_first)), "the default order shows a message twice"


def test_models(client: Client, script: Script) -> None:
    found = {each["handle"]: each for each in client.all("models")}
    mine = found[script.handle]
    if client.sdk.language == "py":
        assert mine.cls == ("LlmConfig" if client.sdk.name == PY0 else "Model")
    assert mine["model"] == script.name
    assert mine["context_window"] > 0
    assert mine["model_endpoint_type"] == "openai"


@pytest.mark.parametrize("op", ["retrieve_agent", "create", "stream"])
def test_unknown_agent(client: Client, op: str) -> None:
    unknown = f"agent-{uuid.uuid4()}"
    messages = {} if op == "retrieve_agent" else {"messages": user("hi")}
    with pytest.raises(SdkError) as raised:
        client.all(op, agent_id=unknown, **messages)
    error = raised.value
    assert error.status == 404
    assert {PY0: "ApiError", JS0: "LettaError"}.get(client.sdk.name, "NotFoundError") in error.bases
    if not (client.sdk.name == JS0 and op == "stream"):  # there this SDK leaves the body unread
        assert error.body == {"detail": f"Agent with ID {unknown} not found"}


@pytest.mark.parametrize("op", ["create", "stream"])
def test_body_that_is_refused(client: Client, script: Script, op: str) -> None:
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError) as raised:
        client.all(op, agent_id=agent, messages=[])
    error = raised.value
    if client.sdk.name == JS0 and op == "stream":
        assert error.cls == "ParseError", "known of this SDK: it reads no error body of a stream call"
        return
    assert "UnprocessableEntityError" in error.bases
    assert error.status == 422
    assert all({"loc", "msg", "type"} <= problem.keys() for problem in error.body["detail"])
    assert script.asked == []


def test_failure_inside_a_stream_raises_in_the_newer_sdks(new_client: Client, script: Script) -> None:
    script.refuse(401, "that key is wrong")
    agent = fresh_agent(new_client, script)
    with pytest.raises(SdkError) as raised:
        new_client.all("stream", agent_id=agent, messages=user("hi"))
    error = raised.value
    assert error.cls == ("APIStatusError" if new_client.sdk.name == PY1 else "APIError")
    assert error.body["message_type"] == "error_message"
    assert error.body["error_type"] == "llm_authentication"
    assert types(error.before) == ["stop_reason", "usage_statistics"]
    assert error.before[-2]["stop_reason"] == "llm_api_error"
    assert_classes(new_client, error.before)


def test_failure_inside_a_stream_shows_in_the_older_sdks(old_client: Client, script: Script) -> None:
    script.refuse(401, "that key is wrong")
    agent = fresh_agent(old_client, script)
    items = old_client.all("stream", agent_id=agent, messages=user("hi"))
    assert types(items) == ["stop_reason", "usage_statistics"]
    assert_classes(old_client, items)
    assert items[-2]["stop_reason"] == "llm_api_error"
    assert items[-2]["error"]["error_type"] == "llm_authentication"


def test_failure_without_streaming_runs_once(client: Client, script: Script) -> None:
    script.refuse(400, "no such luck")
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError) as raised:
        client.all("create", agent_id=agent, messages=user("hi"))
    assert raised.value.status == 400
    assert len(script.asked) == 1
    history = client.all("list_messages", agent_id=agent)
    assert [item["content"] for item in history if item.type == "user_message"] == ["hi"]


def test_server_error_of_the_model_is_not_sent_again(client: Client, script: Script) -> None:
    for _ in range(20):
        script.refuse(500, "broken")
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError) as raised:
        client.all("create", agent_id=agent, messages=user("hi"))
    assert raised.value.status == (424 if client.sdk.name == JS0 else 500)
    history = client.all("list_messages", agent_id=agent)
    assert [item["content"] for item in history if item.type == "user_message"] == ["hi"]


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
