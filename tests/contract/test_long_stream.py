"""A stream of 100,000 tokens: whole, and the server's memory does not grow with it."""

from collections.abc import Callable

import psutil

from tests.contract.told import user
from tests.rig.answers import text
from tests.rig.model import Script
from tests.rig.server import Server

TOKENS = 100_000
MORE_MIB = 64
"""What the server may need above what it needs for a short stream: its log keeps the newest events in memory."""


def test_memory_stays_flat(new_server: Callable[..., Server], script: Script) -> None:
    server = new_server().start()
    agent = server.new_agent(model=script.handle)["id"]
    body = {"messages": user("hi"), "stream_tokens": True, "include_pings": False}
    script.say("short")
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        stream.read()
    process = psutil.Process(server.pid)
    before, peak, count = process.memory_info().rss, 0, 0
    script.answer(text(*(["token "] * TOKENS)))
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        for frame in stream:
            stream.frames.clear()
            count += frame.kind == "assistant_message"
            if count % 10_000 == 0:
                peak = max(peak, process.memory_info().rss)
    assert count == TOKENS
    assert (peak - before) / 2**20 < MORE_MIB
    assert server.get(f"/v1/agents/{agent}/messages?limit=1").json[0]["content"] == "token " * TOKENS
