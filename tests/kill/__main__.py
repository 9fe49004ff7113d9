"""`python -m tests.kill --kills 500`: kills servers at random instants, and says what was wrong afterwards."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.kill.random_kills import kills
from tests.kill.workload import STORES
from tests.rig.model import ModelServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--store", choices=STORES, action="append", help="by default both, one after the other")
    asked = parser.parse_args()
    models = ModelServer().start()
    wrong = sum([_on(store, models, asked.kills, asked.seed) for store in asked.store or STORES])
    models.stop()
    return 1 if wrong else 0


def _on(store: str, models: ModelServer, count: int, seed: int) -> int:
    wrong, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number, found in enumerate(kills(Path(folder), models, store, count, seed), 1):
            wrong += len(found)
            for each in found:
                print(f"{store}, after kill {number}: {each}", flush=True)
            if number % 100 == 0 or number == count:
                print(f"{store}: {number} kills, {wrong} violations, {time.monotonic() - began:.0f} s", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
