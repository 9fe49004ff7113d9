"""Connections to MCP servers: opened when needed, kept for the next call, and none waited for longer than its time.

The SDK wants a connection left by the task that opened it, so each has a task of its own, which others ask things of.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from perdure.domain.errors import ModelError, NotBuilt, Unavailable
from perdure.logs import Log
from perdure.providers.breaker import Breaker, Pause
from perdure.tools.mcp.reach import Reach

if TYPE_CHECKING:
    from perdure.tools.mcp.session import Session

EXTRA: Final = "perdure[mcp]"
MOST_LINKS: Final = 64
"""Connections at a time, to all servers."""
IDLE_SECONDS: Final = 60.0
"""How long a connection is kept that nobody uses."""
LIFE_SECONDS: Final = 600.0
"""How long a connection is given to new calls, so that what the server says of its tools is read again."""
CLOSE_SECONDS: Final = 5.0
FAILURES: Final = 3
"""Failures in a row after which a server is left alone for a while."""

_T = TypeVar("_T")
_log: Final = Log("perdure.mcp")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a server may take: to connect, to list its tools (connecting included), to answer a call."""

    connect: float = 30.0
    list: float = 30.0
    call: float = 60.0


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """A result as the server gave it, and how it describes the tool now: None where it does not list it any more."""

    content: list[dict[str, Any]]
    structured: Any
    is_error: bool
    definition: Any


class Links:
    """All connections of this process. `allow_private` lets them lead to addresses that are not of the open internet.

    Whatever it does raises Unavailable where a server fails, and NotBuilt where the SDK is not installed.
    """

    def __init__(self, limits: Limits, *, allow_private: bool) -> None:
        self._limits = limits
        self._allow_private = allow_private
        self._links: dict[Reach, _Link] = {}
        self._breakers: dict[str, tuple[int, Breaker]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._sessions: Any = None
        self._closed = False

    def state(self, server_id: str) -> Pause | None:
        """How a server is left alone; None while it is asked."""
        found = self._breakers.get(server_id)
        return found[1].state() if found else None

    def forget(self, server_id: str) -> None:
        """A server is another one now, or gone."""
        self._breakers.pop(server_id, None)
        for link in [link for link in self._links.values() if link.reach.server_id == server_id]:
            link.spent = True
            if not link.users:
                self._end(link)

    async def definitions(self, reach: Reach) -> list[Any]:
        """The tools of a server, as it describes them now, over a connection of its own."""

        async def listed(link: _Link) -> list[Any]:
            return await (await link.session()).definitions()

        return await self._tried(reach, listed, self._limits.list, "list its tools", fresh=True)

    async def call(self, reach: Reach, name: str, arguments: Mapping[str, Any]) -> Called:
        """Run a tool. The call is made once, unless the server surely never heard of it."""

        async def called(link: _Link) -> Called:
            session = await link.session()
            definitions = await link.definitions(self._limits.list)
            result = await session.call(name, arguments)
            return Called(
                content=result.get("content") or [], structured=result.get("structuredContent"),
                is_error=bool(result.get("isError")), definition=definitions.get(name),
            )  # fmt: skip

        return await self._tried(reach, called, self._limits.call, f"answer the call of {name}")

    async def close(self) -> None:
        """Hang up on all servers."""
        self._closed = True
        for link in tuple(self._links.values()):
            self._end(link)
        if self._ending:
            await asyncio.wait(tuple(self._ending), timeout=CLOSE_SECONDS)

    async def _tried(
        self, reach: Reach, work: "Callable[[_Link], Awaitable[_T]]", seconds: float, what: str, *, fresh: bool = False
    ) -> _T:
        """What `work` makes of a connection, while the server's breaker counts what fails."""
        sessions = await self._loaded()
        breaker = self._breaker(reach)
        try:
            trying = breaker.enter()
        except ModelError as error:
            raise Unavailable(error.detail) from error
        try:
            while True:
                async with self._link(reach, fresh=fresh) as link:
                    used_before = link.answered
                    try:
                        async with asyncio.timeout(seconds):
                            value = await work(link)
                    except TimeoutError as error:
                        link.spent = True
                        late = str(error) or f"did not {what} within {seconds:g} seconds"
                        raise self._failed(breaker, reach, late, trying) from None
                    except sessions.SessionError as error:
                        link.spent = link.spent or not error.works
                        if error.unheard and used_before:
                            continue
                        if error.works:
                            breaker.answered()
                            raise Unavailable(f"The MCP server {reach.name!r} did not {what}: {error}.") from error
                        raise self._failed(breaker, reach, f"did not {what}: {error}", trying) from error
                    link.answered = True
                    breaker.answered()
                    return value
        finally:
            if trying:
                breaker.tried()

    async def _loaded(self) -> Any:
        """The module that speaks the protocol. Raises NotBuilt where the SDK is not installed."""
        if self._sessions is None:
            try:
                self._sessions = await asyncio.to_thread(importlib.import_module, "perdure.tools.mcp.session")
            except ModuleNotFoundError as error:
                raise NotBuilt(
                    "MCP servers are spoken to with the official SDK, which is not installed here. The operator of "
                    f"this server can add it: pip install '{EXTRA}'."
                ) from error
        return self._sessions

    def _failed(self, breaker: Breaker, reach: Reach, what: str, trying: bool) -> Unavailable:
        breaker.failed(ModelError("llm_error", what, transient=True), trying=trying)
        _log.warning("mcp_server_failed", server=reach.name, server_id=reach.server_id, reason=what)
        return Unavailable(f"The MCP server {reach.name!r} {what}.")

    def _breaker(self, reach: Reach) -> Breaker:
        known = self._breakers.get(reach.server_id)
        if known is None or known[0] != reach.version:
            known = self._breakers[reach.server_id] = (
                reach.version, Breaker(f"The MCP server {reach.name!r}", FAILURES)
            )  # fmt: skip
        return known[1]

    @asynccontextmanager
    async def _link(self, reach: Reach, *, fresh: bool) -> "AsyncGenerator[_Link]":
        """A connection, in use by the caller until he leaves. Raises Unavailable where there are too many."""
        now = asyncio.get_running_loop().time()
        link = self._links.get(reach)
        if link is not None and (fresh or not link.is_of_use(now)):
            self._links.pop(reach)
            link.spent = True
            if not link.users:
                self._end(link)
            link = None
        if link is None:
            self._make_room()
            opened = self._sessions.open_session(reach, allow_private=self._allow_private)
            link = self._links[reach] = _Link(reach, opened, self._limits.connect, now)
        link.users += 1
        try:
            yield link
        finally:
            link.users -= 1
            link.used_at = asyncio.get_running_loop().time()
            if not link.users:
                if link.spent or self._closed:
                    self._end(link)
                else:
                    asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_if_idle, link)

    def _make_room(self) -> None:
        if self._closed:
            raise Unavailable("The server is shutting down and asks no more MCP servers.")
        if len(self._links) < MOST_LINKS:
            return
        idle = [link for link in self._links.values() if not link.users]
        if not idle:
            raise Unavailable(
                f"{MOST_LINKS} MCP servers are being asked, which is as many as may at a time. Try later."
            )
        self._end(min(idle, key=lambda link: link.used_at))

    def _end_if_idle(self, link: "_Link") -> None:
        if not link.users and asyncio.get_running_loop().time() - link.used_at >= IDLE_SECONDS - 0.001:
            self._end(link)

    def _end(self, link: "_Link") -> None:
        if self._links.get(link.reach) is link:
            self._links.pop(link.reach)
        if not link.task.done():
            self._ending.add(link.task)
            link.task.add_done_callback(self._ending.discard)
            link.task.cancel()


class _Link:
    """One connection in its task. `answered` says that it has been of use, `spent` that it will not be again."""

    def __init__(
        self, reach: Reach, opened: "AbstractAsyncContextManager[Session]", connect_seconds: float, now: float
    ) -> None:
        self.reach = reach
        self.users = 0
        self.used_at = now
        self.spent = False
        self.answered = False
        self._made_at = now
        self._connect_seconds = connect_seconds
        self._ready: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._definitions: dict[str, Any] | None = None
        self._listing = asyncio.Lock()
        self.task = asyncio.create_task(self._hold(opened), name=f"MCP server {reach.name}")
        self.task.add_done_callback(self._over)

    def is_of_use(self, now: float) -> bool:
        """Whether another call can be made over it."""
        if self.spent or self.task.done() or now - self._made_at > LIFE_SECONDS:
            return False
        return not self._ready.done() or self._ready.result().is_open

    async def session(self) -> "Session":
        """The open connection. Raises TimeoutError, and SessionError where it cannot be opened."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            raise TimeoutError(f"could not be connected to within {self._connect_seconds:g} seconds") from None

    async def definitions(self, seconds: float) -> dict[str, Any]:
        """What the server says of its tools, by their names, read once."""
        async with self._listing:
            if self._definitions is None:
                async with asyncio.timeout(seconds):
                    listed = await (await self.session()).definitions()
                named = (each for each in listed if isinstance(each, dict) and isinstance(each.get("name"), str))
                self._definitions = {each["name"]: each for each in named}
        return self._definitions

    async def _hold(self, opened: "AbstractAsyncContextManager[Session]") -> None:
        async with opened as session:
            self._ready.set_result(session)
            await asyncio.get_running_loop().create_future()

    def _over(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if not self._ready.done():
            self._ready.set_exception(error or Unavailable("The connection was given up before it was made."))
            self._ready.exception()
