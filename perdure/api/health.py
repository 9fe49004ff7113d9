"""Whether the server is up."""

from fastapi import Request, Response

from perdure.api.auth import server_of
from perdure.api.reply import reply


async def check_health(request: Request) -> Response:
    return reply({"version": server_of(request).version, "status": "ok"})
