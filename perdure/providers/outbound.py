"""The one way out to addresses that callers or models chose: only to public ones, unless the operator allows others.

A name is resolved once, all its addresses are checked, and the connection goes to what was checked: a name that
resolves to something else a moment later changes nothing. The address is read by one parser, proxies of the environment
are not used, no redirect leads where a caller could not, and what comes back is bounded, packed or not.
"""

import asyncio
import errno
import re
import socket
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from perdure import __version__
from perdure.domain.errors import Invalid, Unavailable
from perdure.lazy import lazy_module

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import ResolveResult
else:
    aiohttp = lazy_module("aiohttp")

MAX_URL_CHARS: Final = 2048
MAX_REDIRECTS: Final = 5

CALLBACKS: Final = "PERDURE_PRIVATE_CALLBACKS"
IMAGES: Final = "PERDURE_PRIVATE_IMAGES"
PAGES: Final = "PERDURE_PRIVATE_PAGES"
MCP: Final = "PERDURE_PRIVATE_MCP"
"""The settings by which an operator allows private addresses: to callbacks, images, web pages and MCP servers."""

_PLAIN: Final = re.compile(r"[!-\[\]-~]+")
"""What an address may be made of: visible ASCII, but no backslash, which some readers take for a slash."""
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_PORTS: Final = {"http": 80, "https": 443}
_AS_IT_IS: Final = {"Accept-Encoding": "identity"}
_GZIP: Final = 16 + zlib.MAX_WBITS
_MOVED: Final = (301, 302, 303, 307, 308)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


class PrivateAddressError(OSError):
    """A name leads to an address that may not be called. An OSError, since that is what resolvers fail with."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EACCES, message)
        self.message = message


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


class Found(NamedTuple):
    """What lay at an address. `url` is where it was in the end, `content_type` what its server calls it."""

    url: str
    content_type: str
    body: bytes


def read_target(url: str, *, allow_private: bool, setting: str = CALLBACKS) -> Target:
    """The parts of an http or https address. Names are not resolved yet.

    Raises Invalid for what is no such address, and for numbers that name a private one; `setting` would allow those.
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
        raise Invalid(_private(host, setting))
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

    Redirects are not followed. Raises Invalid for an address that may not be called, Unavailable where it does not
    answer.
    """
    target = read_target(url, allow_private=allow_private)
    async with (
        _in_time(target, asyncio.get_running_loop().time() + time_limit, time_limit),
        _asked("POST", target, allow_private=allow_private, setting=CALLBACKS, headers=headers, body=body) as answer,
    ):
        return answer.status


async def get(url: str, *, allow_private: bool, setting: str, time_limit: float, most: int) -> Found:
    """What lies at an address, of at most `most` bytes, unpacked. `time_limit` is in seconds.

    Redirects are followed, each to an address that may be called as well. Raises Invalid for one that may not and for
    what is too large, Unavailable where nothing can be had.
    """
    ends_at = asyncio.get_running_loop().time() + time_limit
    redirects = 0
    while True:
        target = read_target(url, allow_private=allow_private, setting=setting)
        async with (
            _in_time(target, ends_at, time_limit),
            _asked("GET", target, allow_private=allow_private, setting=setting, headers=_AS_IT_IS) as answer,
        ):
            moved = answer.headers.get("Location") if answer.status in _MOVED else None
            if moved is None:
                return Found(url, answer.headers.get("Content-Type", ""), await _body(target, answer, most))
        if redirects == MAX_REDIRECTS:
            raise Unavailable(
                f"{target.authority} redirects once more than the {MAX_REDIRECTS} times that are followed."
            )
        redirects, url = redirects + 1, urljoin(url, moved)


@asynccontextmanager
async def _in_time(target: Target, ends_at: float, time_limit: float) -> AsyncGenerator[None]:
    """Raises Unavailable for whatever goes wrong on the way, and where it takes too long."""
    try:
        async with asyncio.timeout_at(ends_at):
            yield
    except PrivateAddressError as error:
        raise Invalid(error.message) from error
    except TimeoutError as error:
        raise Unavailable(f"{target.authority} did not answer within {time_limit:g} seconds.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{target.authority} cannot be reached: {error}") from error


@asynccontextmanager
async def _asked(
    method: str,
    target: Target,
    *,
    allow_private: bool,
    setting: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> "AsyncGenerator[aiohttp.ClientResponse]":
    """The answer of the first address of a host that can be connected to."""
    addresses = await resolve(target.host, target.port, allow_private=allow_private, setting=setting)
    sent = {**headers, "Host": target.authority, "User-Agent": f"perdure/{__version__}"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session:
        for left, address in enumerate(addresses, 1 - len(addresses)):
            try:
                answer = await session.request(
                    method, _at(target, address), data=body, headers=sent, allow_redirects=False,
                    server_hostname=target.host,
                )  # fmt: skip
            except aiohttp.ClientConnectorError:
                if left == 0:
                    raise
                continue
            async with answer:
                yield answer
                return
    raise Unavailable(f"{target.host} has no address.")


async def resolve(host: str, port: int, *, allow_private: bool, setting: str = CALLBACKS) -> list[str]:
    """The addresses of a host, each once. Raises PrivateAddressError where any may not be called, OSError for none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    if not (allow_private or all(is_public(ip_address(address)) for address in addresses)):
        raise PrivateAddressError(_private(host, setting))
    return addresses


def session(*, allow_private: bool, setting: str) -> "aiohttp.ClientSession":
    """For many requests to addresses that callers chose. Each must go through `read_target` first: it is what sees
    numbers in the place of names.
    """
    resolver = None if allow_private else PublicResolver(setting)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver),  # pyright: ignore[reportArgumentType]
        cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None),
    )  # fmt: skip


class PublicResolver:
    """Resolves names for aiohttp, and none to an address that is not public: what was checked is connected to."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> "list[ResolveResult]":
        found = await resolve(host, port, allow_private=False, setting=self._setting)
        return [
            {
                "hostname": host, "host": address, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
            }
            for address in found
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is kept open."""


async def _body(target: Target, answer: "aiohttp.ClientResponse", most: int) -> bytes:
    if answer.status != 200:
        raise Unavailable(f"{target.authority} answered with status {answer.status}.")
    unpack = _unpacking(target, answer.headers.get("Content-Encoding", ""))
    pieces: list[bytes] = []
    left = -1 if (answer.content_length or 0) > most else most
    try:
        while left >= 0 and (data := await answer.content.readany()):
            pieces.append(unpack(data, left + 1))
            left -= len(pieces[-1])
    except zlib.error as error:
        raise Unavailable(f"What {target.authority} sends cannot be unpacked: {error}.") from error
    if left < 0:
        raise Invalid(f"What {target.authority} sends is larger than {most} bytes.")
    return b"".join(pieces)


def _unpacking(target: Target, encoding: str) -> Callable[[bytes, int], bytes]:
    """What makes of bytes as they arrive at most so many as were meant; some servers pack though they are asked not to.

    What is left out was too much anyway.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return lambda data, most: data
        case "gzip" | "x-gzip":
            return zlib.decompressobj(_GZIP).decompress
        case "deflate":
            return zlib.decompressobj().decompress
        case other:
            raise Unavailable(f"{target.authority} packs what it sends as {other[:40]!r}, which was not asked for.")


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


def _private(host: str, setting: str) -> str:
    return (
        f"{host} is not a public address, and this server calls no others. Its operator can allow them with "
        f"{setting}=1."
    )
