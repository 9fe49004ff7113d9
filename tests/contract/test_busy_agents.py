"""One at a time: a second message to a busy agent waits its turn, or is refused where the operator says so."""

from collections.abc import Callable

from tests.contract.told import user
from tests.contract.turns import agent_of, said_in
from tests.rig.answers import Hold, text
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
