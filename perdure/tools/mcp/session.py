"""One connection to an MCP server, spoken by the official SDK over requests that go the guarded way out.

The only module that imports the SDK, which takes a second: it is loaded when a server is first asked. What goes wrong
is a `SessionError`, with words for whoever can mend it.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import aiohttp
import anyio
import httpx2
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    PaginatedRequestParams,
)
from pydantic import ValidationError
from yarl import URL

from perdure import __version__
from perdure.domain.errors import Invalid
from perdure.providers import outbound
from perdure.tools.mcp.reach import Reach

MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of one answer: a result, or a page of a server's tools."""
MOST_LISTED: Final = 20_000
"""Tools and pages of them that are read of one server, good or bad."""
LEAVE_SECONDS: Final = 2.0
"""Seconds a server may take to hear that nobody needs its session any more."""
CONNECT_SECONDS: Final = 10.0

_NOT_SENT: Final = frozenset({"accept-encoding", "connection", "content-length", "host", "user-agent"})
"""Headers that belong to the way a request is sent."""
_GONE: Final = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)

# It logs with their traces what is told here in an error.
logging.getLogger("mcp").setLevel(logging.CRITICAL)
logging.getLogger("client").setLevel(logging.CRITICAL)


class SessionError(Exception):
    """Why a server gave no answer. `works` says that this is no sign of its not working, such as a refusal.

    `unheard` says that it cannot have acted on what it was asked, so that asking again is safe.
    """

    def __init__(self, message: str, *, works: bool = False, unheard: bool = False) -> None:
        super().__init__(message)
        self.works = works
        self.unheard = unheard


class Session:
    """An open connection. `changed` is set when the server says that its tools are others now."""

    def __init__(self, client: ClientSession, dispatcher: "_Dispatcher", way: "_Way | None") -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._way = way

    @property
    def is_open(self) -> bool:
        return not self._dispatcher.ended

    async def definitions(self) -> list[Any]:
        """All tools that the server lists, as it describes them, bad ones too. Raises SessionError."""
        self._dispatcher.listed = []
        cursor: str | None = None
        for _ in range(MOST_LISTED):
            with _told(self._way):
                page = await self._client.list_tools(
                    params=None if cursor is None else PaginatedRequestParams(cursor=cursor)
                )
            cursor = page.next_cursor
            if not cursor or len(self._dispatcher.listed) >= MOST_LISTED:
                break
        return self._dispatcher.listed

    async def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a tool and return its result: `content`, `structuredContent`, `isError`. Raises SessionError.

        The SDK's own way to call a tool checks the result against a schema of the server's, which may take for ever.
        """
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=dict(arguments)))
        with _told(self._way):
            result = await self._client.send_request(request, CallToolResult)
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)


@asynccontextmanager
async def open_session(reach: Reach, *, allow_private: bool) -> AsyncGenerator[Session]:
    """Connect to a server. Must be left by the task that entered it. Raises SessionError."""
    way = None if reach.server_type == "stdio" else _Way(reach, allow_private=allow_private)
    with _told(way):
        async with _streams(reach, way) as (reading, writing):
            dispatcher = _Dispatcher(reading, writing)
            me = Implementation(name="perdure", version=__version__)
            async with ClientSession(dispatcher=dispatcher, client_info=me) as client:
                try:
                    await client.discover()
                except (MCPError, ValidationError, RuntimeError):
                    # Whatever it answers, a server of before 2026 is greeted in the older way.
                    await client.initialize()
                yield Session(client, dispatcher, way)


def _streams(reach: Reach, way: "_Way | None") -> AbstractAsyncContextManager[tuple[Any, Any]]:
    if way is None:
        return stdio_client(
            StdioServerParameters(
                command=reach.command, args=list(reach.arguments), env=dict(reach.variables),
                encoding_error_handler="replace",
            )
        )  # fmt: skip

    def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=way, headers=dict(reach.headers), timeout=None, trust_env=False)

    if reach.server_type == "sse":
        return sse_client(reach.url, httpx_client_factory=client)
    return _streamable(reach.url, client())


@asynccontextmanager
async def _streamable(url: str, client: httpx2.AsyncClient) -> AsyncGenerator[tuple[Any, Any]]:
    async with client, streamable_http_client(url, http_client=client, max_sse_event_size=MAX_ANSWER) as streams:
        yield streams


class _told:  # noqa: N801
    """Makes a SessionError of what the SDK raises, with what the way out knows of the reason."""

    def __init__(self, way: "_Way | None") -> None:
        self._way = way

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        found, way = _innermost(error), self._way
        fault = way.fault if way else ""
        match found:
            case MCPError() if found.code == CONNECTION_CLOSED or fault:
                said = fault or "it closed the connection before it answered"
                # What the SDK makes of the status 404 within a session: the server has forgotten it.
                forgotten = found.code == INVALID_REQUEST and found.message == "Session terminated"
                raise SessionError(said, works=way is not None and way.works, unheard=forgotten) from error
            case MCPError():
                raise SessionError(f"it refused: {found.message[:500]}", works=True) from error
            case httpx2.HTTPError() | httpx2.StreamError() | httpx2.SSEError() | OSError():
                said = fault or str(found) or type(found).__name__
                raise SessionError(said, works=way is not None and way.works) from error
            case ValidationError() | ValueError() | RuntimeError() | KeyError() | TypeError():
                raise SessionError(f"its answer cannot be understood: {str(found)[:300]}", works=True) from error
            case _ if isinstance(found, _GONE):
                raise SessionError(fault or "it closed the connection") from error
            case _:
                return


def _innermost(error: BaseException | None) -> BaseException | None:
    """What a group of errors began with."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error


class _Dispatcher(JSONRPCDispatcher[Any]):
    """Keeps what a server lists, and shows the SDK only what it can read: one bad tool must not hide the others."""

    def __init__(self, reading: Any, writing: Any) -> None:
        super().__init__(reading, writing)
        self.listed: list[Any] = []
        self.ended = False

    async def run(self, *arguments: Any, **options: Any) -> None:
        try:
            await super().run(*arguments, **options)
        finally:
            self.ended = True

    async def send_raw_request(self, method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        answer = await super().send_raw_request(method, *arguments, **options)
        if method == "tools/list" and isinstance(tools := answer.get("tools"), list):
            self.listed += tools[: MOST_LISTED - len(self.listed)]
            answer = {**answer, "tools": [_bare(tool) for tool in tools if _is_readable(tool)]}
        return answer


def _is_readable(tool: Any) -> bool:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return False
    schema = tool.get("inputSchema")
    return isinstance(schema, dict) and schema.get("type") == "object"


def _bare(tool: dict[str, Any]) -> dict[str, Any]:
    """What the SDK needs of a tool: it looks for headers that its arguments are to be sent in."""
    return {"name": tool["name"], "inputSchema": tool["inputSchema"]}


class _Way(httpx2.AsyncBaseTransport):
    """The SDK's requests, sent the guarded way out. `fault` is what is wrong with the last answer.

    `works` says that the fault is of one answer alone, or ours.
    """

    def __init__(self, reach: Reach, *, allow_private: bool) -> None:
        # A server of the newer kind may refuse to be listened to, and answers all the same.
        self._needed = ("POST",) if reach.server_type == "streamable_http" else ("GET", "POST")
        self._allow_private = allow_private
        self._http = outbound.session(allow_private=allow_private, setting=outbound.MCP)
        self.fault = ""
        self.works = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = str(request.url)
        headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() not in _NOT_SENT]
        headers += [("Accept-Encoding", "identity"), ("User-Agent", f"perdure/{__version__}")]
        limit = LEAVE_SECONDS if request.method == "DELETE" else None
        try:
            target = outbound.read_target(url, allow_private=self._allow_private, setting=outbound.MCP)
            answer = await self._http.request(
                request.method, URL(url, encoded=True), data=await request.aread(), headers=headers,
                allow_redirects=False, timeout=aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_SECONDS),
            )  # fmt: skip
        except Invalid as error:
            raise self._failed(error.message, refused=True) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            private = error.__cause__
            if isinstance(private, outbound.PrivateAddressError):
                raise self._failed(private.message, refused=True) from error
            raise self._failed(f"it cannot be reached: {error}") from error
        self.fault, self.works = _refusal(target, answer), False
        if answer.status >= 400 and request.method not in self._needed:
            self.fault = ""
        return httpx2.Response(
            answer.status, headers=list(answer.headers.items()), stream=_Body(self, answer), request=request
        )

    def _failed(self, why: str, *, refused: bool = False) -> httpx2.ConnectError:
        """What is raised where nothing came back; `refused` by ourselves, the server has not failed."""
        self.fault, self.works = why, refused
        return httpx2.ConnectError(why)

    async def aclose(self) -> None:
        await self._http.close()


def _refusal(target: outbound.Target, answer: aiohttp.ClientResponse) -> str:
    """What is wrong with an answer by its head; empty where nothing is."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return "it packs its answers, which was not asked for"
    if answer.status in (401, 403):
        return (
            f"it wants to know who asks (status {answer.status}). Give its auth_token, or custom_headers; servers that "
            "want OAuth cannot be used yet"
        )
    if 300 <= answer.status < 400:
        return f"it redirects to {answer.headers.get('Location', 'nowhere')[:200]}, which is not followed"
    if answer.status >= 400:
        return f"{target.authority} answered with status {answer.status}"
    return ""


class _Body(httpx2.AsyncByteStream):
    """An answer as it arrives, bounded unless it is a stream of events, which are bounded one by one."""

    def __init__(self, way: _Way, answer: aiohttp.ClientResponse) -> None:
        self._way = way
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._answer.headers.get("Content-Encoding", "identity") != "identity":
            raise httpx2.StreamError(self._way.fault)
        left = MAX_ANSWER
        events = self._answer.content_type == "text/event-stream"
        try:
            while data := await self._answer.content.readany():
                left -= 0 if events else len(data)
                if left < 0:
                    self._way.fault, self._way.works = f"its answer is larger than {MAX_ANSWER} bytes", True
                    raise httpx2.StreamError(self._way.fault)
                yield data
        except (aiohttp.ClientError, OSError) as error:
            self._way.fault = "the connection was lost before it answered"
            raise httpx2.StreamError(self._way.fault) from error

    async def aclose(self) -> None:
        self._answer.close()
