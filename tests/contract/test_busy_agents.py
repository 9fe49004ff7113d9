"""One at a time: whatever else is asked of a busy agent waits its turn, or is refused where the operator says so."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.contract.told import user
from tests.contract.turns import agent_of, said_in
from tests.rig.answers import Hold, text
from tests.rig.http import Reply
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server


def test_messages_to_a_busy_agent_wait_their_turn(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("first"), hold).say("second").say("third")
    agent = agent_of(server, script)
    path = f"/v1/agents/{agent}/messages/stream"
    with (
        server.stream(path, {"messages": user("1"), "stream_tokens": True}) as one,
        server.stream(path, {"messages": user("2")}) as two,
        server.stream(path, {"messages": user("3")}) as three,
    ):
        one.until("assistant_message")
        assert two.until("ping").json["seq_id"] == 1
        assert three.until("ping").json["seq_id"] == 1
        hold.release()
        assert [said_in(stream.read()) for stream in (two, three)] == ["second", "third"]
        one.read()
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item["content"] for item in history[1:]] == ["1", "first", "2", "second", "3", "third"]


def test_a_busy_agent_refuses_where_the_operator_says_so(
    models: ModelServer, new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_BUSY": "reject"}).start()
    hold = Hold()
    script.answer(text("first"), hold)
    path = f"/v1/agents/{agent_of(server, script)}/messages/stream"
    with server.stream(path, {"messages": user("1"), "stream_tokens": True}) as one:
        run_id = one.until("assistant_message").json["run_id"]
        reply = server.post(path, {"messages": user("2")})
        assert (reply.status, reply.json["run_id"], reply.headers["retry-after"]) == (409, run_id, "2")
        hold.release()
        one.read()


LIMIT = 20.0


def still_waits(pending: "Future[Reply]", server: Server) -> bool:
    """Whether a request is not answered yet, though the server has answered many others since."""
    for _ in range(20):
        assert server.get("/v1/health/").status == 200
        time.sleep(0.005)
    return not pending.done()


def test_a_reset_waits_for_what_is_under_way(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("first"), hold, text(" done")).say("second")
    agent = agent_of(server, script)
    body = {"messages": user("1"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as one, ThreadPoolExecutor() as pool:
        one.until("assistant_message")
        reset = pool.submit(server.request, "PATCH", f"/v1/agents/{agent}/reset-messages")
        assert still_waits(reset, server)
        hold.release()
        assert "".join(said_in(one.read())) == "first done"
        state = reset.result(LIMIT)
    assert (state.status, len(state.json["message_ids"])) == (200, 1)
    assert server.post(f"/v1/agents/{agent}/messages", {"messages": user("2")}).status == 200
    assert [message["role"] for message in script.asked[-1].messages] == ["system", "user"]
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item["content"] for item in history[1:]] == ["1", "first done", "2", "second"]


def test_a_fork_waits_and_has_the_whole_answer(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("first"), hold, text(" done"))
    agent = agent_of(server, script)
    conversation = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    body = {"input": "1", "stream_tokens": True}
    with server.stream(f"/v1/conversations/{conversation}/messages", body) as one, ThreadPoolExecutor() as pool:
        one.until("assistant_message")
        fork = pool.submit(server.post, f"/v1/conversations/{conversation}/fork")
        assert still_waits(fork, server)
        hold.release()
        made = fork.result(LIMIT)
        one.read()
    assert made.status == 200
    shown = server.get(f"/v1/conversations/{made.json['id']}/messages?order=asc").json
    assert [item["content"] for item in shown[1:]] == ["1", "first done"]


def test_an_edit_waits(server: Server, script: Script) -> None:
    hold = Hold()
    script.say("zero").answer(text("first"), hold)
    agent = agent_of(server, script)
    path = f"/v1/agents/{agent}/messages"
    server.post(path, {"messages": user("0")})
    asked = next(item["id"] for item in server.get(path).json if item["message_type"] == "user_message")
    with server.stream(f"{path}/stream", {"messages": user("1"), "stream_tokens": True}) as one:
        one.until("assistant_message")
        with ThreadPoolExecutor() as pool:
            changes = {"message_type": "user_message", "content": "changed"}
            edit = pool.submit(server.request, "PATCH", f"{path}/{asked}", changes)
            assert still_waits(edit, server)
            hold.release()
            assert edit.result(LIMIT).json["content"] == "changed"
        one.read()
    assert [item["content"] for item in server.get(path).json[1:]] == ["changed", "zero", "1", "first"]


@pytest.mark.parametrize("path", ["agents/{agent}/reset-messages", "conversations/{agent}/fork"])
def test_nothing_waits_where_the_operator_says_so(
    models: ModelServer, new_server: Callable[..., Server], script: Script, path: str
) -> None:
    server = new_server({**models.environment, "PERDURE_BUSY": "reject"}).start()
    hold = Hold()
    script.answer(text("first"), hold)
    agent = agent_of(server, script)
    body = {"messages": user("1"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as one:
        run_id = one.until("assistant_message").json["run_id"]
        method = "PATCH" if path.endswith("messages") else "POST"
        reply = server.request(method, f"/v1/{path.format(agent=agent)}")
        assert (reply.status, reply.json["run_id"], reply.headers["retry-after"]) == (409, run_id, "2")
        hold.release()
        one.read()


def test_a_default_conversation_knows_when_it_was_spoken_to(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    address = f"/v1/conversations/{agent}"
    assert server.get(address).json["last_message_at"] is None
    script.say("Hello").say("Again")
    runs = []
    for _ in range(2):
        reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")})
        runs.append(server.get(f"/v1/runs/{reply.json['messages'][0]['run_id']}").json["created_at"])
        assert server.get(address).json["last_message_at"] == runs[-1]
