"""Keeps a request's body within bounds, whether its length is announced or not."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.api.reply import reply


class BodyLimit:
    """Answers 413 where a body is longer than `max_body` bytes: before reading it, or as soon as that much came."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._announced(scope) > self._max_body:
            refusal = self._refusal()
            response = reply({"detail": refusal.detail}, refusal.status_code, refusal.headers)
            await response(scope, receive, send)
            return
        received = 0

        async def receive_within() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise self._refusal()
            return message

        await self._app(scope, receive_within, send)

    def _announced(self, scope: Scope) -> int:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                return int(value[:19])
        return 0

    def _refusal(self) -> HTTPException:
        text = f"The body is longer than the {self._max_body} bytes this server takes. Send less, or raise its limit."
        # What has not been read cannot be followed by another request, so the connection ends.
        return HTTPException(413, text, {"connection": "close"})
