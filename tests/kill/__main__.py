"""`python -m tests.kill --kills 500`: kills servers at random instants, and says what was wrong afterwards."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.kill.random_kills import kills
from tests.rig.model import ModelServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    models = ModelServer().start()
    wrong = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number, found in enumerate(kills(Path(folder), models, asked.kills, asked.seed), 1):
            wrong += len(found)
            for each in found:
                print(f"after kill {number}: {each}", flush=True)
            if number % 50 == 0:
                print(f"{number} kills, {wrong} violations, {time.monotonic() - began:.0f} s", flush=True)
    models.stop()
    print(f"{asked.kills} kills of seed {asked.seed}: {wrong} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
