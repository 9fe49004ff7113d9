"""What a server adds to a model: each figure compares it with the same load sent straight there, in the same round."""

import asyncio

from bench.load import Level, level
from bench.place import asks, paced_model, server


def measure(rounds: int, environment: dict[str, str]) -> None:
    """Print the figures of so many rounds."""
    with paced_model() as direct, server(environment | asks(direct)) as served:
        for _ in range(rounds):
            _compare(direct, served.url)


def _compare(direct: str, served: str) -> None:
    """One round of every comparison, direct and served one after the other."""

    def run(url: str, name: str, streams: int, turns: int) -> Level:
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
