"""A way to a server that can be cut: connections through it break, and new ones are refused until it is mended."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

LIMIT = 10.0


class Proxy:
    """Listens on a loopback port of its own and hands everything on. Use it as a context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()

    def cut(self) -> None:
        """Breaks all connections, and refuses new ones."""
        self._on_loop(self._cut())

    def mend(self) -> None:
        """Takes connections again, on the same port."""
        self._on_loop(self._listen())

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            other_reader, other = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, other}
            await asyncio.gather(_pump(reader, other), _pump(other_reader, writer), return_exceptions=True)
            self._writers -= {writer, other}
            other.close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
