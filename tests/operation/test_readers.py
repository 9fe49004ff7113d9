"""Readers that read slowly or not at all, and more callers than the server takes: nobody else is held up."""

import json
import socket
from collections.abc import Callable

import psutil

from tests.contract.told import user
from tests.operation.scrape import scrape
from tests.operation.waiting import soon
from tests.rig.answers import Answer, Hold, text
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

PIECE = "x" * 100
MANY = 30_000
"""Of such pieces: a stream of 13 MiB, which no socket's buffers take."""
MIB = 1 << 20
LONG, SHORT = Answer((text(*[PIECE] * MANY),)), Answer((text("Short."),))


def deaf(server: Server, agent: str) -> socket.socket:
    """Somebody who asks for a stream and does not read it."""
    host, port = server.base_url.removeprefix("http://").split(":")
    body = json.dumps({"messages": user("Hi"), "stream_tokens": True}).encode()
    head = f"POST /v1/agents/{agent}/messages/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect((host, int(port)))
    reader.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return reader


def memory(server: Server) -> int:
    return psutil.Process(server.pid).memory_info().rss


def ended(server: Server, count: int) -> Callable[[], bool]:
    return lambda: scrape(server)("runs_total", status="completed", stop_reason="end_turn") >= count


def test_a_reader_that_does_not_read_costs_little_and_is_hung_up_on(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_STALLED_SECONDS": "5"}).start()
    agent, other = (server.new_agent(model=script.handle)["id"] for _ in range(2))
    script.say("warm")
    server.post(f"/v1/agents/{other}/messages", {"messages": user("Hi")})
    script.answer(text(*[PIECE] * MANY))
    before = memory(server)
    with deaf(server, agent):
        soon(ended(server, 2))
        assert scrape(server)("readers") == 1
        assert memory(server) - before < 60 * MIB
        soon(lambda: scrape(server)("readers") == 0)
        assert scrape(server)("readers_stalled_total") == 1
    run = server.get(f"/v1/runs/?agent_id={agent}").json[0]["id"]
    with server.stream(f"/v1/runs/{run}/stream", {"starting_after": MANY - 5}) as again:
        assert again.read()[-1].kind == "[DONE]"


def test_others_do_not_notice_readers_that_do_not_read(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server(models.environment).start()
    agents = [server.new_agent(model=script.handle)["id"] for _ in range(5)]
    script.otherwise(lambda asked: LONG if asked.said == "Hi" else SHORT)
    readers = [deaf(server, agent) for agent in agents[:4]]
    soon(ended(server, 4))
    reply = server.post(f"/v1/agents/{agents[4]}/messages", {"messages": user("Quick")}, limit=5.0)
    assert reply.json["messages"][0]["content"] == "Short."
    assert scrape(server)("readers") == 4
    for reader in readers:
        reader.close()
    soon(lambda: scrape(server)("readers") == 0)


def test_a_slow_reader_gets_everything(server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(text(*[PIECE] * 10_000))
    received = b""
    with deaf(server, agent) as reader:
        reader.settimeout(30)
        while not received.endswith(b"0\r\n\r\n"):
            received += reader.recv(4096)
    assert received.count(b'"content":"xxx') == 10_000
    assert received.count(b"data: [DONE]") == 1


def test_requests_beyond_the_limit_are_told_when_to_come_again(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server, hold = new_server({**models.environment, "PERDURE_MAX_REQUESTS": "3"}).start(), Hold()
    agents = [server.new_agent(model=script.handle)["id"] for _ in range(3)]
    for _ in agents:
        script.answer(text("Hm."), hold)
    streams = [server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("Hi")}) for agent in agents]
    for stream in streams:
        stream.until("ping")
    refused = server.get("/v1/agents/")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "PERDURE_MAX_REQUESTS" in refused.json["detail"]
    assert server.get("/v1/health/").status == 200
    assert server.get("/v1/health/ready").status == 200
    hold.release()
    for stream in streams:
        stream.read()
        stream.close()
    soon(lambda: server.get("/v1/agents/").status == 200)


def test_runs_beyond_the_limit_are_told_when_to_come_again(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server, hold = new_server({**models.environment, "PERDURE_MAX_RUNS": "2"}).start(), Hold()
    agents = [server.new_agent(model=script.handle)["id"] for _ in range(3)]
    for _ in agents[:2]:
        script.answer(text("Hm."), hold)
    runs = [
        server.post(f"/v1/agents/{agent}/messages/async", {"messages": user("Hi")}).json["id"] for agent in agents[:2]
    ]
    refused = server.post(f"/v1/agents/{agents[2]}/messages", {"messages": user("Hi")})
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert "PERDURE_MAX_RUNS" in refused.json["detail"]
    hold.release()
    for run in runs:
        soon(lambda run=run: server.get(f"/v1/runs/{run}").json["status"] == "completed")
    script.say("Now.")
    assert server.post(f"/v1/agents/{agents[2]}/messages", {"messages": user("Hi")}).status == 200


def test_more_connections_than_files_are_allowed_and_then_less(new_server: Callable[..., Server]) -> None:
    server = new_server({}).start()
    server.get("/v1/agents/")
    process = psutil.Process(server.pid)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 10, process.rlimit(psutil.RLIMIT_NOFILE)[1]))
    host, port = server.base_url.removeprefix("http://").split(":")
    crowd = [socket.create_connection((host, int(port))) for _ in range(40)]
    for each in crowd:
        each.close()

    def answered() -> bool:
        try:
            return server.get("/v1/agents/").status == 200
        except OSError:
            return False

    soon(answered)
