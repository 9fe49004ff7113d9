"""Several server processes on one PostgreSQL: one dies, stands still, or loses its database, and nothing is lost."""

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contract.told import user
from tests.kill import workload
from tests.kill.checker import violations
from tests.rig import postgres
from tests.rig.answers import Answer, Hold, Pause, text
from tests.rig.http import Frame
from tests.rig.model import ModelServer, Script
from tests.rig.proxy import Proxy
from tests.rig.server import Server

STREAMS = 50
LIMIT = 100.0
"""Seconds for every run of a dead process to end; ten times what is promised."""

Start = Callable[..., Server]


@pytest.fixture
def start(models: ModelServer, tmp_path: Path) -> Iterator[Start]:
    """Starts servers on the database of a URL; each is ended with the test."""
    with contextlib.ExitStack() as stack:

        def new(url: str, **environment: str) -> Server:
            folder = tmp_path / f"server{len(list(tmp_path.iterdir()))}"
            known = {**models.environment, "PERDURE_ENCRYPTION_KEY": "one for all", "PERDURE_DATABASE_URL": url}
            return stack.enter_context(Server(folder, {**known, "PERDURE_LEASE_SECONDS": "1", **environment}))

        yield new


def agent_of(server: Server, script: Script) -> str:
    return server.new_agent(model=script.handle, memory_blocks=[])["id"]


def replay(server: Server, run_id: str) -> list[Frame]:
    with server.stream(f"/v1/runs/{run_id}/stream", {}) as stream:
        return stream.read()


def said(frames: list[Frame]) -> str:
    return "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message")


def ending(frames: list[Frame]) -> tuple[str, str | None]:
    stopped = next(frame.json for frame in frames if frame.kind == "stop_reason")
    failed = next((frame.json for frame in frames if frame.kind == "error_message"), {})
    return stopped["stop_reason"], failed.get("error_type")


def test_all_streams_of_a_killed_process_end_elsewhere(start: Start, script: Script) -> None:
    script.otherwise(lambda asked: Answer((text("a"), *(Pause(0.05), text("b")) * 400)))
    with postgres.database() as url:
        killed, *others = [start(url) for _ in range(3)]
        agents = [agent_of(killed, script) for _ in range(STREAMS)]
        seen: dict[str, list[Frame]] = {}
        talking = threading.Barrier(STREAMS + 1, timeout=60)

        def listen(agent: str) -> str:
            run_id = ""
            body = {"messages": user("hi"), "stream_tokens": True}
            path = f"/v1/agents/{agent}/messages/stream"
            with contextlib.suppress(*workload.GONE), killed.stream(path, body) as stream:
                run_id = stream.until("assistant_message").json["run_id"]
                seen[run_id] = stream.frames
                talking.wait()
                stream.read()
            return run_id

        with ThreadPoolExecutor(STREAMS) as pool:
            runs = [pool.submit(listen, agent) for agent in agents]
            talking.wait()
            killed.kill()
            began = time.monotonic()
            ends = list(pool.map(lambda run: replay(others[len(run.result()) % 2], run.result()), runs))
        assert time.monotonic() - began < LIMIT
        assert [ending(frames) for frames in ends] == [("error", "run_interrupted")] * STREAMS
        for run, frames in zip(runs, ends, strict=True):
            shown = [frame.raw for frame in seen[run.result()]]
            assert [frame.raw for frame in frames[: len(shown)]] == shown
            assert [frame.json["seq_id"] for frame in frames[:-1]] == list(range(1, len(frames)))


def test_a_process_that_stood_still_writes_nothing_that_counts(start: Start, script: Script) -> None:
    hold = Hold()
    script.answer(text("half"), hold, text(" and more")).say("Back.")
    with postgres.database() as url:
        late, other = start(url), start(url)
        agent = agent_of(late, script)
        with late.stream(
            f"/v1/agents/{agent}/messages/stream", {"messages": user("hi"), "stream_tokens": True}
        ) as held:
            run_id = held.until("assistant_message").json["run_id"]
            late.send_signal(signal.SIGSTOP)
            there = replay(other, run_id)
            assert (said(there), ending(there)) == ("half", ("error", "run_interrupted"))
            late.send_signal(signal.SIGCONT)
            hold.release()
            held.read()
        assert [frame.raw for frame in held.frames] == [frame.raw for frame in there]
        assert [frame.raw for frame in replay(late, run_id)] == [frame.raw for frame in there]
        reply = late.post(f"/v1/agents/{agent}/messages", {"messages": user("again")})
        assert "Back." in reply.text
        told = [item.get("content") for item in other.get(f"/v1/agents/{agent}/messages").json[1:]]
        assert told == ["hi", "half", "again", "Back."]


def test_any_process_follows_cancels_and_approves(start: Start, script: Script) -> None:
    first, second = Hold(), Hold()
    script.answer(text("one"), first, text(" two")).answer(text("three"), second).say("Four.")
    with postgres.database() as url:
        here, there = start(url), start(url)
        agent = agent_of(here, script)
        path = f"/v1/agents/{agent}/messages"
        begun = here.post(f"{path}/async", {"messages": user("hi")}).json
        with there.stream(f"/v1/runs/{begun['id']}/stream", {}) as stream:
            first.wait_reached()
            first.release()
            assert ending(stream.read()) == ("end_turn", None)
        with here.stream(f"{path}/stream", {"messages": user("more"), "stream_tokens": True}) as stream:
            run_id = stream.until("assistant_message").json["run_id"]
            assert there.post(f"{path}/cancel", {}).json == {run_id: "cancelled"}
            assert ending(stream.read()) == ("cancelled", None)
        assert "Four." in there.post(path, {"messages": user("and now?")}).text


def test_nothing_is_lost_when_the_database_restarts_under_load(models: ModelServer, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    cluster = postgres.Cluster(postgres.place_for(folder)).start()
    try:
        bustled(models, tmp_path, cluster.url(), lambda: (cluster.stop(), cluster.start()))
    finally:
        cluster.stop()


def test_nothing_is_lost_when_the_way_to_the_database_is_cut(models: ModelServer, tmp_path: Path) -> None:
    with postgres.database() as url, Proxy(postgres.shared().port) as proxy:
        through = url.replace(f":{postgres.shared().port}/", f":{proxy.port}/")
        bustled(models, tmp_path, through, lambda: (proxy.cut(), time.sleep(0.3), proxy.mend()))


def test_tables_that_are_away_for_a_while_are_waited_for(start: Start, script: Script) -> None:
    hold = Hold()
    script.answer(text("half"), hold, text(" and half")).say("Well.")
    with postgres.database() as url:
        one, other = start(url), start(url)
        agent = agent_of(one, script)
        path = f"/v1/agents/{agent}/messages"
        with one.stream(f"{path}/stream", {"messages": user("hi"), "stream_tokens": True}) as stream:
            stream.until("assistant_message")
            postgres.query(url, "ALTER SCHEMA public RENAME TO away")
            hold.release()
            assert one.get("/v1/health/ready").status == 503
            refused = [one.get(f"/v1/agents/{agent}"), other.post(path, {"messages": user("now?")})]
            assert [(reply.status, "Tables are missing" in reply.text) for reply in refused] == [(503, True)] * 2
            wait_for(lambda: all("cannot renew the lease; trying again" in server.log for server in (one, other)))
            postgres.query(url, "ALTER SCHEMA away RENAME TO public")
            assert (said(stream.read()), ending(stream.frames)) == ("half and half", ("end_turn", None))
        wait_for(lambda: all("cannot renew the lease: that is over" in server.log for server in (one, other)))
        assert "Well." in other.post(path, {"messages": user("now?")}).text
        assert one.get("/v1/health/ready").status == 200
        assert one.log.count("cannot renew the lease; trying again") == 1


def bustled(models: ModelServer, folder: Path, url: str, disturb: Callable[[], Any]) -> None:
    """Keeps agents busy, disturbs them twice, and holds what is left against what was promised."""
    environment = {**models.environment, "PERDURE_DATABASE_URL": url, "PERDURE_LEASE_SECONDS": "1"}
    server = Server(folder / "data", environment, tools=workload.TOOLS)
    home = workload.Home(server, models.script(), folder)
    enough, dice = threading.Event(), random.Random(7)
    try:
        home.start()
        home.populate(3)
        busy = [
            threading.Thread(target=home.bustle, args=(agent, random.Random(dice.random()), enough))
            for agent in home.agents
        ]
        for each in busy:
            each.start()
        for _ in range(2):
            answered = len(home.notes.sent) + 10
            while len(home.notes.sent) < answered:
                enough.wait(0.02)
            disturb()
        enough.set()
        for each in busy:
            each.join(60)
        assert violations(home) == []
    finally:
        enough.set()
        server.kill()


def test_a_provider_added_through_one_process_is_known_to_the_other_within_seconds(
    start: Start, models: ModelServer, script: Script
) -> None:
    with postgres.database() as url:
        one, other = (start(url, PERDURE_PRIVATE_PROVIDERS="1") for _ in range(2))
        assert other.get("/v1/models/?provider_name=mine").json == []
        fields = {"name": "mine", "provider_type": "openai", "api_key": "theirs", "base_url": f"{models.url}/v1"}
        made = one.post("/v1/providers/", fields).json
        wait_for(lambda: other.get("/v1/models/?provider_name=mine").json != [])
        agent = other.new_agent(model=f"mine/{script.name}")["id"]
        script.say("Hello.")
        assert other.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")}).status == 200
        assert script.asked[0].headers["Authorization"] == "Bearer theirs"
        assert one.request("DELETE", f"/v1/providers/{made['id']}").status == 200
        wait_for(lambda: other.get("/v1/models/?provider_name=mine").json == [])


def wait_for(happened: Callable[[], bool], limit: float = 10.0) -> None:
    deadline = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen within {limit} s"
        time.sleep(0.05)
