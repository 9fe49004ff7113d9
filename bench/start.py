"""What it takes to have a server at all: seconds, memory, packages."""

import re
import statistics
import time
from importlib import metadata

from bench.place import server

STARTS = 5


def measure(environment: dict[str, str]) -> None:
    """Print the figures of an empty server."""
    starts, memory = zip(*(_start_and_rest(environment) for _ in range(STARTS)), strict=True)
    print(f"start to healthy       {statistics.median(starts):6.2f} s      (median of {STARTS}, new data directory)")
    print(f"idle memory            {max(memory):6.0f} MiB")
    print(f"base install           {len(base_distributions()):6d} distributions")


def _start_and_rest(environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from the command to the first healthy answer, and MiB in memory two seconds later."""
    with server(environment) as served:
        time.sleep(2)
        return served.took, served.process.memory_info().rss / 2**20


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
