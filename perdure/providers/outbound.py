"""Requests to addresses that callers chose: only to public ones, unless the operator allows private ones.

A name is resolved once, all its addresses are checked, and the connection goes to what was checked: a name that
resolves to something else a moment later changes nothing. The address is read by one parser, redirects are not
followed, and proxies of the environment are not used.
"""

import asyncio
import re
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from perdure import __version__
from perdure.domain.errors import Invalid, Unavailable
from perdure.lazy import lazy_module

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = lazy_module("aiohttp")

MAX_URL_CHARS: Final = 2048

_PLAIN: Final = re.compile(r"[!-\[\]-~]+")
"""What an address may be made of: visible ASCII, but no backslash, which some readers take for a slash."""
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_PORTS: Final = {"http": 80, "https": 443}
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


class Target(NamedTuple):
    """An address in its parts. `path` has the query with it."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def read_target(url: str, *, allow_private: bool) -> Target:
    """The parts of an http or https address. Names are not resolved yet.

    Raises Invalid for what is no such address, and for numbers that name a private one.
    """
    if len(url) > MAX_URL_CHARS or not _PLAIN.fullmatch(url):
        raise Invalid(f"An address must be at most {MAX_URL_CHARS} visible ASCII characters, without backslashes.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid(f"This is not an address that can be called: {error}.") from error
    host = parts.hostname or ""
    if parts.scheme not in _PORTS:
        raise Invalid("Only addresses that begin with http:// or https:// can be called.")
    if "@" in parts.netloc:
        raise Invalid("An address must not hold a user name or a password.")
    if port == 0 or not (_NAME.fullmatch(host) or _number(host)):
        raise Invalid(f"The address does not name a host that can be called: {parts.netloc[:200]!r}.")
    number = _number(host)
    if number is not None and not allow_private and not is_public(number):
        raise _private(host)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the open internet: not of this machine, of a local network, or kept for a use."""
    if isinstance(address, IPv6Address):
        # Addresses that hold an IPv4 address inside are reached through whatever translates them.
        ordinary = address in _GLOBAL_UNICAST and address not in _SIX_TO_FOUR and address.teredo is None
        return ordinary and address.is_global
    return address.is_global and not (address.is_multicast or address.is_reserved)


async def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool, time_limit: float) -> int:
    """Send `body` and return the status that came back; nothing of the answer is read. `time_limit` is in seconds.

    Raises Invalid for an address that may not be called, Unavailable where it does not answer.
    """
    target = read_target(url, allow_private=allow_private)
    try:
        async with asyncio.timeout(time_limit):
            return await _post(target, await _addresses(target, allow_private=allow_private), body, headers)
    except TimeoutError as error:
        raise Unavailable(f"{target.authority} did not answer within {time_limit:g} seconds.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{target.authority} cannot be reached: {error}") from error


async def _addresses(target: Target, *, allow_private: bool) -> list[str]:
    """What the host resolves to. Raises Invalid where any of it may not be called."""
    found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [str(place[0]) for *_, place in found]
    for address in addresses:
        if not allow_private and not is_public(ip_address(address)):
            raise _private(target.host)
    return list(dict.fromkeys(addresses))


async def _post(target: Target, addresses: list[str], body: bytes, headers: Mapping[str, str]) -> int:
    sent = {**headers, "Host": target.authority, "User-Agent": f"perdure/{__version__}"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for left, address in enumerate(addresses, 1 - len(addresses)):
            try:
                async with session.post(
                    _at(target, address), data=body, headers=sent, allow_redirects=False, server_hostname=target.host
                ) as response:
                    return response.status
            except aiohttp.ClientConnectorError:
                if left == 0:
                    raise
    raise Unavailable(f"{target.host} has no address.")


def _at(target: Target, address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{target.scheme}://{host}:{target.port}{target.path}"


def _number(host: str) -> IPv4Address | IPv6Address | None:
    """The address a host names by numbers, in any of the spellings that systems read (`127.1`, `0x7f000001`)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _private(host: str) -> Invalid:
    return Invalid(
        f"{host} is not a public address, and this server calls no others. Its operator can allow them with "
        "PERDURE_PRIVATE_CALLBACKS=1."
    )
