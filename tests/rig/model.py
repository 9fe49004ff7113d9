"""A scripted model server that speaks OpenAI's chat and Responses, Anthropic's messages and Gemini.

A `Script` is one model name with a queue of answers. A test writes the answers, an agent asks, and afterwards the test
reads what was asked. Every history received is judged as a strict provider would; what it would refuse stands in
`violations`.
"""

import asyncio
import hashlib
import itertools
import json
import math
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.rig import claude, gemini, history, responses
from tests.rig.answers import LIMIT, Answer, Cut, Hold, Pause, Piece, Raw, Refusal, chunks, completion, text

POOL = 2000
"""Names on offer from the start, so that a server which lists models only once knows those of every test."""

MESSAGES = "/claude/v1/messages"
CLAUDE = "claude-opus-5-scripted"
GEMINI = "gemini-3.8-scripted"
EMBEDDING = "text-embedding-3-small"
DIMENSIONS = 1536


Judge = Callable[[dict[str, Any]], list[str]]
Stream = Iterable[dict[str, Any] | Hold | Pause | Cut | Raw]


@dataclass
class Asked:
    """One request the model received."""

    body: dict[str, Any]
    headers: dict[str, str]
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when the asker hung up before the answer was complete."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body["messages"]

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        return {tool["function"]["name"]: tool["function"] for tool in self.body.get("tools") or []}

    @property
    def system(self) -> str:
        return "\n".join(text_of(message) for message in self.messages if message["role"] in ("system", "developer"))

    @property
    def said(self) -> str:
        """The text of the last message that is not the model's own."""
        return text_of(next(m for m in reversed(self.messages) if m["role"] in ("user", "tool")))


class Script:
    """One model name, its queued answers and what was asked of it. `faults_of` judges what it is asked."""

    def __init__(self, name: str, provider: str = "openai", faults_of: Judge = history.faults_of) -> None:
        self.name = name
        self.handle = f"{provider}/{name}"
        self._faults_of = faults_of
        self.asked: list[Asked] = []
        self.violations: list[str] = []
        self._answers: deque[Answer | Refusal] = deque()
        self._otherwise: Callable[[Asked], Answer | Refusal] | None = None
        self._changed = threading.Condition()

    def say(self, *deltas: str) -> "Script":
        """Queues an answer of nothing but text."""
        return self.answer(text(*deltas))

    def answer(self, *pieces: Piece, **options: Any) -> "Script":
        """Queues an answer made of `pieces`; `options` are those of `Answer`."""
        self._answers.append(Answer(pieces, **options))
        return self

    def refuse(self, status: int, message: str = "refused by the script", **options: Any) -> "Script":
        """Queues an HTTP error; `options` are those of `Refusal`."""
        self._answers.append(Refusal(status, message, **options))
        return self

    def otherwise(self, answer: Callable[[Asked], Answer | Refusal]) -> "Script":
        """What to answer when the queue is empty. Without it that is a violation."""
        self._otherwise = answer
        return self

    def forget(self) -> None:
        """Drops what is queued, for a test that plays many scripts on one model."""
        self._answers.clear()

    @property
    def left(self) -> int:
        """Queued answers nobody has asked for yet."""
        return len(self._answers)

    def wait_asked(self, times: int, limit: float = LIMIT) -> Asked:
        """Returns the request number `times` (from 1) as soon as it has come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.asked) >= times, limit):
                raise TimeoutError(f"{self.name} was asked {len(self.asked)} times in {limit} s, not {times}")
        return self.asked[times - 1]

    def take(self, asked: Asked) -> Answer | Refusal:
        """The answer to `asked`, which is noted and judged."""
        with self._changed:
            self.asked.append(asked)
            judge = responses.faults_of if "input" in asked.body else self._faults_of
            self.violations += [f"request {len(self.asked)}: {fault}" for fault in judge(asked.body)]
            self._changed.notify_all()
            if self._answers:
                return self._answers.popleft()
            if self._otherwise:
                return self._otherwise(asked)
            self.violations.append(f"request {len(self.asked)}: no answer was left")
        return Refusal(400, f"the test queued no further answer for {self.name}")


class ModelServer:
    """The scripted models of one test process, on a loopback port, served by a thread."""

    def __init__(self) -> None:
        self.url = ""
        self._numbers = itertools.count(1)
        self._scripts: dict[str, Script] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted models", daemon=True)
        self._runner = web.AppRunner(self._application(), handler_cancellation=True, shutdown_timeout=1)

    def start(self) -> "ModelServer":
        self._thread.start()
        self._on_loop(self._listen())
        return self

    def stop(self) -> None:
        self._on_loop(self._runner.cleanup())
        self._on_loop(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()

    def script(self, name: str | None = None) -> Script:
        """A fresh script, under a name nobody else uses or under `name`."""
        script = Script(name or f"scripted-{next(self._numbers)}")
        self._scripts[script.name] = script
        return script

    def claude(self) -> Script:
        """A fresh script that is asked in Anthropic's messages, as a model that thinks when it sees fit."""
        script = Script(f"{CLAUDE}-{next(self._numbers)}", "anthropic", claude.faults_of)
        self._scripts[script.name] = script
        return script

    def gemini(self) -> Script:
        """A fresh script that is asked as a Gemini."""
        script = Script(f"{GEMINI}-{next(self._numbers)}", "google_ai", gemini.faults_of)
        self._scripts[script.name] = script
        return script

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs in its environment to find these models."""
        return {"OPENAI_API_KEY": "scripted", "OPENAI_BASE_URL": f"{self.url}/v1"}

    @property
    def claude_environment(self) -> dict[str, str]:
        """The same for those that are asked in Anthropic's messages."""
        return {"ANTHROPIC_API_KEY": "scripted", "ANTHROPIC_BASE_URL": f"{self.url}/claude"}

    @property
    def gemini_environment(self) -> dict[str, str]:
        """The same for those that are asked as a Gemini."""
        return {"GEMINI_API_KEY": "scripted", "GEMINI_BASE_URL": f"{self.url}/v1beta"}

    def _on_loop(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/claude/v1/models", self._claudes)
        app.router.add_get("/v1beta/models", self._geminis)
        app.router.add_post("/v1beta/models/{name}:streamGenerateContent", self._answered)
        for path in ("/v1/chat/completions", "/v1/responses", MESSAGES):
            app.router.add_post(path, self._answered)
        app.router.add_post("/v1/embeddings", self._embeddings)
        return app

    async def _listen(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _models(self, request: web.Request) -> web.Response:
        names = dict.fromkeys([*(f"scripted-{n}" for n in range(1, POOL + 1)), *self._scripts, EMBEDDING])
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "tests"} for name in names]
        return web.json_response({"object": "list", "data": models})

    async def _claudes(self, request: web.Request) -> web.Response:
        data = [{"type": "model", "id": f"{CLAUDE}-{n}"} for n in range(1, POOL + 1)]
        return web.json_response({"data": data, "has_more": False})

    async def _geminis(self, request: web.Request) -> web.Response:
        methods = ["generateContent"]
        names = [f"models/{GEMINI}-{n}" for n in range(1, POOL + 1)]
        return web.json_response({"models": [{"name": name, "supportedGenerationMethods": methods} for name in names]})

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = request.match_info.get("name") or body.get("model")
        script = self._scripts.get(name)
        if script is None:
            return web.json_response({"error": {"message": f"no script named {name}"}}, status=404)
        asked = Asked(body, dict(request.headers))
        answer = script.take(asked)
        if isinstance(answer, Refusal):
            return web.Response(
                status=answer.status, text=answer.text, content_type=answer.content_type, headers=dict(answer.headers)
            )
        try:
            return await self._play(request, answer, body, script.name)
        except (asyncio.CancelledError, ConnectionError):
            asked.closed.set()
            raise

    async def _play(self, request: web.Request, answer: Answer, body: dict[str, Any], name: str) -> web.StreamResponse:
        told = gemini.events if "contents" in body else responses.events if "input" in body else chunks
        told = claude.events if request.path == MESSAGES else told
        if not body.get("stream") and told is not gemini.events:
            for piece in answer.pieces:
                if isinstance(piece, Hold):
                    await piece.passed()
            return web.json_response(completion(answer, name))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        top = body.get("top_logprobs", 0) if body.get("logprobs") else None
        stream: Stream = told(answer, name) if top is None else chunks(answer, name, top)
        for chunk in stream:
            if isinstance(chunk, Hold):
                await chunk.passed()
                continue
            if isinstance(chunk, Pause):
                await asyncio.sleep(chunk.seconds)
                continue
            if not response.prepared:
                await response.prepare(request)
            if isinstance(chunk, Cut):
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(chunk.data if isinstance(chunk, Raw) else f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write_eof()
        return response

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        size = body.get("dimensions") or DIMENSIONS
        data = [{"object": "embedding", "index": at, "embedding": vector(each, size)} for at, each in enumerate(texts)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "model": body["model"], "data": data, "usage": usage})


def vector(words: str, size: int = DIMENSIONS) -> list[float]:
    """A unit vector for a text: texts that share words lie near each other."""
    counts = [0.0] * size
    for word in words.lower().split():
        counts[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % size] += 1.0
    length = math.hypot(*counts) or 1.0
    return [count / length for count in counts]


def text_of(message: dict[str, Any]) -> str:
    """The text of a chat message, whatever form its content has."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
