"""More processes than one, on PostgreSQL: how much more they do, and what a token costs that crosses between two."""

import asyncio

from bench.load import Level, level
from bench.place import Served, asks, cluster, cpu, paced_model, server
from tests.rig import postgres

WORKERS = (1, 2)
BURST = "t64-g0"
PACED = "t200-g10"


def measure_throughput(rounds: int, streams: int = 32, turns: int = 10) -> None:
    """Print the turns and tokens a second of one process, and of two behind one port."""
    with paced_model() as model, cluster() as database:
        for _ in range(rounds):
            alone = 0.0
            for count in WORKERS:
                environment = _environment(model, database)
                with server(environment, "--workers", str(count)) as served:
                    before = served.cpu()
                    done = asyncio.run(level(served.url, f"openai/{BURST}", streams, turns, direct=False))
                    used = (served.cpu() - before) / (len(done.turns) + streams) * 1000
                rate = len(done.turns) / done.wall
                alone = alone or rate
                print(f"{streams} streams, {count} process{'es' * (count > 1):2} {rate:6.0f} turns/s   "
                      f"{done.tokens_per_second():,.0f} tokens/s, {used:.1f} ms CPU a turn, "
                      f"{rate / alone:.2f} x of one process")  # fmt: skip


def measure_crossing(rounds: int, streams: int = 16, turns: int = 3) -> None:
    """Print what is added where a run is followed through another process than the one that works it."""
    with paced_model() as model, cluster() as database:
        environment = _environment(model, database)
        with server(environment) as one, server(environment) as other:
            for _ in range(rounds):
                here, own = _followed(one, one, other, streams, turns)
                there, crossing = _followed(one, other, other, streams, turns)
                added = there.relay(0.5) - here.relay(0.5)
                print(f"a token that crosses   {added:6.1f} ms     later, p50 ({here.relay(0.5):.1f} -> "
                      f"{there.relay(0.5):.1f}; p99 {here.relay(0.99):.1f} -> {there.relay(0.99):.1f}); "
                      f"CPU {own:.0f} -> {crossing:.0f} µs, both processes")  # fmt: skip


def _followed(worker: Served, reader: Served, other: Served, streams: int, turns: int) -> tuple[Level, float]:
    """Runs worked by one process and followed through another; with microseconds of CPU for a token, in all."""
    both = (worker, other)
    before = cpu(both)
    work = level(worker.url, f"openai/{PACED}", streams, turns, direct=False, follow=reader.url)
    done = asyncio.run(work)
    tokens = sum(len(turn.ages) for turn in done.turns) * (turns + 1) / turns
    return done, (cpu(both) - before) / tokens * 1e6


def _environment(model: str, database: postgres.Cluster) -> dict[str, str]:
    return {**asks(model), "PERDURE_DATABASE_URL": database.new_database(), "PERDURE_ENCRYPTION_KEY": "one for all"}
