"""`python -m bench`: prints the figures of docs/performance.md, each as measured in this run.

With `--store postgresql` the server keeps its data in a PostgreSQL of its own beside it, with that server's usual care.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import psutil

from bench import long, model
from bench.load import level
from tests.rig import postgres

ROUNDS = 3
TURNS = 5_000
"""Of the one long conversation."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    with store(asked.store):
        measure(asked.rounds)


@contextmanager
def store(name: str) -> Iterator[None]:
    """What the servers keep their data in."""
    global database
    if name == "sqlite":
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        database = postgres.Cluster(postgres.place_for(Path(folder) / "bench"), {}).start()
        try:
            yield
        finally:
            database.remove()


database: postgres.Cluster | None = None


def measure(rounds: int) -> None:
    """Print all figures."""
    starts, memory = zip(*(start_and_rest() for _ in range(5)), strict=True)
    print(f"start to healthy       {statistics.median(starts):6.2f} s      (median of 5, new data directory)")
    print(f"idle memory            {max(memory):6.0f} MiB")
    print(f"base install           {len(base_distributions()):6d} distributions")
    with paced_model() as model_url, server({"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": f"{model_url}/v1"}) as url:
        for _ in range(rounds):
            compare(model_url, url)
        found = long.run(url, "t4-g0", PIDS[url], TURNS)
        print(f"{TURNS:,} turns            {found.last.cpu / found.first.cpu:6.2f} x      CPU of a turn, last tenth "
              f"against first; {found.last.cpu:.1f} ms, {found.compactions} compactions")  # fmt: skip


def compare(direct: str, served: str) -> None:
    """One round of every comparison, direct and served one after the other."""

    def run(url: str, name: str, streams: int, turns: int):
        return asyncio.run(level(url, name, streams, turns, direct=url == direct))

    one, ours = run(direct, "t64-g0", 1, 50), run(served, "t64-g0", 1, 50)
    print(f"first token, 1 stream  {ours.median_first() - one.median_first():6.2f} ms     added, p50")
    paced, ours = run(direct, "t64-g10", 64, 3), run(served, "t64-g10", 64, 3)
    print(f"64 paced streams       {ours.wall / paced.wall:6.2f} x      the direct time; "
          f"relay p50 {ours.relay(0.5):.1f} ms, p99 {ours.relay(0.99):.1f} ms")  # fmt: skip
    burst, ours = run(direct, "t64-g0", 16, 20), run(served, "t64-g0", 16, 20)
    share = ours.tokens_per_second() / burst.tokens_per_second()
    print(f"16 unpaced streams     {share:6.0%}        of the direct {burst.tokens_per_second():,.0f} tokens/s, "
          f"{len(ours.turns) / ours.wall:.0f} turns/s")  # fmt: skip


def start_and_rest() -> tuple[float, float]:
    """Seconds from the command to the first healthy answer, and MiB in memory two seconds later."""
    with server({}) as url:
        took = STARTED[url]
        time.sleep(2)
        return took, psutil.Process(PIDS[url]).memory_info().rss / 2**20


STARTED: dict[str, float] = {}
PIDS: dict[str, int] = {}


@contextmanager
def server(environment: dict[str, str]) -> Iterator[str]:
    """A real server on a free port with a new data directory."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        command = [str(Path(sys.executable).with_name("perdure")), "serve", "--port", "0", "--data", f"{folder}/data"]
        own = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
        if database is not None:
            environment = {**environment, "PERDURE_DATABASE_URL": database.new_database()}
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready)], env={**own, **environment}, stdout=subprocess.DEVNULL
        )
        try:
            while not ready.exists():
                assert process.poll() is None, "the server ended"
                assert time.monotonic() - began < 60, "the server was not ready within a minute"
                time.sleep(0.005)
            took = time.monotonic() - began
            url = json.loads(ready.read_text())["url"]
            STARTED[url], PIDS[url] = took, process.pid
            yield url
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def paced_model() -> Iterator[str]:
    """The model in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=model.serve, args=(port,), daemon=True)
    process.start()
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join(10)


def base_distributions() -> set[str]:
    """What `pip install perdure` brings, itself included."""
    found, waiting = set[str](), ["perdure"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.split(r"[ ;<>=!~\[(]", text)[0] for text in requires if "extra ==" not in text]
    return found


if __name__ == "__main__":
    main()
