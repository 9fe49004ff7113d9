"""A disk that is full, a file that is locked, read-only or gone: named, nothing lost, and over when the cause is."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Connection

from perdure.domain.errors import Unavailable
from tests.contract.told import user
from tests.operation.scrape import scrape
from tests.operation.waiting import soon
from tests.rig.answers import Hold, text
from tests.rig.http import EventStream
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server
from tests.rig.stores import SqlitePlace
from tests.runs.house import house, read, run
from tests.runs.house import said as said_in
from tests.runs.house import soon as soon_in


def full(server: Server) -> Callable[[], None]:
    """No file of the server's may grow any more, its log included, as on a full disk. Returns what ends that."""
    process = psutil.Process(server.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    return lambda: process.rlimit(psutil.RLIMIT_FSIZE, before)


def locked(server: Server) -> Callable[[], None]:
    """Another process writes the database and does not come to an end."""
    other = sqlite3.connect(server.data / "perdure.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def gone(server: Server) -> Callable[[], None]:
    """Somebody moves the data file away."""
    file = server.data / "perdure.db"
    file.rename(file.with_name("elsewhere.db"))
    return lambda: file.with_name("elsewhere.db").rename(file) and None


CAUSES = [full, locked, gone]


@contextlib.contextmanager
def half_way(server: Server, script: Script, agent: str, hold: Hold) -> Iterator[EventStream]:
    """A stream in the middle of an answer."""
    script.answer(text("One"), hold, text(" two", " three"))
    body = {"messages": user("Count"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        stream.until("assistant_message")
        yield stream


def said(server: Server, agent: str) -> list[str]:
    items = server.get(f"/v1/agents/{agent}/messages").json
    return [item["content"] for item in items if item["message_type"] in ("user_message", "assistant_message")]


@pytest.mark.stores("sqlite")
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_streams_wait_new_runs_are_refused_and_all_goes_on_when_it_is_over(
    new_server: Callable[..., Server],
    models: ModelServer,
    script: Script,
    cause: Callable[[Server], Callable[[], None]],
) -> None:
    server, hold = new_server(models.environment).start(), Hold()
    agent, other = (server.new_agent(model=script.handle)["id"] for _ in range(2))
    with half_way(server, script, agent, hold) as stream:
        end = cause(server)
        try:
            hold.release()
            soon(lambda: server.get("/v1/health/ready").json["status"] == "storage_unavailable")
            refused = server.post(f"/v1/agents/{other}/messages", {"messages": user("Now?")})
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            assert "data file" in refused.json["detail"]
            assert server.get("/v1/health/").status == 200
            assert said(server, agent) == ["Count"]
            assert scrape(server)("log_commit_failures_total") >= 1
        finally:
            end()
        frames = stream.read()
    assert "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message") == "One two three"
    assert frames[-3].json["stop_reason"] == "end_turn"
    assert said(server, agent) == ["Count", "One two three"]
    soon(lambda: server.get("/v1/health/ready").status == 200)
    script.say("Again.")
    assert server.post(f"/v1/agents/{other}/messages", {"messages": user("Now?")}).status == 200
    server.restart()
    assert said(server, agent) == ["Count", "One two three"]
    assert said(server, other) == ["Now?", "Again."]


def test_a_server_told_to_stop_on_a_full_disk_stops_and_the_next_one_makes_it_whole(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server, hold = new_server({**models.environment, "PERDURE_DRAIN_SECONDS": "0.5"}).start(), Hold()
    agent = server.new_agent(model=script.handle)["id"]
    with half_way(server, script, agent, hold):
        full(server)
        began = time.monotonic()
        server.terminate()
        server.wait(40)
        assert time.monotonic() - began < 30
    server.start()
    assert said(server, agent) == ["Count", "One"]
    script.say("Back.")
    assert server.post(f"/v1/agents/{agent}/messages", {"messages": user("So?")}).status == 200


def test_a_file_that_turns_read_only(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(SqlitePlace(tmp_path)) as at:
            agent = await at.agent()
            writer = await at.db.write(_writer)
            writer.execute("PRAGMA query_only = 1")
            with pytest.raises(Unavailable, match="readonly") as refused:
                await at.ask(agent, "hi")
            assert refused.value.retry_after
            writer.execute("PRAGMA query_only = 0")
            at.voice.says("Hello")
            assert said_in(await read(await at.ask(agent, "hi"))) == "Hello"

    run(go())


def test_streams_wait_for_a_file_that_turned_read_only(tmp_path: Path) -> None:
    async def go() -> None:
        async with house(SqlitePlace(tmp_path)) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("One", hold, " two")
            reader = await at.ask(agent, "hi")
            writer = await at.db.write(_writer)
            writer.execute("PRAGMA query_only = 1")
            hold.set()
            waiting = asyncio.create_task(read(reader))
            await soon_in(lambda: at.runner.state == "storage_unavailable")
            writer.execute("PRAGMA query_only = 0")
            assert said_in(await waiting) == "One two"
            assert at.runner.state == "ready"

    run(go())


def _writer(conn: Connection) -> sqlite3.Connection:
    """The connection that writes. SQLite refuses on it, when told to, what it refuses on a read-only file system."""
    return conn.info["driver"]
