"""A run as a streamed HTTP answer."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from perdure.runs.follower import Follower
from perdure.wire.sse import DONE, HEADERS, Frames


class EventStream(Response):
    """Writes what a follower reads, one write for what each commit released, and ends the body right after [DONE].

    When the client goes away, only this reader ends; the run goes on.
    """

    def __init__(self, follower: Follower, frames: Frames) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._follower = follower
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        writing = asyncio.current_task()
        assert writing is not None
        leaving = asyncio.ensure_future(_left(receive, writing))
        try:
            await self._write(send)
        except asyncio.CancelledError:
            if not leaving.done():
                raise
            writing.uncancel()
        finally:
            leaving.cancel()

    async def _write(self, send: Send) -> None:
        follower, frames = self._follower, self._frames
        while not follower.finished and (batch := await follower.next()) is not None:
            body = frames.encode(batch) if batch else frames.ping()
            if follower.finished:
                await send({"type": "http.response.body", "body": body + DONE})
                return
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": DONE})


async def _left(receive: Receive, writing: "asyncio.Task[object]") -> None:
    """Stop writing once the client is gone: a run may be silent for long, and nobody reads."""
    while (await receive())["type"] != "http.disconnect":
        pass
    writing.cancel()
