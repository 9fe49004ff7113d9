"""What every request passes first: it is counted, their number is bounded, and they are logged and traced if wanted.

An operation that is found leaves its path, as listed, under `OPERATION` in the scope, so that what is told of requests
names no ids.
"""

import time
from typing import Final

from opentelemetry.trace import Span, SpanKind
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.api.reply import OPERATION, refuse
from perdure.domain.errors import Unavailable
from perdure.logs import Log
from perdure.telemetry import metrics, tracing
from perdure.wire.errors import failure

OVERLOADED: Final = (
    "This server is answering {most} requests, which is as many as it takes at a time. Try again in a moment, or raise "
    "PERDURE_MAX_REQUESTS."
)
_HEALTH: Final = "/v1/health/"

log = Log("perdure.api")


class Entrance:
    """The outermost part of the application. Requests beyond `most` at a time get 503; those for health never do."""

    def __init__(self, app: ASGIApp, *, most: int, access_log: bool) -> None:
        self._app = app
        self._most = most
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        app = self._full if metrics.opened["requests"] >= self._most and not _is_health(scope) else self._app
        metrics.opened["requests"] += 1
        try:
            if tracing.is_on():
                await _traced(app, scope, receive, send_noting)
            else:
                await app(scope, receive, send_noting)
        finally:
            metrics.opened["requests"] -= 1
            metrics.request_answered(scope["method"], status)
            if self._access_log:
                _note(scope, status, time.perf_counter() - began)

    async def _full(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = refuse(scope, failure(Unavailable(OVERLOADED.format(most=self._most), retry_after=1)))
        await response(scope, receive, send)


def _is_health(scope: Scope) -> bool:
    return f"{scope['path']}/".startswith(_HEALTH)


def _note(scope: Scope, status: int, seconds: float) -> None:
    """One line of the access log. Without the query, which may hold what people search for."""
    client = scope.get("client")
    log.info(
        "request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4),
        client=client[0] if client else None,
    )  # fmt: skip


async def _traced(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request under a span, in the trace that its caller names."""
    status = 0

    async def send_noting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    method = scope["method"]
    attributes = {"http.request.method": method, "url.path": scope["path"], "url.scheme": scope.get("scheme")}
    span = tracing.start(method, attributes, within=tracing.context_of(Headers(scope=scope)), kind=SpanKind.SERVER)
    assert span is not None
    token = tracing.enter(span)
    try:
        await app(scope, receive, send_noting)
    finally:
        tracing.leave(token)
        _end(span, scope, status)


def _end(span: Span, scope: Scope, status: int) -> None:
    route = scope.get(OPERATION)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
    tracing.note(span, {"http.route": route, "http.response.status_code": status or None})
    tracing.end(span, str(status) if status >= 500 else None)
