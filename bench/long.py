"""One conversation of many turns in a small window: what a turn costs at its beginning, and what at its end."""

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp
import psutil

WINDOW = 6_000
"""Tokens; with the agent's prompt and tools in it, some twenty turns fit."""
SAID = "The key of the room {turn} lies under a stone. " + "It rains on the stone and on the key. " * 8


@dataclass
class Cost:
    """What turns cost, on the mean: milliseconds until the answer was whole, and of the server's CPU."""

    wall: float
    cpu: float


@dataclass
class Talk:
    """A conversation, measured at both ends."""

    first: Cost
    last: Cost
    messages: int
    """In context at the end."""
    compactions: int


async def talk(url: str, model: str, server: psutil.Process, turns: int) -> Talk:
    """Talk for so many turns, of which a tenth at either end is measured, after some to warm up."""
    tenth = turns // 10
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        made = {"model": f"openai/{model}", "context_window_limit": WINDOW}
        async with session.post(f"{url}/v1/agents/", json=made) as reply:
            agent = f"{url}/v1/agents/{(await reply.json())['id']}"
        await _turns(session, agent, server, 0, 50)
        first = await _turns(session, agent, server, 50, tenth)
        await _turns(session, agent, server, 50 + tenth, turns - 2 * tenth - 50)
        last = await _turns(session, agent, server, turns - tenth, tenth)
        async with session.get(f"{agent}/context") as reply:
            found = await reply.json()
    compactions = found["num_recall_memory"] - 2 * turns - 1
    return Talk(first, last, found["num_messages"], compactions)


async def _turns(session: aiohttp.ClientSession, agent: str, server: psutil.Process, start: int, count: int) -> Cost:
    began, used = time.monotonic(), _cpu(server)
    for turn in range(start, start + count):
        body = {"messages": [{"role": "user", "content": SAID.format(turn=turn)}]}
        async with session.post(f"{agent}/messages", json=body) as reply:
            said = json.loads(await reply.read())
            assert reply.status == 200, said
            assert said["stop_reason"]["stop_reason"] == "end_turn", said
    return Cost((time.monotonic() - began) / count * 1000, (_cpu(server) - used) / count * 1000)


def _cpu(server: psutil.Process) -> float:
    times = server.cpu_times()
    return times.user + times.system


def run(url: str, model: str, pid: int, turns: int) -> Talk:
    """The same, from where no event loop runs."""
    return asyncio.run(talk(url, model, psutil.Process(pid), turns))
