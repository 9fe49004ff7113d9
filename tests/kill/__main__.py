"""`python -m tests.kill --kills 500`: kills servers at random instants, and says what was wrong afterwards.

What is printed is the table of docs/durability.md, and one line for each violation.
"""

import argparse
import logging
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from tests.kill.random_kills import Kill, kills
from tests.kill.stamps import stamps
from tests.kill.workload import STORES
from tests.rig import postgres
from tests.rig.install import CACHE
from tests.rig.model import ModelServer

LANES: Final = 3
"""Servers that are killed side by side, each on a database of its own: starts and leases are waited for meanwhile."""


@dataclass
class Sum:
    """All kills on one store."""

    began: float = field(default_factory=time.monotonic)
    kills: int = 0
    acknowledged: int = 0
    unfinished: int = 0
    violations: int = 0
    cut: Counter[str] = field(default_factory=Counter)

    def add(self, one: Kill) -> None:
        self.kills += 1
        self.acknowledged += one.acknowledged
        self.unfinished += one.unfinished
        self.violations += len(one.violations)
        self.cut.update(one.cut)

    def row(self, store: str, seed: int) -> str:
        cut = ", ".join(f"{count} {kind}" for kind, count in self.cut.most_common())
        seconds = time.monotonic() - self.began
        figures = (store, seed, self.kills, self.acknowledged, cut, self.unfinished, self.violations, f"{seconds:.0f}")
        return "| " + " | ".join(map(str, figures)) + " |"


HEAD: Final = """\
| store | seed | kills | messages acknowledged | requests cut off | runs left unfinished | violations | seconds |
|---|---|---|---|---|---|---|---|"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--lanes", type=int, default=LANES)
    parser.add_argument("--store", choices=STORES, action="append", help="by default both, one after the other")
    asked = parser.parse_args()
    # That a server which asked is gone is no news here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    models, rows = ModelServer().start(), list[str]()
    stamps()  # one for all lanes
    wrong = 0
    for store in asked.store or STORES:
        if store == "postgres":
            postgres.shared()
        found = _on(store, models, asked.kills, asked.seed, asked.lanes)
        wrong += found.violations
        rows.append(found.row(store, asked.seed))
    models.stop()
    print("\n".join([HEAD, *rows]))
    return 1 if wrong else 0


def _on(store: str, models: ModelServer, count: int, seed: int, lanes: int) -> Sum:
    total = Sum()

    def lane(number: int) -> None:
        folder = CACHE / "kill" / f"{store}-{seed}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        share = count // lanes + (number < count % lanes)
        for one in kills(folder, models, store, share, f"{seed}/{number}"):
            total.add(one)
            for each in one.violations:
                print(f"{store}, seed {one.seed}, kill {one.number} after {one.seconds:.3f} s: {each}", flush=True)
            if one.violations:
                print(f"  all that is known of it: {folder / f'violation-{one.number}'}", flush=True)
            if total.kills % 100 == 0:
                print(f"{store}: {total.kills} kills, {total.violations} violations", file=sys.stderr, flush=True)
        if not any(folder.glob("violation-*")):
            shutil.rmtree(folder)

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))
    return total


if __name__ == "__main__":
    sys.exit(main())
