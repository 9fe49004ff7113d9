"""A run as a streamed HTTP answer."""

import asyncio
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from perdure.domain.events import last_events
from perdure.domain.runs import HANDED_OVER, Usage
from perdure.runs.follower import Follower, Numbered
from perdure.telemetry import metrics
from perdure.wire.sse import HEADERS


class Frames(Protocol):
    """One run's events as one reader is shown them. `end` follows the last of them."""

    end: bytes

    def encode(self, batch: list[Numbered]) -> bytes: ...

    def ping(self) -> bytes:
        """What breaks a silence; empty where nothing is to."""
        ...


class EventStream(Response):
    """Writes what a follower reads, one write for what each commit released, and ends the body right after its end.

    When the client goes away, only this reader ends; the run goes on.
    """

    def __init__(self, follower: Follower, frames: Frames) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._follower = follower
        self._frames = frames
        self._sent = 0
        self._writes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        writing = asyncio.current_task()
        assert writing is not None
        leaving = asyncio.ensure_future(_left(receive, writing))
        metrics.opened["readers"] += 1
        try:
            await self._write(send)
        except asyncio.CancelledError:
            if not leaving.done():
                raise
            writing.uncancel()
        finally:
            leaving.cancel()
            metrics.opened["readers"] -= 1
            metrics.stream_ended(self._sent, stalled=self._writes)

    async def _write(self, send: Send) -> None:
        follower, frames = self._follower, self._frames
        while not follower.finished and (batch := await follower.next()) is not None:
            body = frames.encode(batch) if batch else frames.ping()
            if follower.finished:
                await self._send(send, body + frames.end, more=False)
                return
            if body:
                await self._send(send, body, more=True)
        # Where the run goes on elsewhere, its end here belongs to this reader, and repeats the last number.
        ending = last_events("error", Usage(), HANDED_OVER) if follower.left else []
        body = frames.encode([(follower.seq, event) for event in ending]) if ending else b""
        await self._send(send, body + frames.end, more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool) -> None:
        self._writes = True
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self._writes = False
        self._sent += len(body)


async def _left(receive: Receive, writing: "asyncio.Task[object]") -> None:
    """Stop writing once the client is gone: a run may be silent for long, and nobody reads."""
    while (await receive())["type"] != "http.disconnect":
        pass
    writing.cancel()
