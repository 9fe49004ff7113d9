"""`python -m bench.recall`: the share of evidence turns among the first ten, through a real server's own endpoints."""

import json
import urllib.parse
import urllib.request
from typing import Any

from bench.place import server
from bench.recall import baselines
from bench.recall.conversations import FIRST_HALF, SECOND_HALF, Conversation, read, recall

LIMIT = 10


def measure(environment: dict[str, str]) -> None:
    """Print the figures of both halves."""
    with server(environment) as served:
        for name, half in (("first half", FIRST_HALF), ("second half", SECOND_HALF)):
            report(served.url, name, [read(each) for each in half])


def report(url: str, name: str, half: list[Conversation]) -> None:
    """Print the figures of one half of the conversations."""

    def mean(shares: list[float]) -> str:
        return f"{sum(shares) / len(shares):6.1%}"

    print(f"{name}, {sum(len(each.questions) for each in half)} questions")
    print("  plain BM25          ", mean([recall(each, baselines.plain(each, LIMIT)) for each in half]))
    print("  with neighbours     ", mean([recall(each, baselines.neighbours(each, LIMIT)) for each in half]))
    print("  archival memory     ", mean([recall(each, archived(url, each, dated=True)) for each in half]))
    print("  posted without dates", mean([recall(each, archived(url, each, dated=False)) for each in half]))


def archived(url: str, conversation: Conversation, *, dated: bool) -> list[list[int]]:
    """The numbers of the turns that the server finds for each question, the turns posted one a passage, in order."""
    agent = _call(f"{url}/v1/agents/", {"name": conversation.name.replace("_", " ")})["id"]
    path = f"{url}/v1/agents/{agent}/archival-memory"
    numbers: dict[str, int] = {}
    for number, (text, at) in enumerate(conversation.turns):
        (stored,) = _call(path, {"text": text, **({"created_at": at} if dated else {})})
        numbers[stored["id"]] = number
    found: list[list[int]] = []
    for question in conversation.questions:
        query = urllib.parse.urlencode({"query": question.text, "top_k": LIMIT})
        found.append([numbers[each["id"]] for each in _call(f"{path}/search?{query}")["results"]])
    return found


def _call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


if __name__ == "__main__":
    measure({})
