"""The one HTTP client for everything asked of providers: pooled, bounded in time and size, with errors as ModelError.

It knows requests, JSON and streams, and nothing of any dialect.
"""

import asyncio
import contextlib
import math
import os
import re
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from perdure import __version__
from perdure.domain.errors import ModelError
from perdure.lazy import lazy_module
from perdure.providers.event_stream import EVENT_STREAM, EventParser, Framing
from perdure.providers.outbound import PublicResolver
from perdure.providers.proxies import proxy_for
from perdure.providers.refusals import decoded, refusal, reported, tidy

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.tracing import TraceConnectionReuseconnParams
else:
    aiohttp = lazy_module("aiohttp")

MAX_JSON_BYTES: Final = 64 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
KEEP_ALIVE_SECONDS: Final = 75.0
DNS_SECONDS: Final = 300
LINGER_SECONDS: Final = 2.0
"""How long a stream may take to close after its last payload before its connection is given up."""
ERROR_BODY_SECONDS: Final = 10.0

_USER_AGENT: Final = f"perdure/{__version__}"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds a provider may take to accept a connection, to its first byte, between two bytes, and for an answer."""

    connect: float = 10.0
    first_byte: float = 300.0
    gap: float = 120.0
    whole: float = 3600.0


class Signer(Protocol):
    """Proves who asks, where no fixed header can: with a signature, or with a token that does not last."""

    async def __call__(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """The headers for one request. Raises ModelError where they cannot be had."""
        ...


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider is reached: its API's base URL without a final slash, and the headers it wants.

    `key` is the secret in those headers; it is struck from every error. `sign` adds headers to each request.
    """

    name: str
    url: str
    headers: Mapping[str, str] = {}
    key: str = ""
    sign: Signer | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, {self.url!r})"

    def failed(self, what: str, error_type: str = "llm_error", *, transient: bool = False) -> ModelError:
        """An error of ours, not of the provider's making: `what` completes the sentence `<name> at <url> …`.

        What took too long is always `transient`.
        """
        detail = tidy(f"{self.name} at {self.url} {what}", self.key)
        return ModelError(error_type, detail, transient=transient or error_type == "llm_timeout")


class HttpClient:
    """One pool of connections for the process, opened at the first request inside the running loop.

    Limits on connecting and on response headers are timers of the request. Silence in open streams is found by one task
    that looks at all of them, so that a chunk costs no timer.

    With a `public_resolver` names lead to public addresses only, and no proxy is used: for base URLs that callers
    chose. Numbers in their place must have been checked before (`outbound.read_target`).
    """

    def __init__(self, limits: Limits | None = None, public_resolver: PublicResolver | None = None) -> None:
        self._limits = limits or Limits()
        self._public_resolver = public_resolver
        self._session: aiohttp.ClientSession | None = None
        self._streams: set[_Stream] = set()
        self._watchdog: asyncio.Task[None] | None = None
        self._closed = False
        self.unstreamed: set[str] = set()
        """Names of providers that were found not to stream; whoever finds it says so, once."""

    async def get_json(self, endpoint: Endpoint, url: str) -> Any:
        """The decoded JSON at `url`. Raises ModelError for everything else that may happen."""
        return await self._json(endpoint, "GET", url, None)

    async def post_json(self, endpoint: Endpoint, url: str, body: Any) -> Any:
        """Sends `body` as JSON and returns the decoded answer. Raises ModelError like `get_json`."""
        return await self._json(endpoint, "POST", url, msgspec.json.encode(body))

    async def post_form(self, endpoint: Endpoint, url: str, fields: Mapping[str, str]) -> Any:
        """Sends `fields` as a form would and returns the decoded JSON. Raises ModelError like `get_json`."""
        headers = {**endpoint.headers, "Content-Type": "application/x-www-form-urlencoded"}
        endpoint = msgspec.structs.replace(endpoint, headers=headers)
        return await self._json(endpoint, "POST", url, urlencode(fields).encode())

    def sse(
        self, endpoint: Endpoint, url: str, body: bytes, last: Callable[[bytes], bool] | None = None
    ) -> AsyncGenerator[list[bytes]]:
        """`stream` for an answer of server-sent events."""
        return self.stream(endpoint, url, body, EventParser(), last)

    async def stream(
        self, endpoint: Endpoint, url: str, body: bytes, framing: Framing, last: Callable[[bytes], bool] | None = None
    ) -> AsyncGenerator[list[bytes]]:
        """Sends the JSON `body` and yields, for each read from the network, the payloads it completed.

        Ends with the stream, or after a payload that is the `last`, so that its connection can serve again. Closing the
        generator earlier hangs up on the provider. Raises ModelError for a refusal, for an answer that is no stream of
        that framing, for silence over the limits and for a connection lost; a stream that merely ends is no error here.
        """
        clock = asyncio.get_running_loop().time
        begun = clock()
        due, end = begun + self._limits.first_byte, begun + self._limits.whole
        response = await self._answer(endpoint, "POST", url, body, due)
        stream = self._watch(_Stream(response, due))
        try:
            data = await _opening(endpoint, response, framing)
            while data:
                stream.deadline = math.inf
                payloads = framing.feed(data)
                if payloads:
                    if last is not None and last(payloads[-1]):
                        stream.linger()
                        yield payloads
                        return
                    yield payloads
                now = clock()
                if now >= end:
                    raise _LateError
                stream.deadline = min(now + self._limits.gap, end)
                data = await response.content.readany()
            if payloads := framing.finish():
                yield payloads
        except _LateError:
            late = f"took longer than {self._limits.whole:g} seconds" if clock() >= end else "fell silent"
            raise endpoint.failed(f"{late} before its answer was complete", "llm_timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            raise endpoint.failed("lost the connection before its answer was complete", transient=True) from error
        finally:
            if not stream.lingering:
                self._streams.discard(stream)
                response.close()

    async def close(self) -> None:
        """Hangs up on everyone. Streams still open raise ModelError."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.response.close()
        self._streams.clear()
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.wait((self._watchdog,))
        if self._session is not None:
            await self._session.close()

    async def _json(self, endpoint: Endpoint, method: str, url: str, body: bytes | None) -> Any:
        due = asyncio.get_running_loop().time() + self._limits.first_byte
        response = await self._answer(endpoint, method, url, body, due)
        try:
            async with asyncio.timeout_at(due):
                raw = await _read(response, MAX_JSON_BYTES)
        except TimeoutError:
            raise endpoint.failed("did not complete its answer in time", "llm_timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            raise endpoint.failed("lost the connection before its answer was complete", transient=True) from error
        finally:
            response.close()
        if len(raw) > MAX_JSON_BYTES:
            raise endpoint.failed(f"answered with more than {MAX_JSON_BYTES} bytes")
        try:
            return msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            raise endpoint.failed(f"answered with something other than JSON: {_beginning(raw)}") from None

    async def _answer(
        self, endpoint: Endpoint, method: str, url: str, body: bytes | None, due: float
    ) -> "aiohttp.ClientResponse":
        """The response to a request, once its headers say that it was accepted. Raises ModelError where they do not."""
        try:
            async with asyncio.timeout_at(due):
                response = await self._send(endpoint, method, url, body)
        except aiohttp.ConnectionTimeoutError:
            raise endpoint.failed("did not accept a connection in time", "llm_timeout") from None
        except TimeoutError:
            raise endpoint.failed("did not begin to answer in time", "llm_timeout") from None
        except aiohttp.ClientResponseError as error:
            said = " ".join(error.message.split())
            raise endpoint.failed(f"answered with something other than HTTP: {said}", transient=True) from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # The last for a host that is no name.
            raise endpoint.failed(f"cannot be reached: {_why(error)}", transient=_passes(error)) from error
        if 200 <= response.status < 300:
            return response
        try:
            raise await _refusal(endpoint, response)
        finally:
            response.close()

    async def _send(self, endpoint: Endpoint, method: str, url: str, body: bytes | None) -> "aiohttp.ClientResponse":
        """Asks, and asks once more where a kept connection turns out to have died before it answered a byte."""
        session = self._opened()
        proxy, credentials = (None, {}) if self._public_resolver else proxy_for(url)
        tunnelled = url.startswith("https:")
        headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers.update(endpoint.headers)
        if not tunnelled:
            headers.update(credentials)
        attempt = _Attempt()
        while True:
            attempt.reused = False
            if endpoint.sign is not None:
                headers.update(await endpoint.sign(method, url, body or b""))
            try:
                return await session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    proxy=proxy,
                    proxy_headers=credentials if tunnelled else None,
                    trace_request_ctx=attempt,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # aiohttp puts what had come of an answer in the place of the message.
                begun = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
                if begun or attempt.retried or not attempt.reused:
                    raise
                attempt.retried = True

    def _opened(self) -> "aiohttp.ClientSession":
        if self._closed:
            raise ModelError("llm_error", "The server is shutting down and asks no more models.")
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ttl_dns_cache=DNS_SECONDS,
                    resolver=self._public_resolver,  # pyright: ignore[reportArgumentType]
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._limits.connect),
                max_field_size=MAX_ERROR_BYTES,
                trace_configs=[trace],
            )  # fmt: skip
        return self._session

    def _watch(self, stream: "_Stream") -> "_Stream":
        self._streams.add(stream)
        stream.response.content.on_eof(lambda: self._streams.discard(stream))
        if self._watchdog is None or self._watchdog.done():
            self._watchdog = asyncio.create_task(self._end_silence(), name="provider stream watchdog")
        return stream

    async def _end_silence(self) -> None:
        clock = asyncio.get_running_loop().time
        limits = self._limits
        pause = max(0.01, min(1.0, limits.first_byte / 4, limits.gap / 4, limits.whole / 4))
        while self._streams:
            await asyncio.sleep(pause)
            now = clock()
            for stream in tuple(self._streams):
                if stream.deadline <= now:
                    stream.expire()
                    self._streams.discard(stream)
                elif stream.is_orphaned():
                    stream.response.content.set_exception(aiohttp.ClientConnectionError())


class _LateError(Exception):
    """Set on a stream whose time is up."""


class _Stream:
    """An open stream as the watchdog sees it. `deadline` is infinite while it is the reader who takes his time."""

    __slots__ = ("deadline", "lingering", "response")

    def __init__(self, response: "aiohttp.ClientResponse", deadline: float) -> None:
        self.response = response
        self.deadline = deadline
        self.lingering = False

    def linger(self) -> None:
        """Nobody reads on: the response goes back to the pool by itself at its end, or is closed if that takes long."""
        self.lingering = True
        self.deadline = asyncio.get_running_loop().time() + LINGER_SECONDS

    def is_orphaned(self) -> bool:
        """Whether its reader waits for a connection that is gone: aiohttp does not tell him of broken chunk framing."""
        connection = self.response.connection
        transport = connection.transport if connection else None
        return self.deadline < math.inf and not self.lingering and (transport is None or transport.is_closing())

    def expire(self) -> None:
        if self.lingering:
            self.response.close()
        else:
            self.response.content.set_exception(_LateError())


class _Attempt:
    __slots__ = ("retried", "reused")

    def __init__(self) -> None:
        self.retried = False
        self.reused = False


async def _note_reuse(session: object, context: Any, params: "TraceConnectionReuseconnParams") -> None:
    context.trace_request_ctx.reused = True


def _why(error: Exception) -> str:
    """What kept a connection from coming about, without the address, which is said already."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionError) and cause.errno:
        return os.strerror(cause.errno)
    return cause.strerror if isinstance(cause, socket.gaierror) and cause.strerror else str(cause)


def _passes(error: Exception) -> bool:
    """Whether an address that cannot be reached may be a little later: not one with a wrong certificate or name."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return error.os_error.errno == socket.EAI_AGAIN
    return not isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL | UnicodeError)


async def _refusal(endpoint: Endpoint, response: "aiohttp.ClientResponse") -> ModelError:
    if 300 <= response.status < 400:
        target = re.split(r"[?#]", response.headers.get("Location", "nowhere"))[0]
        return endpoint.failed(f"redirects to {target}, which is not followed: set its base URL to where it really is")
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            body = await _read(response, MAX_ERROR_BYTES)
    except (TimeoutError, aiohttp.ClientError, OSError):
        body = b""
    return refusal(response.status, response.headers, body, endpoint.key)


async def _read(response: "aiohttp.ClientResponse", most: int) -> bytes:
    """The body, or somewhat more than `most` bytes of it where it is longer."""
    pieces: list[bytes] = []
    size = 0
    while size <= most and (data := await response.content.readany()):
        pieces.append(data)
        size += len(data)
    return b"".join(pieces)


async def _opening(endpoint: Endpoint, response: "aiohttp.ClientResponse", framing: Framing) -> bytes:
    """The first bytes of an answer, enough to tell that it is such a stream. Raises ModelError if it is not."""
    head = b""
    while data := await response.content.readany():
        head = (head + data).lstrip()  # Blank lines may come for minutes while a model is being loaded.
        if framing.begins(head, response.content_type):
            break
        if head:
            raise await _not_a_stream(endpoint, response, head)
    return head


async def _not_a_stream(endpoint: Endpoint, response: "aiohttp.ClientResponse", head: bytes) -> ModelError:
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            head += await _read(response, MAX_ERROR_BYTES)
    kind = response.content_type
    what = "an event stream that is none" if kind == EVENT_STREAM else f"{kind} instead of an event stream"
    return reported(decoded(head), endpoint.key) or endpoint.failed(
        f"answered with {what}; is this the address of its API? It says: {_beginning(head)}"
    )


def _beginning(body: bytes) -> str:
    return " ".join(body[:2000].decode("utf-8", "replace").split())[:200]
