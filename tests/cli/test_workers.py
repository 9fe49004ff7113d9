"""Several workers behind one port: looked after while they live, and gone together."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from perdure.config import read_settings
from perdure.domain.errors import Invalid
from tests.contract.told import user
from tests.operation.scrape import scrape
from tests.rig import postgres
from tests.rig.answers import Hold, text
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

LIMIT = 60.0
COUNT = 2


@pytest.fixture
def server(models: ModelServer, tmp_path: Path) -> Iterator[Server]:
    with postgres.database() as url:
        environment = {**models.environment, "PERDURE_DATABASE_URL": url}
        with Server(tmp_path / "data", environment, ["--workers", str(COUNT)]) as running:
            yield running


def workers(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_workers_share_the_port_come_back_and_do_not_outlive_their_parent(server: Server, script: Script) -> None:
    before = workers(server)
    assert len(before) == COUNT
    agent = server.new_agent(model=script.handle)["id"]
    script.say("One.").say("Two.")
    assert "One." in server.post(f"/v1/agents/{agent}/messages", {"messages": user("1")}).text
    before[0].kill()
    until(lambda: len(found := workers(server)) == COUNT and before[0] not in found)
    assert "Two." in server.post(f"/v1/agents/{agent}/messages", {"messages": user("2")}).text
    # Whoever is asked counts what the others did, the one that is dead included.
    assert {scrape(server)("runs_total", status="completed", stop_reason="end_turn") for _ in range(8)} == {2}
    alive = workers(server)
    server.kill()
    until(lambda: not any(each.is_running() for each in alive))


def test_a_stop_lets_runs_finish_in_a_worker_that_is_told_of_it_too(server: Server, script: Script) -> None:
    holds = [Hold() for _ in range(4)]
    for hold in holds:
        script.answer(text("One"), hold, text(" and two."))
    agents = [server.new_agent(model=script.handle)["id"] for _ in holds]
    body = {"messages": user("hi"), "stream_tokens": True}
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(server.stream(f"/v1/agents/{agent}/messages/stream", body)) for agent in agents]
        for stream in streams:
            stream.until("assistant_message")
        until(lambda: (seen := scrape(server))("readers") == seen("runs_live", state="working") == len(agents))
        # One is told twice, as systemd tells every process of a service, the other by its parent alone.
        alive = workers(server)
        server.terminate()
        alive[0].terminate()
        until(lambda: server.log.count("stopping") == COUNT)
        for hold in holds:
            hold.release()
        for stream in streams:
            stream.read()
            (stopped,) = (frame.json for frame in stream.frames if frame.kind == "stop_reason")
            assert stopped["stop_reason"] == "end_turn"
    assert server.wait() == 0
    assert not any(each.is_running() for each in alive)


def test_a_data_file_is_for_one_process(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="PostgreSQL"):
        read_settings({}, workers="2", data=tmp_path)
