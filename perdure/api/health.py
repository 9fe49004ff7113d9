"""Whether the server is up, and whether it takes work."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from perdure.api.auth import authenticate, server_of
from perdure.api.reply import reply
from perdure.domain.errors import Unauthorized, Unavailable
from perdure.runs.policy import State
from perdure.store import servers

READY_SECONDS: Final = 2.0
"""How long the database may take to answer."""


async def check_health(request: Request) -> Response:
    """Whether the process answers at all; as every SDK expects it.

    Whoever may use the server also learns how tools are kept apart, once that was tried, and which providers are left
    alone because they fail.
    """
    server = server_of(request)
    said: dict[str, Any] = {"version": server.version, "status": "ok"}
    with suppress(Unauthorized, HTTPException):
        authenticate(request)
        if (sandbox := server.sandbox.chosen) is not None:
            said["sandbox"] = str(sandbox)
        if paused := server.catalog.paused():
            said["paused_providers"] = paused
    return reply(said)


async def check_ready(request: Request) -> Response:
    """Whether new runs are taken: 503 while the server stops, and while its database cannot be written."""
    server = server_of(request)
    state: State = server.runner.state
    if state == "ready":
        try:
            async with asyncio.timeout(READY_SECONDS):
                await server.db.write(lambda conn: servers.is_here(conn, server.runner.lease.id))
        except (Unavailable, TimeoutError):
            state = "storage_unavailable"
    body = {"version": server.version, "status": state}
    return reply(body) if state == "ready" else reply(body, 503, {"retry-after": "5"})
