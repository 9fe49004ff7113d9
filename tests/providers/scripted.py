"""A provider that says exactly the bytes a test wants said: a loopback server with no HTTP library to tidy them up."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

LIMIT = 20.0
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

T = TypeVar("T")


@dataclass
class Asked:
    """One request as it arrived, on connection number `connection` (from 1)."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scripted:
    """The server's address, and what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a caller closed a connection."""
    connections: int = 0


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Scripted]:
    """Runs a server that plays `answer` for each request; a connection is kept until `answer` closes its writer."""
    scripted = Scripted()
    played: set[asyncio.Future[Any]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scripted.connections += 1
        connection = scripted.connections
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await _request(reader, connection)
                scripted.asked.append(asked)
                played.add(asyncio.ensure_future(_played(answer, asked, writer)))
        scripted.hung_up.set()
        writer.close()

    async with listening(talk) as port:
        scripted.url = f"http://127.0.0.1:{port}"
        try:
            yield scripted
        finally:
            await _cancelled(played)


@contextlib.asynccontextmanager
async def listening(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Runs a server that does `talk` with each connection, HTTP or not; gives its port."""
    talks: set[asyncio.Future[Any]] = set()
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        talks.add(asyncio.ensure_future(talk(reader, writer)))

    server = await asyncio.start_server(accept, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await _cancelled(talks)
        for writer in writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _cancelled(tasks: set[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _played(answer: Answer, asked: Asked, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await answer(asked, writer)


async def _request(reader: asyncio.StreamReader, connection: int) -> Asked:
    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    method, path, _ = head.split(" ")
    return Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))), connection)


def chunked(data: bytes) -> bytes:
    """`data` as one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def plain(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(*pieces: bytes) -> Answer:
    """Writes the pieces one after the other, each in a write of its own."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


def streams(*events: bytes) -> Answer:
    """A complete event stream; each of `events` travels in a chunk of its own, the end together with the last."""
    *first, last = events
    return says(SSE, *(chunked(event) for event in first), chunked(last) + END)


def lists(replies: dict[str, Any]) -> Answer:
    """Answers paths with JSON; a path with several answers gives them by turns, an int is a status."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        reply = replies.get(asked.path, 404)
        if callable(reply):
            reply = reply(asked)
        body = json.dumps(reply if not isinstance(reply, int) else {"error": {"message": f"said {reply}"}}).encode()
        writer.write(plain(reply if isinstance(reply, int) else 200, body))

    return answer


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a test's coroutine to its end, within the limit."""

    async def limited() -> T:
        async with asyncio.timeout(LIMIT):
            return await coroutine

    return asyncio.run(limited())


def events(*chunks: Any) -> Sequence[bytes]:
    """Chunks as events: objects as JSON, strings as they are."""
    return [f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode() for chunk in chunks]
