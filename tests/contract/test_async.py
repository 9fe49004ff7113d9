"""Messages whose sender does not wait: the run can be asked for, followed, or call back."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.contract.told import ADA, fresh_agent, user
from tests.rig.answers import Hold, call, text
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import JS0, PY0, Client
from tests.rig.server import Server

LIMIT = 20.0


class Receiver:
    """Takes callbacks on a loopback port, and answers all of them with one status."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.came = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                receiver.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(receiver.status)
                self.send_header("Location", receiver.url)
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.came.set()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/ended"
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def open_server(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose operator allows callbacks to this machine."""
    environment = {**models.environment, "PERDURE_PRIVATE_CALLBACKS": "1"}
    with Server(tmp_path_factory.mktemp("callbacks") / "data", environment) as server:
        yield server


def agent_of(server: Server, script: Script) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA)["id"]


def send(server: Server, agent: str, what: str = "hi", **options: Any) -> dict[str, Any]:
    reply = server.post(f"/v1/agents/{agent}/messages/async", {"messages": user(what), **options})
    assert reply.status == 200, reply.text
    return reply.json


def eventually(look: Callable[[], dict[str, Any]], ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What `look` gives once it is `ready`."""
    deadline = time.monotonic() + LIMIT
    while not ready(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def ended(server: Server, run_id: str) -> dict[str, Any]:
    return eventually(lambda: server.get(f"/v1/runs/{run_id}").json, lambda run: run["completed_at"] is not None)


def told(server: Server, run_id: str) -> dict[str, Any]:
    """The run once its callback was tried."""
    return eventually(lambda: server.get(f"/v1/runs/{run_id}").json, lambda run: run["callback_sent_at"] is not None)


def test_a_run_that_is_looked_at_later(client: Client, script: Script) -> None:
    hold = Hold()
    script.answer(hold, text("Done."))
    agent = fresh_agent(client, script)
    run = client.one("create_async", agent_id=agent, messages=user("hi"))
    assert (run["agent_id"], run["background"], run["status"]) == (agent, True, "running")
    assert run["id"].startswith("run-")
    if client.sdk.language == "py":
        assert run.cls == "Run"
    hold.release()
    run = eventually(
        lambda: client.one("retrieve_run", run_id=run["id"]).fields, lambda found: found["status"] != "running"
    )
    assert (run["status"], run["stop_reason"]) == ("completed", "end_turn")
    messages = client.all("list_run_messages", run_id=run["id"])
    assert [item.type for item in messages] == ["user_message", "assistant_message"]


def test_the_run_can_be_followed(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Half"), hold, text(" of it."))
    agent = agent_of(server, script)
    run = send(server, agent, stream_tokens=True)
    with server.stream(f"/v1/runs/{run['id']}/stream", {}) as stream:
        stream.until("assistant_message")
        hold.release()
        frames = stream.read()
    assert [frame.kind for frame in frames][-3:] == ["stop_reason", "usage_statistics", "[DONE]"]
    assert "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message") == "Half of it."


def test_one_for_a_busy_agent_waits(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(hold, text("first")).say("second")
    agent = agent_of(server, script)
    one, two = send(server, agent, "1"), send(server, agent, "2")
    assert [one["status"], two["status"]] == ["running", "created"]
    hold.release()
    assert [ended(server, run["id"])["status"] for run in (one, two)] == ["completed"] * 2


def test_background_streams_are_marked_and_go_on_alone(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Half"), hold, text(" of it."))
    agent = agent_of(server, script)
    body = {"messages": user("hi"), "stream_tokens": True, "background": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        run_id = stream.until("assistant_message").json["run_id"]
    hold.release()
    run = ended(server, run_id)
    assert (run["background"], run["status"]) == (True, "completed")
    with server.stream(f"/v1/runs/{run_id}/stream", {"starting_after": 2}) as stream:
        numbers = [frame.json["seq_id"] for frame in stream.read()[:-1]]
    assert numbers == [3, 4, 5]


def test_the_end_is_called_back(open_server: Server, script: Script, receiver: Receiver) -> None:
    script.answer(call("memory_insert", {"label": "human", "new_string": "Tea.", "insert_line": -1})).say("Saved.")
    agent = agent_of(open_server, script)
    run = send(open_server, agent, callback_url=receiver.url)
    assert run["callback_url"] == receiver.url
    assert run["callback_sent_at"] is None
    assert receiver.came.wait(LIMIT)
    run = told(open_server, run["id"])
    assert (run["callback_status_code"], run["callback_error"]) == (200, None)
    (got,) = receiver.got
    assert (got["run_id"], got["status"], got["completed_at"]) == (run["id"], "completed", run["completed_at"])
    assert got["metadata"]["run_type"] == "send_message_async"
    result = got["metadata"]["result"]
    assert [item["message_type"] for item in result["messages"]] == [
        "tool_call_message", "tool_return_message", "assistant_message",
    ]  # fmt: skip
    assert result["stop_reason"] == {"message_type": "stop_reason", "stop_reason": "end_turn"}
    assert result["usage"]["step_count"] == 2
    assert receiver.headers[0]["host"] == f"127.0.0.1:{receiver.port}"
    assert receiver.headers[0]["content-type"] == "application/json"


@pytest.mark.parametrize("name", [PY0, JS0])
def test_the_result_is_written_for_whoever_sent_the_message(
    sdks: Any, open_server: Server, script: Script, receiver: Receiver, name: str
) -> None:
    calls = [call("memory_insert", {"label": "human", "new_string": word, "insert_line": -1}) for word in ("a", "b")]
    script.answer(*calls).say("Saved.")
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    agent = open_server.new_agent(model=script.handle, memory_blocks=ADA, model_settings=settings)["id"]
    client = sdks(name).at(open_server.base_url)
    client.one("create_async", agent_id=agent, messages=user("hi"), callback_url=receiver.url)
    assert receiver.came.wait(LIMIT)
    kinds = [item["message_type"] for item in receiver.got[0]["metadata"]["result"]["messages"]]
    assert kinds == ["tool_call_message"] * 2 + ["tool_return_message"] * 2 + ["assistant_message"]


def test_a_failure_is_called_back_too(open_server: Server, script: Script, receiver: Receiver) -> None:
    script.refuse(401, "that key is wrong")
    run = send(open_server, agent_of(open_server, script), callback_url=receiver.url)
    assert receiver.came.wait(LIMIT)
    (got,) = receiver.got
    assert got["status"] == "failed"
    assert got["metadata"]["error"]["error_type"] == "llm_authentication"
    assert got["metadata"]["result"]["stop_reason"]["stop_reason"] == "llm_api_error"
    assert told(open_server, run["id"])["callback_status_code"] == 200


def test_a_receiver_that_refuses_or_redirects_is_told_once(
    open_server: Server, script: Script, receiver: Receiver
) -> None:
    for status in (500, 307):
        receiver.status = status
        script.say("Done.")
        run = send(open_server, agent_of(open_server, script), callback_url=receiver.url)
        assert told(open_server, run["id"])["callback_status_code"] == status
    assert len(receiver.got) == 2


def test_a_receiver_that_is_not_there(open_server: Server, script: Script, receiver: Receiver) -> None:
    receiver.stop()
    script.say("Done.")
    run = send(open_server, agent_of(open_server, script), callback_url=receiver.url)
    run = told(open_server, run["id"])
    assert run["callback_status_code"] is None
    assert "cannot be reached" in run["callback_error"]
    assert run["status"] == "completed"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://2130706433:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://0x7f000001:{port}/",
        "http://127.1:{port}/",
        "http://0:{port}/",
        "http://[::1]:{port}/",
        "http://[::]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[64:ff9b::7f00:1]:{port}/",
        "http://[2002:7f00:1::]:{port}/",
        "http://[fd00::1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://user:secret@example.com/",
        "http://example.com@127.0.0.1:{port}/",
        "http://example.com\\@127.0.0.1:{port}/",
        "http://127%2e0%2e0%2e1:{port}/",
        "http://127.0.0.1\t:{port}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "nonsense",
        "",
    ],
)
def test_callbacks_do_not_reach_into_the_network(server: Server, script: Script, receiver: Receiver, url: str) -> None:
    body = {"messages": user("hi"), "callback_url": url.format(port=receiver.port)}
    refused = server.post(f"/v1/agents/{agent_of(server, script)}/messages/async", body)
    assert refused.status == 422
    assert refused.json["detail"][0]["loc"] == ["body", "callback_url"]
    assert refused.headers["x-should-retry"] == "false"
    assert (receiver.got, script.asked) == ([], [])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1."])
def test_nor_by_a_name(server: Server, script: Script, receiver: Receiver, host: str) -> None:
    script.say("Done.")
    run = send(server, agent_of(server, script), callback_url=f"http://{host}:{receiver.port}/")
    run = told(server, run["id"])
    assert (run["status"], run["callback_status_code"]) == ("completed", None)
    assert "not a public address" in run["callback_error"] or "cannot be reached" in run["callback_error"]
    assert receiver.got == []


def test_a_run_that_a_crash_cut_off_is_called_back_after_it(
    models: ModelServer, new_server: Callable[..., Server], script: Script, receiver: Receiver
) -> None:
    server = new_server({**models.environment, "PERDURE_PRIVATE_CALLBACKS": "1"}).start()
    hold = Hold()
    script.answer(text("Half"), hold).say("second")
    agent = agent_of(server, script)
    first = send(server, agent, "1", stream_tokens=True, callback_url=receiver.url)
    second = send(server, agent, "2", callback_url=receiver.url)
    with server.stream(f"/v1/runs/{first['id']}/stream", {}) as stream:
        stream.until("assistant_message")
    server.kill()
    hold.release()
    server.start()
    assert told(server, first["id"])["callback_status_code"] == 200
    assert told(server, second["id"])["callback_status_code"] == 200
    found = {got["run_id"]: got for got in receiver.got}
    assert found.keys() == {first["id"], second["id"]}
    assert found[first["id"]]["metadata"]["error"]["error_type"] == "run_interrupted"
    assert [item["content"] for item in found[first["id"]]["metadata"]["result"]["messages"]] == ["Half"]
    assert found[second["id"]]["status"] == "completed"
