"""A model that streams as fast or as slowly as its name says: `t64-g10` is 64 tokens, 10 ms apart.

It speaks OpenAI's chat and Responses, Anthropic's messages and Gemini. Each token is the moment it was written, as 16
digits of the machine's monotonic clock in nanoseconds and a space, so that whoever reads it in another process knows
its age.
"""

import asyncio
import json
import re
import time
from typing import Any, NamedTuple

import uvloop
from aiohttp import web

NAME = re.compile(r"t(\d+)-g(\d+)")
MODELS = ("t64-g0", "t64-g10", "t4-g0", "t200-g10", "t4000-g0")
MARK = "@"
"""Stands for the token in what is written for each."""


class Speech(NamedTuple):
    """What is written before the tokens, for each of them, and after them."""

    before: bytes
    token: bytes
    after: bytes


def lines(*events: dict[str, Any]) -> bytes:
    """Events as server-sent events; those that have a type are named after it."""
    return b"".join(
        (f"event: {event['type']}\n" if "type" in event else "").encode()
        + b"data: "
        + json.dumps(event).encode()
        + b"\n\n"
        for event in events
    )


def chat(name: str, tokens: int) -> Speech:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": name}

    def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    usage = {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}
    after = lines(chunk({}, "stop"), {**head, "choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    return Speech(lines(chunk({"role": "assistant", "content": ""})), lines(chunk({"content": MARK})), after)


def responses(name: str, tokens: int) -> Speech:
    response = {"id": "resp_1", "object": "response", "model": name, "output": [], "error": None}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    about = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    usage = {"input_tokens": 100, "output_tokens": tokens}
    delta = {"type": "response.output_text.delta", **about, "delta": MARK, "logprobs": [], "sequence_number": 1}
    return Speech(
        lines(
            {"type": "response.created", "response": {**response, "status": "in_progress"}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
        ),
        lines(delta),
        lines(
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {**response, "status": "completed", "usage": usage}},
        ),
    )


def messages(name: str, tokens: int) -> Speech:
    usage = {"input_tokens": 100, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": name, "content": [], "usage": usage}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return Speech(
        lines(
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ),
        lines({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": MARK}}),
        lines(
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": tokens}},
            {"type": "message_stop"},
        ),
    )


def gemini(name: str, tokens: int) -> Speech:
    usage = {"promptTokenCount": 100, "candidatesTokenCount": tokens, "totalTokenCount": 100 + tokens}

    def chunk(text: str, **ending: str) -> dict[str, Any]:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **ending}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": name, "responseId": "x"}

    return Speech(b"", lines(chunk(MARK)), lines(chunk("", finishReason="STOP")))


async def speak(request: web.Request, speech: Speech, tokens: int, gap: float) -> web.StreamResponse:
    """Stream an answer of so many tokens, `gap` seconds apart."""
    before, after = speech.token.split(MARK.encode())
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await response.write(speech.before)
    due = time.monotonic()
    for _ in range(tokens):
        if gap and (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        due += gap
        await response.write(before + b"%016d " % time.monotonic_ns() + after)
    await response.write(speech.after)
    return response


SPOKEN = {"/v1/chat/completions": chat, "/v1/responses": responses, "/v1/messages": messages}


async def answered(request: web.Request) -> web.StreamResponse:
    body = json.loads(await request.read())
    name = body.get("model") or request.match_info["name"]
    found = NAME.search(name)
    assert found is not None
    tokens, gap = int(found[1]), int(found[2]) / 1000
    return await speak(request, SPOKEN.get(request.path, gemini)(name, tokens), tokens, gap)


async def models(request: web.Request) -> web.Response:
    """All names in the form of OpenAI's list, which is Anthropic's too."""
    data = [{"id": prefix + name, "object": "model"} for name in MODELS for prefix in ("", "claude-")]
    return web.json_response({"object": "list", "data": data, "has_more": False})


async def gemini_models(request: web.Request) -> web.Response:
    methods = ["generateContent", "streamGenerateContent"]
    named = [{"name": f"models/gemini-{name}", "supportedGenerationMethods": methods} for name in MODELS]
    return web.json_response({"models": named})


def serve(port: int) -> None:
    """Serve on a loopback port until ended."""
    app = web.Application(client_max_size=1 << 26)
    app.add_routes([web.post(path, answered) for path in SPOKEN])
    app.add_routes([web.get("/v1/models", models), web.get("/v1beta/models", gemini_models)])
    app.add_routes([web.post("/v1beta/models/{name}:streamGenerateContent", answered)])
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, keepalive_timeout=600)
