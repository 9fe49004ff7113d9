"""Cancelling: at once whatever the run is doing, and nothing that was said is lost."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.told import ADA, fresh_agent, said, types, user
from tests.rig.answers import Answer, Hold, Text, call, text
from tests.rig.http import EventStream, Frame
from tests.rig.model import Script
from tests.rig.sdks import JS0, PY0, Client, SdkError
from tests.rig.server import Server

PROMISED = 0.1
"""Seconds from the call to the end of the stream; the tests allow ten times that."""
LIMIT = 20.0
TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}


def agent_of(server: Server, script: Script, **fields: Any) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA, **fields)["id"]


def open_stream(server: Server, agent: str, what: str = "hi", **options: Any) -> EventStream:
    body = {"messages": user(what), "stream_tokens": True, **options}
    return server.stream(f"/v1/agents/{agent}/messages/stream", body)


def cancel(server: Server, agent: str, body: Any = None) -> dict[str, str]:
    reply = server.post(f"/v1/agents/{agent}/messages/cancel", body)
    assert reply.status == 200, reply.text
    return reply.json


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 10 * PROMISED


def assert_cancelled(server: Server, frames: list[Frame]) -> None:
    """The stream ended as a cancelled one does, and the run says the same."""
    assert [frame.kind for frame in frames[-3:]] == ["stop_reason", "usage_statistics", "[DONE]"]
    assert [frame.json["stop_reason"] for frame in frames if frame.kind == "stop_reason"] == ["cancelled"]
    run = server.get(f"/v1/runs/{frames[0].json['run_id']}").json
    assert (run["status"], run["stop_reason"]) == ("cancelled", "cancelled")


def history(server: Server, agent: str) -> list[dict[str, Any]]:
    """What the agent's history holds after its system message."""
    return server.get(f"/v1/agents/{agent}/messages").json[1:]


def assert_goes_on(server: Server, script: Script, agent: str) -> None:
    """The next message is answered; the scripted model refuses a history that no provider would take."""
    script.say("Still here.")
    with open_stream(server, agent, "and now?") as stream:
        frames = stream.read()
    assert "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message") == "Still here."


def test_s47_while_tokens_flow(client: Client, server: Server, script: Script) -> None:
    script.answer(text("Half of"), Hold(), text(" it."))
    agent = fresh_agent(client, script)
    stream = client.each("stream", agent_id=agent, messages=user("hi"), stream_tokens=True)
    items = []
    for item in stream:
        items.append(item)
        if item.type == "assistant_message":
            break
    with soon():
        cancelled = cancel(server, agent)
        items += stream
    assert cancelled == {items[-1]["run_id"]: "cancelled"}
    run = server.get(f"/v1/runs/{items[-1]['run_id']}").json
    assert (run["status"], run["stop_reason"]) == ("cancelled", "cancelled")
    assert types(items) == ["assistant_message", "stop_reason", "usage_statistics"]
    assert items[-2]["stop_reason"] == "cancelled"
    assert said(items) == "Half of"
    assert [each["content"] for each in history(server, agent)] == ["hi", "Half of"]
    assert script.asked[0].closed.wait(LIMIT), "the model is no longer listened to"
    script.say("Still here.")
    assert said(client.all("stream", agent_id=agent, messages=user("and now?"))) == "Still here."


def test_by_each_sdk(client: Client, server: Server, script: Script) -> None:
    script.answer(text("Half of"), Hold())
    agent = fresh_agent(client, script)
    with open_stream(server, agent) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
        assert client.one("cancel", agent_id=agent).fields == {run_id: "cancelled"}
        assert_cancelled(server, stream.read())
    assert client.one("cancel", agent_id=agent, run_ids=[run_id]).fields == {run_id: "cancelled"}


def test_s50_nothing_to_cancel(client: Client, script: Script) -> None:
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError) as raised:
        client.one("cancel", agent_id=agent)
    assert raised.value.status == 409
    assert {PY0: "ApiError", JS0: "LettaError"}.get(client.sdk.name, "ConflictError") in raised.value.bases
    assert raised.value.body == {"detail": f"CONFLICT: No active runs to cancel for agent {agent}"}


@pytest.mark.parametrize("before", [(), (text(""),)], ids=["before it answers", "before it says anything"])
def test_while_the_model_is_silent(server: Server, script: Script, before: tuple[Text, ...]) -> None:
    hold = Hold()
    script.answer(*before, hold, text("late"))
    agent = agent_of(server, script)
    with open_stream(server, agent) as stream:
        stream.until("ping")
        hold.wait_reached()
        with soon():
            cancel(server, agent)
            assert_cancelled(server, stream.read())
    assert [each["content"] for each in history(server, agent)] == ["hi"]
    assert_goes_on(server, script, agent)


def test_s48_while_a_tool_runs(server: Server, script: Script, tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    script.answer(text("Wait."), call("hang", {"mark": str(mark)}))
    agent = agent_of(server, script, tools=["hang"])
    with open_stream(server, agent) as stream:
        stream.until("tool_call_message")
        deadline = time.monotonic() + LIMIT
        while not mark.exists():
            assert time.monotonic() < deadline, "the tool did not begin"
            time.sleep(0.005)
        with soon():
            cancel(server, agent)
            frames = stream.read()
    assert_cancelled(server, frames)
    answer = next(frame.json for frame in frames if frame.kind == "tool_return_message")
    assert answer["status"] == "error"
    assert "cancelled" in answer["tool_return"]
    kept = history(server, agent)
    assert [each["message_type"] for each in kept] == [
        "user_message", "assistant_message", "tool_call_message", "tool_return_message",
    ]  # fmt: skip
    assert kept[-1]["tool_return"] == answer["tool_return"]
    assert_goes_on(server, script, agent)


@pytest.mark.parametrize("tokens", [True, False], ids=["tokens", "steps"])
def test_in_the_middle_of_a_tool_call(server: Server, script: Script, tokens: bool) -> None:
    hold = Hold()
    script.answer(text("Saving."), call("memory_insert", TEA), hold)
    agent = agent_of(server, script)
    with open_stream(server, agent, stream_tokens=tokens) as stream:
        hold.wait_reached()
        if tokens:
            stream.until("tool_call_message")
        with soon():
            cancel(server, agent)
            frames = stream.read()
    assert_cancelled(server, frames)
    answer = next(frame.json for frame in frames if frame.kind == "tool_return_message")
    assert (answer["status"], answer["tool_return"]) == (
        "error",
        "This call was not run: the request was cancelled.",
    )
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "Name: Ada."
    assert_goes_on(server, script, agent)


def test_while_waiting_for_a_turn(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("First"), hold)
    agent = agent_of(server, script)
    with open_stream(server, agent, "1") as one, open_stream(server, agent, "2") as two:
        one.until("assistant_message")
        waiting = two.until("ping").json["run_id"]
        with soon():
            assert cancel(server, agent, {"run_ids": [waiting]}) == {waiting: "cancelled"}
            assert_cancelled(server, two.read())
        hold.release()
        assert [frame.json["stop_reason"] for frame in one.read() if frame.kind == "stop_reason"] == ["end_turn"]
    assert [each["content"] for each in history(server, agent)] == ["1", "First"]
    assert len(script.asked) == 1
    assert_goes_on(server, script, agent)


def test_all_at_once(server: Server, script: Script) -> None:
    script.answer(text("First"), Hold())
    agent = agent_of(server, script)
    with open_stream(server, agent, "1") as one, open_stream(server, agent, "2") as two:
        runs = [one.until("assistant_message").json["run_id"], two.until("ping").json["run_id"]]
        with soon():
            assert sorted(cancel(server, agent)) == sorted(runs)
            for stream in (one, two):
                assert_cancelled(server, stream.read())
    assert len(script.asked) == 1


def test_for_a_caller_who_waits_for_json(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Half of"), hold)
    agent = agent_of(server, script)
    replies: list[Any] = []
    path = f"/v1/agents/{agent}/messages"
    waiter = threading.Thread(target=lambda: replies.append(server.post(path, {"messages": user("hi")})))
    waiter.start()
    hold.wait_reached()
    with soon():
        cancel(server, agent)
        waiter.join(LIMIT)
    (reply,) = replies
    assert reply.status == 200
    assert reply.json["stop_reason"]["stop_reason"] == "cancelled"
    assert [each["content"] for each in reply.json["messages"]] == ["Half of"]


def test_twice_at_once(server: Server, script: Script) -> None:
    script.answer(text("Half of"), Hold())
    agent = agent_of(server, script)
    with open_stream(server, agent) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
        replies: list[dict[str, str]] = []
        callers = [
            threading.Thread(target=lambda: replies.append(cancel(server, agent, {"run_ids": [run_id]})))
            for _ in range(5)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(LIMIT)
        assert replies == [{run_id: "cancelled"}] * 5
        assert_cancelled(server, stream.read())
    assert [each["content"] for each in history(server, agent)] == ["hi", "Half of"]


def test_after_the_end_changes_nothing(server: Server, script: Script) -> None:
    script.say("Done.")
    agent = agent_of(server, script)
    with open_stream(server, agent) as stream:
        run_id = stream.read()[0].json["run_id"]
    assert cancel(server, agent, {"run_ids": [run_id]}) == {run_id: "cancelled"}
    assert server.get(f"/v1/runs/{run_id}").json["status"] == "completed"
    for body in (None, {}, {"run_ids": None}, {"run_ids": []}):
        assert server.post(f"/v1/agents/{agent}/messages/cancel", body).status == 409


def test_runs_of_others_are_not_found(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Mine"), hold)
    mine, other = agent_of(server, script), agent_of(server, script)
    with open_stream(server, mine) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
        for path, wanted in (
            (other, run_id),
            (mine, f"run-{uuid.uuid4()}"),
            (f"agent-{uuid.uuid4()}", run_id),
        ):
            refused = server.post(f"/v1/agents/{path}/messages/cancel", {"run_ids": [wanted]})
            assert refused.status == 404
        hold.release()
        assert [f.json["stop_reason"] for f in stream.read() if f.kind == "stop_reason"] == ["end_turn"]


def test_a_cancel_as_the_turn_passes_on(server: Server, script: Script) -> None:
    """However a cancel and the end of the run before meet, each run ends once and the agent goes on."""
    script.otherwise(lambda asked: Answer((text("ok"),)))
    agent = agent_of(server, script)
    for _ in range(15):
        with open_stream(server, agent, "1") as one, open_stream(server, agent, "2") as two:
            waiting = two.until("ping").json["run_id"]
            one.until("ping")
            cancel(server, agent, {"run_ids": [waiting]})
            ends = [
                frame.json["stop_reason"]
                for stream in (one, two)
                for frame in stream.read()
                if frame.kind == "stop_reason"
            ]
        assert ends[0] == "end_turn"
        assert ends[1] in ("cancelled", "end_turn")
    with open_stream(server, agent, "3") as stream:
        assert stream.read()[-1].kind == "[DONE]"
