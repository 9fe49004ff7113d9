"""Runs and steps read back: listed, filtered, paged, counted, rated, deleted."""

import uuid
from typing import Any

import pytest

from tests.contract.told import ADA, fresh_agent, types, user
from tests.rig.answers import Hold, call, reasoning, text
from tests.rig.model import Script
from tests.rig.sdks import JS0, PY1, Client, SdkError
from tests.rig.server import Server

TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}


def agent_of(server: Server, script: Script, **fields: Any) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA, **fields)["id"]


def run_turn(server: Server, agent: str, what: str = "hi", **options: Any) -> str:
    """A streamed turn to its end; returns the run's id."""
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user(what), **options}) as stream:
        return stream.read()[0].json["run_id"]


def get(server: Server, path: str) -> Any:
    reply = server.get(path)
    assert reply.status == 200, reply.text
    return reply.json


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in found]


def test_a_turn_read_back(client: Client, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("hi"))
    run_id = items[0]["run_id"]
    (run,) = client.all("list_runs", agent_ids=[agent])
    assert (run["id"], run["status"], run["stop_reason"], run["background"]) == (
        run_id, "completed", "end_turn", False,
    )  # fmt: skip
    assert run["total_duration_ns"] >= run["ttft_ns"] > 0
    assert run["request_config"]["use_assistant_message"] is True
    messages = client.all("list_run_messages", run_id=run_id)
    assert types(messages) == [
        "user_message", "reasoning_message", "tool_call_message", "tool_return_message", "assistant_message",
    ]  # fmt: skip
    assert {item["run_id"] for item in messages} == {run_id}
    usage = client.one("retrieve_run_usage", run_id=run_id)
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (200, 20, 220)


def test_its_steps_read_back(client: Client, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("hi"))
    steps = client.all("list_run_steps", run_id=items[0]["run_id"], order="asc")
    assert [step["id"] for step in steps] == list(dict.fromkeys(i["step_id"] for i in items if i.get("step_id")))
    first = steps[0]
    assert (first["status"], first["agent_id"], first["model"], first["provider_name"]) == (
        "success", agent, script.name, "openai",
    )  # fmt: skip
    assert (first["prompt_tokens"], first["completion_tokens"], first["total_tokens"]) == (100, 10, 110)
    assert first["run_id" if client.sdk.generation else "job_id"] == items[0]["run_id"]
    assert [step.get("stop_reason") for step in steps] == [None, "end_turn"]
    newest_first = client.all("list_steps", agent_id=agent)
    assert [step["id"] for step in newest_first] == [step["id"] for step in reversed(steps)]
    again = client.one("retrieve_step", step_id=first["id"])
    assert again["id"] == first["id"]
    metrics = client.one("retrieve_step_metrics", step_id=first["id"])
    assert metrics["id"] == first["id"]
    assert metrics["step_ns"] == metrics["llm_request_ns"] + metrics["tool_execution_ns"] > 0
    if client.sdk.name != JS0:
        said = client.all("list_step_messages", step_id=first["id"])
        assert types(said) == ["reasoning_message", "tool_call_message", "tool_return_message"]


def test_a_step_is_rated(client: Client, script: Script) -> None:
    script.say("Hello")
    agent = fresh_agent(client, script)
    client.all("stream", agent_id=agent, messages=user("hi"))
    (step,) = client.all("list_steps", agent_id=agent)
    assert step.get("feedback") is None
    rated = client.one("rate_step", step_id=step["id"], feedback="positive")
    assert (rated["id"], rated["feedback"], rated["tags"]) == (step["id"], "positive", [])
    assert [item["id"] for item in client.all("list_steps", agent_id=agent, feedback="positive")] == [step["id"]]
    assert client.all("list_steps", agent_id=agent, has_feedback=False) == []
    if client.sdk.name != JS0:  # it knows no tags
        rated = client.one("rate_step", step_id=step["id"], tags=["short"])
        assert (rated["feedback"], rated["tags"]) == ("positive", ["short"])


def test_the_older_sdks_list_active_runs_and_delete(old_client: Client, server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Half"), hold)
    agent = fresh_agent(old_client, script)
    run_id = old_client.one("create_async", agent_id=agent, messages=user("hi"))["id"]
    hold.wait_reached()
    # npm 0.1.x knows only the older name.
    only = {"agent_ids": [agent]} if old_client.sdk.name == JS0 else {"agent_id": agent}
    assert [run["id"] for run in old_client.all("list_active_runs", **only)] == [run_id]
    assert old_client.one("delete_run", run_id=run_id)["id"] == run_id
    assert script.asked[0].closed.wait(20), "a run that is deleted is cancelled first"
    assert old_client.all("list_active_runs", **only) == []
    with pytest.raises(SdkError) as raised:
        old_client.one("retrieve_run", run_id=run_id)
    assert raised.value.status == 404
    assert server.get(f"/v1/runs/{run_id}/steps").status == 404
    history = get(server, f"/v1/agents/{agent}/messages")
    assert [item["content"] for item in history if item["message_type"] == "user_message"] == ["hi"]


def test_runs_are_paged_by_the_newer_sdks(new_client: Client, server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    runs: list[str] = []
    for _ in range(5):
        script.say("ok")
        runs.append(run_turn(server, agent))
    if new_client.sdk.name == PY1:
        assert [run.cls for run in new_client.all("list_runs", agent_id=agent)] == ["Run"] * 5
    for order, expected in (("asc", runs), ("desc", runs[::-1])):
        assert [r["id"] for r in new_client.all("list_runs", agent_id=agent, limit=2, order=order)] == expected
    steps = new_client.all("list_steps", agent_id=agent, limit=2)
    assert [step["run_id"] for step in steps] == runs[::-1]


def test_which_runs(server: Server, script: Script) -> None:
    agent, other = agent_of(server, script), agent_of(server, script)
    script.say("ok").refuse(401).say("ok").say("ok")
    done = run_turn(server, agent)
    failed = run_turn(server, agent)
    behind = run_turn(server, agent, background=True)
    elsewhere = run_turn(server, other)

    def found(query: str) -> list[str]:
        return ids(get(server, f"/v1/runs/?{query}"))

    mine = f"agent_id={agent}"
    assert found(mine) == [behind, failed, done]
    assert found(f"{mine}&ascending=true") == [done, failed, behind]
    assert found(f"agent_ids={agent}&agent_ids={other}&limit=2") == [elsewhere, behind]
    assert found(f"{mine}&agent_ids={other}") == [behind, failed, done]
    assert found(f"{mine}&statuses=failed&statuses=cancelled") == [failed]
    assert found(f"{mine}&stop_reason=llm_api_error") == [failed]
    assert found(f"{mine}&background=true") == [behind]
    assert found(f"{mine}&background=false") == [failed, done]
    assert found(f"{mine}&active=true") == []
    assert found(f"{mine}&active=false&statuses=pending") == []
    assert found(f"{mine}&conversation_id=default") == [behind, failed, done]
    assert found(f"{mine}&conversation_id=conv-{uuid.uuid4()}") == []
    assert found(f"{mine}&after={behind}&limit=1") == [failed]
    assert found(f"{mine}&before={done}&limit=1") == [failed]
    assert found(f"{mine}&order=asc&after={done}") == [failed, behind]
    assert {run["conversation_id"] for run in get(server, f"/v1/runs/?{mine}")} == {None}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("after=run-00000000-0000-4000-8000-000000000000", 404),
        ("limit=0", 422),
        ("order=sideways", 422),
        ("stop_reason=whim", 422),
        ("active=perhaps", 422),
    ],
)
def test_queries_that_make_no_sense(server: Server, query: str, status: int) -> None:
    assert server.get(f"/v1/runs/?{query}").status == status


@pytest.mark.parametrize("path", ["", "/messages", "/steps", "/usage", "/metrics"])
def test_an_unknown_run(server: Server, path: str) -> None:
    unknown = f"run-{uuid.uuid4()}"
    reply = server.get(f"/v1/runs/{unknown}{path}")
    assert (reply.status, reply.json) == (404, {"detail": f"Run with ID {unknown} not found"})


@pytest.mark.parametrize("path", ["", "/messages", "/metrics"])
def test_an_unknown_step(server: Server, path: str) -> None:
    unknown = f"step-{uuid.uuid4()}"
    reply = server.get(f"/v1/steps/{unknown}{path}")
    assert (reply.status, reply.json) == (404, {"detail": f"Step with ID {unknown} not found"})
    assert server.request("PATCH", f"/v1/steps/{unknown}/feedback", {"feedback": "negative"}).status == 404


def test_the_messages_of_a_run_in_pages(server: Server, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
    run_id = run_turn(server, agent_of(server, script))
    every = get(server, f"/v1/runs/{run_id}/messages")
    rows = list(dict.fromkeys(ids(every)))
    assert len(rows) == 4

    def page(query: str) -> list[str]:
        return list(dict.fromkeys(ids(get(server, f"/v1/runs/{run_id}/messages?{query}"))))

    assert page("limit=2") == rows[:2]
    assert page(f"limit=2&after={rows[1]}") == rows[2:]
    assert page(f"limit=2&before={rows[3]}") == rows[1:3]
    assert page("limit=2&order=desc") == rows[:1:-1]
    assert page(f"order=desc&after={rows[2]}") == rows[1::-1]
    assert page(f"after={rows[3]}") == []


def test_the_messages_of_a_run_are_those_it_was_to_show(server: Server, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    kinds = ["assistant_message", "user_message"]
    run_id = run_turn(server, agent_of(server, script), include_return_message_types=kinds)
    shown = get(server, f"/v1/runs/{run_id}/messages?limit=2")
    assert [item["message_type"] for item in shown] == ["user_message", "assistant_message"]
    script.say("Hello")
    run_id = run_turn(server, agent_of(server, script), include_return_message_types=[])
    assert len(get(server, f"/v1/runs/{run_id}/messages")) == 2


@pytest.mark.parametrize("as_words", [True, False], ids=["words", "call"])
def test_an_agent_that_speaks_by_tool_reads_back_as_it_was_streamed(
    server: Server, script: Script, as_words: bool
) -> None:
    script.answer(call("send_message", {"message": "Hello."}))
    agent = agent_of(server, script, agent_type="memgpt_v2_agent")
    run_id = run_turn(server, agent, use_assistant_message=as_words)
    expected = ["assistant_message"] if as_words else ["tool_call_message", "tool_return_message"]
    shown = get(server, f"/v1/runs/{run_id}/messages")
    assert [item["message_type"] for item in shown] == ["user_message", *expected]
    (step,) = get(server, f"/v1/runs/{run_id}/steps")
    shown = get(server, f"/v1/steps/{step['id']}/messages")
    assert [item["message_type"] for item in shown] == expected


def test_what_a_run_took(server: Server, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    agent = agent_of(server, script)
    run_id = run_turn(server, agent)
    metrics = get(server, f"/v1/runs/{run_id}/metrics")
    tools = {tool["name"]: tool["id"] for tool in get(server, f"/v1/agents/{agent}/tools")}
    assert (metrics["id"], metrics["agent_id"], metrics["num_steps"]) == (run_id, agent, 2)
    assert metrics["tools_used"] == [tools["memory_insert"]]
    assert metrics["run_ns"] == get(server, f"/v1/runs/{run_id}")["total_duration_ns"] > 0


def test_the_tokens_of_a_run_so_far(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(call("memory_insert", TEA)).answer(text("Sav"), hold, text("ed."))
    agent = agent_of(server, script)
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
        assert get(server, f"/v1/runs/{run_id}/usage")["total_tokens"] == 110
        assert get(server, f"/v1/runs/{run_id}")["total_duration_ns"] is None
        hold.release()
        stream.read()
    assert get(server, f"/v1/runs/{run_id}/usage")["total_tokens"] == 220


def test_a_step_that_failed(server: Server, script: Script) -> None:
    script.refuse(401, "that key is wrong")
    agent = agent_of(server, script)
    run_id = run_turn(server, agent)
    (step,) = get(server, f"/v1/runs/{run_id}/steps")
    assert (step["status"], step["stop_reason"], step["error_type"]) == (
        "failed", "llm_api_error", "llm_authentication",
    )  # fmt: skip
    assert "that key is wrong" in step["error_data"]["detail"]


def test_which_steps(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    script.say("one").say("two")
    for _ in range(2):
        run_turn(server, agent)
    second, first = ids(get(server, f"/v1/steps/?agent_id={agent}"))
    for step, tags in ((first, ['a "b" 100%']), (second, ["a_b", "c"])):
        server.request("PATCH", f"/v1/steps/{step}/feedback", {"feedback": "negative", "tags": tags})
    began = get(server, f"/v1/runs/?agent_id={agent}&order=asc")[1]["created_at"].replace("+00:00", "Z")

    def found(query: str) -> list[str]:
        return ids(get(server, f"/v1/steps/?agent_id={agent}&{query}"))

    assert found(f"model={script.name}&order=asc") == [first, second]
    assert found("model=other") == []
    assert found("tags=c&tags=d") == [second]
    assert found("tags=a%20%22b%22%20100%25") == [first]
    assert found("tags=a%25") == []
    assert found("tags=b") == []
    assert found("feedback=negative&limit=1") == [second]
    assert found("has_feedback=true") == [second, first]
    assert found("feedback=positive") == []
    assert found("trace_ids=x") == []
    assert found(f"start_date={began}") == [second]
    assert found(f"end_date={began}") == [first]
    assert found("end_date=2020-01-01T00:00:00") == []
    assert server.get("/v1/steps/?start_date=yesterday").status == 422
    cleared = server.request("PATCH", f"/v1/steps/{first}/feedback", {"feedback": None}).json
    assert (cleared["feedback"], cleared["tags"]) == (None, ['a "b" 100%'])


@pytest.mark.parametrize("path", ["/v1/runs/{run}/trace", "/v1/steps/{step}/trace", "/v1/telemetry/{step}"])
def test_traces_are_not_kept(server: Server, path: str) -> None:
    reply = server.get(path.format(run=f"run-{uuid.uuid4()}", step=f"step-{uuid.uuid4()}"))
    assert reply.status == 501
