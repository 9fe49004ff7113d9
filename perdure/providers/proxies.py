"""The proxies that the environment names."""

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from perdure.lazy import lazy_module

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = lazy_module("aiohttp")


def proxy_for(url: str) -> tuple[str | None, dict[str, str]]:
    """The proxy the environment names for `url`, with the headers that admit us. Loopback is never proxied."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if _is_loopback(host) else getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(host):
        return None, {}
    where = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if where.username is None:
        return where.geturl(), {}
    credentials = aiohttp.encode_basic_auth(unquote(where.username), unquote(where.password or ""))
    bare = where._replace(netloc=where.netloc.rpartition("@")[2])
    return bare.geturl(), {"Proxy-Authorization": credentials}


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
