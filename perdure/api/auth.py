"""Who is calling, and whether they may. Asked by every operation that is not open, before its body is read.

With a password, a caller must show it. Without one, only this machine is answered, and no web page of another site:
a name that resolves to 127.0.0.1 (DNS rebinding) is refused by its Host header, a cross-site call by its Origin.
Nothing here looks at paths: what is protected is decided where operations are listed.
"""

import hmac
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Scope

from perdure.api.reply import COMMITTED
from perdure.api.server import Server
from perdure.domain.errors import Unauthorized
from perdure.domain.ids import DEFAULT_TENANT
from perdure.tools.door import Pass
from perdure.wire.generations import Generation, of_headers

_CALLER: Final = "perdure.caller"
_AUTHORITY: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated request. `tenant` follows from the credentials and from nothing else.

    `run_id` is the run whose tool asks, through the `client` that it was given.
    """

    server: Server
    tenant: str
    run_id: str | None
    generation: Generation
    project: str | None
    headers: Headers
    scope: Scope

    def committed(self) -> None:
        """Say that this request's input is durable: from here on no answer may make an SDK send it again."""
        self.scope[COMMITTED] = True


def authenticate(connection: HTTPConnection) -> Caller:
    """The caller of this request, worked out once.

    Raises Unauthorized without the password, HTTPException 421 or 403 for what a web page must not reach.
    """
    known = connection.scope.get(_CALLER)
    if known is not None:
        return known
    server = server_of(connection)
    headers = connection.headers
    shown = _pass_of(server, headers)
    if server.password is None:
        _check_host(server, headers)
        _check_origin(server, headers)
    elif shown is None and not _shows(server.password, headers):
        raise Unauthorized("Unauthorized")
    caller = Caller(
        server=server,
        tenant=DEFAULT_TENANT if shown is None else shown.tenant,
        run_id=None if shown is None else shown.run_id,
        generation=of_headers(headers),
        project=headers.get("x-project") or headers.get("x-project-id"),
        headers=headers,
        scope=connection.scope,
    )
    connection.scope[_CALLER] = caller
    return caller


async def _caller(request: Request) -> Caller:
    return authenticate(request)


CallerDep = Annotated[Caller, Depends(_caller)]


def server_of(connection: HTTPConnection) -> Server:
    """The server this request came to."""
    return cast("Server", connection.app.state.server)


def _pass_of(server: Server, headers: Headers) -> Pass | None:
    """What a tool is let in with that shows the key of its call."""
    return next((found for given in _credentials(headers) if (found := server.passes.find(given))), None)


def _shows(password: str, headers: Headers) -> bool:
    expected = password.encode()
    return any(hmac.compare_digest(given, expected) for given in _credentials(headers))


def _credentials(headers: Headers) -> Iterator[bytes]:
    """The passwords shown, as the bytes that were sent."""
    for header, scheme in (("authorization", "bearer"), ("x-bare-password", "password")):
        for value in headers.getlist(header):
            given_scheme, _, given = value.partition(" ")
            if given_scheme.lower() == scheme:
                yield given.strip().encode("latin-1")


def _check_host(server: Server, headers: Headers) -> None:
    hosts = headers.getlist("host")
    if server.loopback_only and not (len(hosts) == 1 and _is_loopback(hosts[0])):
        raise HTTPException(
            421,
            "This server has no password, so it answers only to localhost and 127.0.0.1. "
            "Use http://localhost with its port, or start the server with a password.",
        )


def _check_origin(server: Server, headers: Headers) -> None:
    for origin in headers.getlist("origin"):
        if origin in server.allowed_origins or "*" in server.allowed_origins:
            continue
        _, _, authority = origin.partition("://")
        if _is_loopback(authority) or authority.lower() == headers.get("host", "").lower():
            continue
        raise HTTPException(
            403,
            "This server has no password, so web pages of other sites may not call it. "
            "Start it with a password, or allow the page's origin in its settings.",
        )


@lru_cache(maxsize=64)
def _is_loopback(authority: str) -> bool:
    """Whether `host[:port]` names this machine without asking DNS."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    name = match["name"].strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
