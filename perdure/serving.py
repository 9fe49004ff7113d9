"""A server on the network: the port, the signals, and what the process is given to serve well."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from tempfile import TemporaryDirectory
from threading import Thread
from typing import cast

import msgspec
import uvicorn
import uvloop
from starlette.types import ASGIApp

from perdure.app import running
from perdure.config import Settings
from perdure.domain.errors import Unavailable
from perdure.lazy import warm_up
from perdure.logs import Log
from perdure.providers.catalog import Catalog
from perdure.runs.runner import Runner
from perdure.telemetry import metrics, tracing

WARM = ("aiohttp", "structlog", "pydantic.v1", metrics.INSTRUMENTS)
"""Loaded after start: the first model call, log line, route and ended run need them."""
BACKLOG = 2048
"""Connections the kernel holds while the server is busy."""
CLOSE_SECONDS = 5
"""How long answers may take to reach their readers once all runs have ended."""
TRY_SANDBOX_SECONDS = 2.0
"""After the start; before that it is tried when it is first needed."""
NOTE_SECONDS = 1.0
"""Between two moments in which a worker notes how things stand, for whichever is asked for metrics."""
BY_PARENT = signal.SIGUSR1
"""What a parent sends its workers when it is told to stop: some systems tell them as well, and that counts once."""
MANY_FILES = 1 << 20
KEEPALIVE_SECONDS = 60
"""Silence on a connection after which the kernel asks whether the other side still lives."""


log = Log(__name__)


class ServerInfo(msgspec.Struct, frozen=True):
    """What a started server tells whoever started it. `port` is the one it got where any free one was asked for."""

    url: str
    port: int
    data: str
    catalog: Catalog


def serve(
    settings: Settings,
    *,
    ready: Callable[[ServerInfo], None] | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called once requests are answered.

    A `listener` is one that `listen` has made, perhaps in another process; without one the port is taken here. Raises
    Unavailable for a port in use and for data that cannot be used, Invalid for a setting that cannot be.
    """
    uvloop.run(_serve(settings, ready, listener or listen(settings)))


async def _serve(settings: Settings, ready: Callable[[ServerInfo], None] | None, listener: socket.socket) -> None:
    _allow_many_files()
    finish_tracing = tracing.set_up(settings.environment, content=settings.trace_content)
    try:
        async with _door() as door, running(settings, door) as (server, application):
            info = ServerInfo(url_of(listener), listener.getsockname()[1], server.db.location, server.catalog)

            def started() -> None:
                # Trying what keeps tools apart costs a moment, which the first requests need more.
                asyncio.get_running_loop().call_later(TRY_SANDBOX_SECONDS, server.sandbox.begin_choosing)
                if settings.workers > 1:
                    asyncio.get_running_loop().call_later(NOTE_SECONDS, _note_now_and_then, server.runner)
                if ready:
                    ready(info)

            http = _Http(application, server.runner, door, started)
            # What is alive now stays alive: the collector need not walk it again while tokens flow.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 50)
            # The event loop asks for the interpreter's lock back after every system call; the database thread must not
            # keep it for the usual 5 ms.
            sys.setswitchinterval(0.0005)
            await http.serve(sockets=[listener])
    finally:
        listener.close()
        await asyncio.to_thread(finish_tracing)


def _note_now_and_then(runner: Runner) -> None:
    metrics.note(runner.counts())
    asyncio.get_running_loop().call_later(NOTE_SECONDS, _note_now_and_then, runner)


@asynccontextmanager
async def _door() -> AsyncGenerator[socket.socket | None]:
    """A socket of this process alone, at which its tools find it. None where the system has none with names."""
    if not hasattr(socket, "AF_UNIX"):
        yield None
        return
    with TemporaryDirectory(prefix="perdure-") as folder, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{folder}/door")
        yield door


def url_of(listener: socket.socket) -> str:
    """The address at which it takes connections."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(settings: Settings) -> socket.socket:
    """Take the port before anything else, so that a second server fails before it touches the data.

    Raises Unavailable where that cannot be.
    """
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"Cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another with --host and --port, or stop what uses it."
        ) from error
    listener.setblocking(False)
    _drop_dead_readers(listener, settings.stalled_seconds)
    return listener


def _allow_many_files() -> None:
    """Take as many connections as the system lets this process have; shells start it with few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _drop_dead_readers(listener: socket.socket, seconds: float) -> None:
    """Have the kernel hang up on whoever takes nothing for so long, or is not there any more.

    What a connection that is accepted here inherits; nothing of it costs the event loop anything.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_USER_TIMEOUT", round(seconds * 1000)), ("TCP_KEEPIDLE", KEEPALIVE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_SECONDS),
    ):  # fmt: skip
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class _Http(uvicorn.Server):
    """uvicorn, told when it is ready, and listening on while runs drain: whoever asks meanwhile gets an answer."""

    def __init__(
        self, application: ASGIApp, runner: Runner, door: socket.socket | None, ready: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application, loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False,
                # Trusting X-Forwarded-* of just anyone would let callers choose their own address.
                proxy_headers=False, server_header=False, timeout_keep_alive=75, backlog=BACKLOG,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )  # fmt: skip
        self._runner = runner
        self._door = door
        self._ready = ready
        self._stopping: asyncio.Task[None] | None = None
        self._told = {True: 0, False: 0}
        """How often it was told to stop: by its parent, and by others."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._door is not None:
            self.servers.append(await asyncio.get_running_loop().create_unix_server(self._protocol, sock=self._door))
        self._ready()
        Thread(target=warm_up, args=(WARM,), name="warm-up", daemon=True).start()

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop on SIGINT and SIGTERM without raising them again: what is open is still to be closed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, False)
        loop.add_signal_handler(BY_PARENT, self._stop, True)
        yield

    def _stop(self, by_parent: bool) -> None:
        """The first signal lets runs finish, a second one interrupts them, a third waits for nobody."""
        self._told[by_parent] += 1
        if self._told[by_parent] <= self._told[not by_parent]:
            return
        self._runner.stop()
        if self._stopping is None:
            log.info("stopping", **self._runner.counts())
            self._stopping = asyncio.create_task(self._drain())
        elif self._stopping.done():
            self.force_exit = True

    async def _drain(self) -> None:
        await self._runner.close()
        self.should_exit = True
