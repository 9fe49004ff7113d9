"""`python -m bench`: prints the figures of docs/performance.md, each as measured in this run.

`--only` takes some of them. With `--store postgresql` the first ones keep their data in a PostgreSQL of the benchmark's
own; those of several processes always do.
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext

from bench import archive, dialects, long, processes, relay, start
from bench.place import asks, cluster, paced_model, server
from bench.recall import __main__ as recall

ROUNDS = 3
TURNS = 5_000
"""Of the one long conversation."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="may be said several times; by default all")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    with cluster() if asked.store == "postgresql" else nullcontext() as database:
        for part in asked.only or PARTS:
            environment = {"PERDURE_DATABASE_URL": database.new_database()} if database else {}
            PARTS[part](asked.rounds, environment)


def _long(_: int, environment: dict[str, str]) -> None:
    with paced_model() as model, server(environment | asks(model)) as served:
        found = long.run(served.url, "t4-g0", served.process.pid, TURNS)
    print(f"{TURNS:,} turns            {found.last.cpu / found.first.cpu:6.2f} x      CPU of a turn, last tenth "
          f"against first; {found.last.cpu:.1f} ms, {found.compactions} compactions")  # fmt: skip


PARTS: dict[str, Callable[[int, dict[str, str]], None]] = {
    "start": lambda rounds, environment: start.measure(environment),
    "relay": relay.measure,
    "long": _long,
    "archive": lambda rounds, environment: archive.measure(environment),
    "recall": lambda rounds, environment: recall.measure(environment),
    "dialects": dialects.measure,
    "processes": lambda rounds, environment: processes.measure_throughput(rounds),
    "crossing": lambda rounds, environment: processes.measure_crossing(rounds),
}

if __name__ == "__main__":
    main()
