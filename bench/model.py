"""A model that streams as fast or as slowly as its name says: `t64-g10` is 64 tokens, 10 ms apart.

Each token is the moment it was written, as 16 digits of the machine's monotonic clock in nanoseconds and a space, so
that whoever reads it in another process knows its age.
"""

import asyncio
import json
import re
import time

import uvloop
from aiohttp import web

NAME = re.compile(r"t(\d+)-g(\d+)")
MODELS = ("t64-g0", "t64-g10", "t4-g0")


async def models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})


async def chat(request: web.Request) -> web.StreamResponse:
    name = json.loads(await request.read())["model"]
    found = NAME.search(name)
    assert found is not None
    tokens, gap = int(found[1]), int(found[2]) / 1000
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": name}

    def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"

    before, after = chunk({"content": "@"}).split(b"@")
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await response.write(chunk({"role": "assistant", "content": ""}))
    due = time.monotonic()
    for _ in range(tokens):
        if gap and (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        due += gap
        await response.write(before + b"%016d " % time.monotonic_ns() + after)
    usage = {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}
    await response.write(
        chunk({}, "stop") + b"data: " + json.dumps({**head, "choices": [], "usage": usage}).encode() + b"\n\n"
    )
    await response.write(b"data: [DONE]\n\n")
    return response


def serve(port: int) -> None:
    """Serve on a loopback port until ended."""
    app = web.Application(client_max_size=1 << 26)
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, keepalive_timeout=600)
