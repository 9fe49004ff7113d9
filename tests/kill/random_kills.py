"""Servers killed at random instants under load, again and again on the same data."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.kill import workload
from tests.kill.checker import violations
from tests.rig.model import ModelServer

AGENTS = 3
LONGEST = 1.5
"""Seconds of load before a kill, at most."""


def kills(folder: Path, models: ModelServer, store: str, count: int, seed: int) -> Iterator[list[str]]:
    """Kills a server so many times; gives what is wrong after each."""
    dice = random.Random(seed)
    with workload.made(folder, models, store) as home:
        home.start()
        for _ in range(count):
            home.agents.clear()
            home.notes = workload.Notes()
            home.populate(AGENTS)
            _bustle_until_killed(home, dice)
            home.start()
            yield violations(home)


def _bustle_until_killed(home: workload.Home, dice: random.Random) -> None:
    enough = threading.Event()
    busy = [
        threading.Thread(target=home.bustle, args=(agent, random.Random(dice.random()), enough), daemon=True)
        for agent in home.agents
    ]
    for each in busy:
        each.start()
    time.sleep(dice.uniform(0.0, LONGEST))
    home.server.kill()
    enough.set()
    for each in busy:
        each.join(30)
        assert not each.is_alive(), "a client hangs though its server is gone"
