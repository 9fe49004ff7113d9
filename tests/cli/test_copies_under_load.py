"""A copy made while agents are busy: it restores to a database that is whole, and that a server goes on with."""

import random
import threading
from pathlib import Path

import pytest

from perdure.config import read_settings
from tests.cli.commands import perdure
from tests.kill import workload
from tests.kill.checker import looked_at
from tests.rig import postgres
from tests.rig.model import ModelServer
from tests.rig.server import Server

COPIES = 2


def copy(home: workload.Home, place: Path) -> dict[str, str]:
    """Copies the data of a server that runs, and restores it elsewhere; returns the settings that lead there."""
    url = home.server.environment.get(workload.DATABASE)
    if url is None:
        made = perdure("backup", str(place / "backup"), "--data", str(home.server.data))
        assert made.returncode == 0, made
        restored = perdure("restore", str(place / "backup"), "--data", str(place / "data"))
        assert restored.returncode == 0, restored
        return {"PERDURE_DATA": str(place / "data")}
    refused = perdure("backup", str(place / "backup"), "--database-url", url)
    assert "pg_dump" in refused.stderr
    dump = postgres.HOME / f"{place.parent.name}.dump"
    postgres.run("pg_dump", "--format=custom", f"--file={dump}", url)
    other = postgres.shared().new_database()
    postgres.run("pg_restore", "--no-owner", f"--dbname={other}", str(dump))
    dump.unlink()
    return {"PERDURE_DATABASE_URL": other}


@pytest.mark.parametrize("store", workload.STORES)
def test_a_copy_made_under_load_is_whole(store: str, tmp_path: Path, models: ModelServer) -> None:
    with workload.made(tmp_path, models, store) as home:
        home.start()
        home.populate(3)
        enough, copies = threading.Event(), list[dict[str, str]]()
        busy = [
            threading.Thread(target=home.bustle, args=(agent, random.Random(agent), enough)) for agent in home.agents
        ]
        for each in busy:
            each.start()
        try:
            for number in range(COPIES):
                place = tmp_path / f"copy{number}"
                place.mkdir()
                copies.append(copy(home, place))
        finally:
            enough.set()
            for each in busy:
                each.join(60)
        assert len(home.notes.sent) > 10
        left = [looked_at(read_settings(there)) for there in copies]
        assert [look.faults for look in left] == [[]] * COPIES
        assert sum(look.unfinished for look in left) > 0, "nothing was under way"
        there = copies[-1]
        home.server.kill()
        # The key to what is sealed in PostgreSQL stays where the server had it.
        data = Path(there.get("PERDURE_DATA", home.server.data))
        with Server(data, home.server.environment | there, tools=workload.TOOLS) as server:
            home.server = server
            home.notes = workload.Notes()
            for agent in home.agents:
                home.decide(agent, approve=False)
                said = home.send(agent, "say")
                assert [frame.json["stop_reason"] for frame in said.frames if frame.kind == "stop_reason"] == [
                    "end_turn"
                ]
        assert home.script.violations == []
        for url in (each.get("PERDURE_DATABASE_URL") for each in copies):
            if url is not None:
                postgres.drop(url.rpartition("/")[2])
