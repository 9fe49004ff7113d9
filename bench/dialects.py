"""What a relayed token costs in each dialect, against OpenAI's chat: the same text, one event for each token."""

import asyncio
import statistics

from bench.load import level
from bench.place import Served, asks, paced_model, server

MODELS = {
    "OpenAI chat": "openai/t{tokens}-g0",
    "OpenAI Responses": "responses/t{tokens}-g0",
    "Anthropic": "anthropic/claude-t{tokens}-g0",
    "Gemini": "google_ai/gemini-t{tokens}-g0",
}
TOKENS = 4_000
"""Of an answer: so many that what a turn costs by itself does not count."""
STREAMS, TURNS = 4, 3


def measure(rounds: int, environment: dict[str, str], tokens: int = TOKENS) -> None:
    """Print microseconds of the server's CPU for a token, in each dialect, and how they compare."""
    with paced_model() as url, server(environment | asks(url) | _more(url)) as served:
        costs = {name: list[float]() for name in MODELS}
        for _ in range(1 + rounds):
            for name, handle in MODELS.items():
                costs[name].append(_cost(served, handle.format(tokens=tokens)))
    for found in costs.values():
        del found[0]  # of a server that had just started
    for name, found in costs.items():
        ratio = statistics.median(mine / chat for mine, chat in zip(found, costs["OpenAI chat"], strict=True))
        print(f"{name:22} {statistics.median(found):6.1f} µs/token {ratio:6.2f} x of OpenAI chat's")


def _cost(served: Served, handle: str) -> float:
    """Microseconds of CPU for a token."""
    before = served.cpu()
    done = asyncio.run(level(served.url, handle, STREAMS, TURNS, direct=False))
    tokens = sum(len(turn.ages) for turn in done.turns) * (TURNS + 1) / TURNS
    return (served.cpu() - before) / tokens * 1e6


def _more(url: str) -> dict[str, str]:
    """What makes a server ask the model in the other dialects."""
    return {
        "PERDURE_PROVIDER_RESPONSES_BASE_URL": f"{url}/v1", "PERDURE_PROVIDER_RESPONSES_DIALECT": "openai_responses",
        "ANTHROPIC_API_KEY": "x", "ANTHROPIC_BASE_URL": url, "GEMINI_API_KEY": "x", "GEMINI_BASE_URL": url,
    }  # fmt: skip
