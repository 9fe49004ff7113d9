"""A large archive, filled and searched through a real server's own endpoints.

Texts are made of words as unevenly common as in a language, so that most questions hold a word of thousands of texts.
"""

import http.client
import json
import random
import statistics
import time
from itertools import accumulate
from typing import Any

from bench.place import Served, server

PASSAGES = 100_000
BATCH = 500
SEARCHES = 300
VOCABULARY = 30_000
WORDS = 22
"""Words of a passage, about."""


class Archive:
    """A server's archive, spoken to over one connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
        self.agent = self.ask("POST", "/v1/agents/", {"name": "Large"})["id"]
        self.id = self.ask("POST", "/v1/archives/", {"name": "Large"})["id"]
        self.ask("PATCH", f"/v1/agents/{self.agent}/archives/attach/{self.id}")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        found = json.load(answer)
        assert answer.status == 200, found
        return found


class Language:
    """Made-up words, the n-th of which is n times as rare as the first, below a few hundred very common ones."""

    def __init__(self) -> None:
        self._dice = random.Random(7)
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        self._words = ["".join(self._dice.choices(syllables, k=self._dice.randint(2, 4))) for _ in range(VOCABULARY)]
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))

    def text(self, words: int) -> str:
        return " ".join(self._dice.choices(self._words, cum_weights=self._weights, k=words))

    def question(self) -> str:
        return f"When did {self.text(self._dice.randint(3, 7))}?"


def measure(environment: dict[str, str], count: int = PASSAGES) -> None:
    """Print the figures."""
    with server(environment) as served:
        _measure(served, Archive(served.url), Language(), count)


def _measure(served: Served, archive: Archive, language: Language, count: int) -> None:
    """Fill the archive, then search it; print the figures."""
    began = time.monotonic()
    for start in range(0, count, BATCH):
        texts = [
            {"text": language.text(random.Random(start + at).randint(5, 2 * WORDS)), "created_at": _time(start + at)}
            for at in range(min(BATCH, count - start))
        ]
        archive.ask("POST", f"/v1/archives/{archive.id}/passages/batch", {"passages": texts})
    took = time.monotonic() - began
    print(f"{count:,} passages       {count / took:8.0f} a second, {BATCH} at a time")
    began = time.monotonic()
    for _ in range(100):
        archive.ask("POST", f"/v1/archives/{archive.id}/passages", {"text": language.text(WORDS)})
    print(f"one at a time          {100 / (time.monotonic() - began):8.0f} a second")
    times: list[float] = []
    cpu = served.cpu()
    for _ in range(SEARCHES):
        query = language.question().replace(" ", "%20").replace("?", "%3F")
        began = time.monotonic()
        archive.ask("GET", f"/v1/agents/{archive.agent}/archival-memory/search?query={query}&top_k=10")
        times.append(1000 * (time.monotonic() - began))
    print(f"CPU of a search        {1000 * (served.cpu() - cpu) / SEARCHES:8.1f} ms, client not included")
    cuts = statistics.quantiles(times, n=100)
    print(f"search                 {cuts[49]:8.1f} ms p50, {cuts[94]:.1f} ms p95, {max(times):.1f} ms at most")


def _time(number: int) -> str:
    """Twenty texts to a session, a session every three hours."""
    at = 1_600_000_000 + number // 20 * 10_800 + number % 20 * 40
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
