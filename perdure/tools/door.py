"""The way from a tool in its jail to this server: connections handed in one by one, and a key for just this call."""

import asyncio
import contextlib
import hashlib
import secrets
import socket
from collections.abc import AsyncGenerator, Generator
from typing import Final

import msgspec

MOST_CONNECTIONS: Final = 64
"""Connections that one call may open."""


class Pass(msgspec.Struct, frozen=True):
    """Whom a key is for: a tenant, and the run whose call it serves; None for a call outside of runs."""

    tenant: str
    run_id: str | None = None


class Passes:
    """Keys for callers that this process started itself, each for one tenant and as long as it is needed."""

    def __init__(self) -> None:
        self._issued: dict[bytes, Pass] = {}

    @contextlib.contextmanager
    def issue(self, held: Pass) -> Generator[str]:
        """A key that is good until the end of the block."""
        key = f"tool-{secrets.token_urlsafe(32)}"
        digest = _digest(key.encode())
        self._issued[digest] = held
        try:
            yield key
        finally:
            del self._issued[digest]

    def find(self, key: bytes) -> Pass | None:
        """Whom a key is for; None for one that is not, or no longer, good."""
        return self._issued.get(_digest(key)) if self._issued else None


def _digest(key: bytes) -> bytes:
    # How long a look-up takes tells nothing of the key itself.
    return hashlib.sha256(key).digest()


class Door:
    """Lets calls in. `path` is the socket at which the server answers; None where it answers nowhere."""

    def __init__(self, passes: Passes, path: str | None) -> None:
        self._passes = passes
        self._path = path

    @contextlib.asynccontextmanager
    async def open(self, held: Pass) -> AsyncGenerator[tuple[socket.socket, str] | None]:
        """A channel for one job, over which it asks for connections, and the key to show there."""
        if self._path is None:
            yield None
            return
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs, self._passes.issue(held) as key:
            porter = asyncio.create_task(self._answer(ours, self._path))
            try:
                yield theirs, key
            finally:
                porter.cancel()
                await asyncio.gather(porter, return_exceptions=True)

    async def _answer(self, ours: socket.socket, path: str) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(MOST_CONNECTIONS):
            if not await loop.sock_recv(ours, 1):
                return
            with socket.socket(socket.AF_UNIX) as connection:
                connection.setblocking(False)
                await loop.sock_connect(connection, path)
                socket.send_fds(ours, [b"c"], [connection.fileno()])
