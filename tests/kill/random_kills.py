"""Servers killed at random instants under load, again and again on the same database."""

import json
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.kill import workload
from tests.kill.checker import looked_at, violations
from tests.rig import postgres
from tests.rig.model import ModelServer

AGENTS: Final = 3
LONGEST: Final = 0.6
"""Seconds of load before a kill, at most."""


@dataclass(frozen=True)
class Kill:
    """One kill: after how many seconds of load, what came of it, and what was wrong afterwards.

    `acknowledged` messages had shown their first frame by then, `cut` requests did not get their answer to its end,
    `unfinished` runs were under way or waited.
    """

    number: int
    seed: str
    seconds: float
    acknowledged: int
    cut: Counter[str]
    unfinished: int
    violations: list[str]


def kills(folder: Path, models: ModelServer, store: str, count: int, seed: str) -> Iterator[Kill]:
    """Kills a server so many times. What a violation was found in is kept in `folder`, in a folder by its number."""
    dice = random.Random(seed)
    with workload.made(folder, models, store) as home:
        home.start()
        home.reach_stamps()
        for number in range(1, count + 1):
            home.populate(AGENTS)
            home.watch(home.agents[0])
            seconds = dice.uniform(0.0, LONGEST)
            _bustle_until_killed(home, dice, seconds)
            left = looked_at(home.settings)
            home.start()
            found = left.faults + violations(home)
            acknowledged = sum(each.run_id is not None for each in home.notes.sent)
            killed = Kill(number, seed, seconds, acknowledged, home.notes.cut, left.unfinished, found)
            if found:
                _keep(home, folder / f"violation-{number}", killed)
            home.forget()
            yield killed


def _bustle_until_killed(home: workload.Home, dice: random.Random, seconds: float) -> None:
    enough = threading.Event()
    busy = [
        threading.Thread(target=home.bustle, args=(agent, random.Random(dice.random()), enough), daemon=True)
        for agent in home.agents
    ]
    for each in busy:
        each.start()
    time.sleep(seconds)
    home.server.kill()
    enough.set()
    for each in busy:
        each.join(30)
        assert not each.is_alive(), "a client hangs though its server is gone"


def _keep(home: workload.Home, folder: Path, killed: Kill) -> None:
    """All that is known of a kill: its figures, what clients sent and were shown, the server's log, its data."""
    folder.mkdir()
    (folder / "kill.json").write_text(json.dumps(asdict(killed), indent=1))
    (folder / "notes.json").write_text(json.dumps(asdict(home.notes), indent=1, default=bytes.decode))
    (folder / "effects").write_text(home.effects.read_text())
    (folder / "server.log").write_text(home.server.log)
    url = home.server.environment.get(workload.DATABASE)
    if url is None:
        shutil.copytree(home.server.data, folder / "data")
    else:
        (folder / "dump.sql").write_text(postgres.run("pg_dump", url))
