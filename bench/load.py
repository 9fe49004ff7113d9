"""Streams turns at a chosen concurrency, from a server or straight from the model, and times every token."""

import asyncio
import json
import re
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

STAMP = re.compile(rb"\d{16}(?= )")


@dataclass
class Turn:
    """What one streamed turn took; milliseconds."""

    sent: int
    first: float = 0.0
    end: float = 0.0
    ages: list[float] = field(default_factory=list[float])


@dataclass
class Level:
    """All turns at one concurrency."""

    turns: list[Turn]
    wall: float

    def median_first(self) -> float:
        return statistics.median(turn.first for turn in self.turns)

    def relay(self, quantile: float) -> float:
        ages = sorted(age for turn in self.turns for age in turn.ages)
        return ages[int(quantile * (len(ages) - 1))]

    def tokens_per_second(self) -> float:
        return sum(len(turn.ages) for turn in self.turns) / self.wall


async def level(url: str, model: str, streams: int, turns: int, *, direct: bool, follow: str | None = None) -> Level:
    """Run `streams` conversations of `turns` turns each, after one turn to warm up.

    With `follow` the runs only start at `url`, and are read from the server of that address.
    """
    timeout, connector = aiohttp.ClientTimeout(total=120), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=1 << 20) as session:
        paths = [await _path(session, url, model, direct=direct) for _ in range(streams)]
        body = _body(model, direct=direct)
        await asyncio.gather(*(_turn(session, path, body, follow) for path in paths))
        started = time.monotonic()
        done = await asyncio.gather(*(_conversation(session, path, body, turns, follow) for path in paths))
        return Level([turn for conversation in done for turn in conversation], time.monotonic() - started)


async def _path(session: aiohttp.ClientSession, url: str, model: str, *, direct: bool) -> str:
    if direct:
        return f"{url}/v1/chat/completions"
    handle = model if "/" in model else f"openai/{model}"
    async with session.post(f"{url}/v1/agents/", json={"model": handle}) as reply:
        assert reply.status == 200, await reply.text()
        return f"{url}/v1/agents/{(await reply.json())['id']}/messages/stream"


def _body(model: str, *, direct: bool) -> bytes:
    messages = [{"role": "user", "content": "hello"}]
    body: dict[str, Any] = {"model": model, "stream": True} if direct else {"stream_tokens": True}
    return json.dumps({**body, "messages": messages}).encode()


async def _conversation(
    session: aiohttp.ClientSession, path: str, body: bytes, turns: int, follow: str | None
) -> list[Turn]:
    return [await _turn(session, path, body, follow) for _ in range(turns)]


async def _turn(session: aiohttp.ClientSession, path: str, body: bytes, follow: str | None) -> Turn:
    turn, left = Turn(time.monotonic_ns()), b""
    if follow is not None:
        begin = f"{path.removesuffix('/stream')}/async"
        async with session.post(begin, data=body, headers={"content-type": "application/json"}) as reply:
            assert reply.status == 200, await reply.text()
            path, body = f"{follow}/v1/runs/{(await reply.json())['id']}/stream", b"{}"
    async with session.post(path, data=body, headers={"content-type": "application/json"}) as reply:
        assert reply.status == 200, await reply.text()
        async for chunk in reply.content.iter_any():
            now = time.monotonic_ns()
            text, end = left + chunk, 0
            for found in STAMP.finditer(text):
                turn.ages.append((now - int(found[0])) / 1e6)
                end = found.end()
            left = text[end:][-16:]
            if turn.ages and not turn.first:
                turn.first = (now - turn.sent) / 1e6
    turn.end = (time.monotonic_ns() - turn.sent) / 1e6
    return turn
