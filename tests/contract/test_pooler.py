"""Servers behind a PgBouncer that lends connections for one transaction: all is as without, a little later at most."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perdure.config import read_settings
from tests.contract.told import user
from tests.kill.checker import looked_at
from tests.rig import pgbouncer, postgres
from tests.rig.answers import Answer, Hold, Pause, call, text
from tests.rig.model import Asked, ModelServer
from tests.rig.server import Server

STREAMS = 12
"""At once; three times as many as there are connections."""
CANCEL_LIMIT = 10.0
"""Seconds; ten times what is promised where nobody can be woken."""


def answer(asked: Asked) -> Answer:
    """Remembers what it is told, and says so."""
    if asked.said.startswith("Remember"):
        return Answer((call("memory_insert", {"label": "human", "new_string": asked.said}),))
    return Answer((text("It", " is"), Pause(0.01), text(" kept.")))


@pytest.mark.parametrize("listening", [True, False], ids=["listening past it", "polling"])
def test_servers_behind_a_pooler(listening: bool, models: ModelServer, tmp_path: Path) -> None:
    script, hold = models.script().otherwise(answer), Hold()
    with postgres.database() as url, pgbouncer.before(url) as pooled:
        environment = {
            **models.environment, "PERDURE_ENCRYPTION_KEY": "one for all", "PERDURE_LEASE_SECONDS": "1",
            "PERDURE_DATABASE_URL": pooled, "PERDURE_DATABASE_POOLER": "1",
            **({"PERDURE_DATABASE_LISTEN_URL": url} if listening else {}),
        }  # fmt: skip
        with Server(tmp_path / "one", environment) as one, Server(tmp_path / "other", environment) as other:
            blocks = [{"label": "human", "value": "-"}]
            agents = [one.new_agent(model=script.handle, memory_blocks=blocks)["id"] for _ in range(STREAMS)]

            def talk(agent: str) -> list[str]:
                kinds: list[str] = []
                for server in (one, other):
                    body = {"messages": user(f"Remember {agent}"), "stream_tokens": True}
                    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
                        kinds += [frame.kind for frame in stream.read()]
                return kinds

            with ThreadPoolExecutor(STREAMS) as pool:
                for agent, kinds in zip(agents, pool.map(talk, agents), strict=True):
                    assert kinds.count("[DONE]") == 2
                    assert "error_message" not in kinds
                    (block,) = other.get(f"/v1/agents/{agent}").json["blocks"]
                    assert block["value"].count(agent) == 2

            script.answer(text("Half"), hold).say("Well.")
            agent = agents[0]
            body = {"messages": user("Go on"), "stream_tokens": True}
            with one.stream(f"/v1/agents/{agent}/messages/stream", body) as here:
                run_id = here.until("assistant_message").json["run_id"]
                with other.stream(f"/v1/runs/{run_id}/stream", {}) as there:
                    there.until("assistant_message")
                    began = time.monotonic()
                    assert other.post(f"/v1/agents/{agent}/messages/cancel", {}).json == {run_id: "cancelled"}
                    frames = there.read()
                    assert time.monotonic() - began < CANCEL_LIMIT
                assert [frame.raw for frame in here.read()] == [frame.raw for frame in frames]
            assert "Well." in other.post(f"/v1/agents/{agent}/messages", {"messages": user("And now?")}).text
        settings = read_settings({"PERDURE_DATABASE_URL": url, "PERDURE_ENCRYPTION_KEY": "one for all"})
        assert looked_at(settings).faults == []
    assert script.violations == []
