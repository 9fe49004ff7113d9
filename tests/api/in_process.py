"""Calls the application without a network: one request in, the whole answer out."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

from fastapi import FastAPI

from perdure.api.application import create_application
from perdure.api.operations import Operation
from perdure.api.routes import ROUTES
from perdure.api.server import Server
from perdure.tools.door import Passes

PASSWORD = "correct horse"
BEARER = ("authorization", f"Bearer {PASSWORD}")
JSON = ("content-type", "application/json")
LIMIT = 10.0
"""Seconds after which a request counts as hung."""


class Unforeseen(Exception):
    """What a test's operation raises to see it answered; the framework hands it on after answering."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def server(**changed: Any) -> Server:
    """A server with no parts behind it: whoever asks for one fails."""
    decided: dict[str, Any] = {"password": PASSWORD, "version": "9.9", "max_body": 1000, "loopback_only": False}
    parts: dict[str, Any] = dict.fromkeys(
        ("db", "catalog", "registry", "executor", "mcp", "runner", "jobs", "vault", "sandbox", "custom_tools")
    )
    parts["passes"] = Passes()
    return Server(**{**parts, **decided, **changed})


def application(*rows: Operation, **changed: Any) -> FastAPI:
    """The application of such a server, with operations of the test's own."""
    with patch("perdure.api.application.ROUTES", (*ROUTES, *rows)):
        return create_application(server(**changed))


def call(
    app: FastAPI,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (("host", "localhost:8283"), BEARER),
    body: bytes | Sequence[bytes] = b"",
) -> Answer:
    """One request. A body in pieces comes without its length announced."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    raw, _, query = target.partition("?")
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    if body and isinstance(body, bytes):
        sent.append((b"content-length", str(len(body)).encode()))
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(raw), "raw_path": raw.encode(), "query_string": query.encode(), "root_path": "",
        "headers": sent, "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8283), "state": {},
    }  # fmt: skip
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not chunks:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        said.append(message)

    async def exchange() -> None:
        async with asyncio.timeout(LIMIT):
            await app(scope, receive, send)

    with suppress(Unforeseen):
        asyncio.run(exchange())
    named = {name.decode(): value.decode("latin-1") for name, value in said[0]["headers"]}
    return Answer(said[0]["status"], named, b"".join(message.get("body", b"") for message in said[1:]))
