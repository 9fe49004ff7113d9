"""Several server processes behind one port: started, watched, started again where one dies, and stopped together.

The parent takes the port and serves nothing itself. Each worker is this program again, with the port's socket and one
end of a pair of its own: it says there when it serves, and stops when the other end closes, however the parent went.
"""

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure import serving
from perdure.config import Settings
from perdure.domain.errors import Unavailable
from perdure.lazy import lazy_module
from perdure.logs import Log

if TYPE_CHECKING:
    from prometheus_client import multiprocess
else:
    multiprocess: ModuleType = lazy_module("prometheus_client.multiprocess")

READY: Final = b"ready\n"
START_LIMIT: Final = 60.0
"""Seconds a worker may take until it serves."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a worker that died is started again; each that dies young doubles them."""
YOUNG: Final = 20.0
"""Seconds of life after which a death says nothing about the next worker."""

log = Log(__name__)


def supervise(command: list[str], listener: socket.socket, count: int, ready: Callable[[], None]) -> None:
    """Run `count` workers until SIGINT or SIGTERM; `ready` is called once all serve.

    `command` starts a worker once `listener_fd:life_fd` is added to it. Raises Unavailable where the first ones do not
    come to serve.
    """
    with tempfile.TemporaryDirectory(prefix="perdure-metrics-") as metrics:
        asyncio.run(_Workers(command, listener, count, metrics).run(ready))


def work(settings: Settings, handed: str) -> None:
    """Be a worker, with what `supervise` hands to each. Raises what `serving.serve` raises."""
    listener, life = (socket.socket(fileno=int(number)) for number in handed.split(":"))
    listener.setblocking(False)
    life.setblocking(False)

    def ready(_: serving.ServerInfo) -> None:
        life.send(READY)
        # Nothing is ever said there: what can be read is that the other end is closed.
        asyncio.get_running_loop().add_reader(life, _stop_with_parent, life)

    with life:
        serving.serve(settings, ready=ready, listener=listener)


def _stop_with_parent(life: socket.socket) -> None:
    asyncio.get_running_loop().remove_reader(life)
    os.kill(os.getpid(), serving.BY_PARENT)


class _Worker(NamedTuple):
    """A worker that serves. It stops when our end of `life` closes, which the system sees to when we are gone."""

    process: asyncio.subprocess.Process
    life: socket.socket

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class _Workers:
    """`metrics` is the folder in which they count together."""

    def __init__(self, command: list[str], listener: socket.socket, count: int, metrics: str) -> None:
        self._command = command
        self._listener = listener
        self._count = count
        self._metrics = metrics
        self._alive: list[_Worker] = []
        self._stopping = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        places: list[asyncio.Task[None]] = []
        try:
            # The first alone: it may have a database to make, which the others need.
            for _ in range(self._count):
                await self._start()
            ready()
            places = [asyncio.create_task(self._keep(worker)) for worker in self._alive]
            await self._stopping.wait()
        finally:
            # Told already, they must not take it for the second time.
            if not self._stopping.is_set():
                self._stop()
            await asyncio.gather(*places, *(worker.process.wait() for worker in self._alive))

    def _stop(self) -> None:
        """Have all stop; told a second time, they hurry."""
        self._stopping.set()
        for worker in self._alive:
            worker.send(serving.BY_PARENT)

    async def _start(self) -> _Worker:
        """A worker that serves. Raises Unavailable where it does not come to that."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            handed = (self._listener.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *self._command, "{}:{}".format(*handed), pass_fds=handed, stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics},
            )  # fmt: skip
        worker = _Worker(process, ours)
        self._alive.append(worker)
        said = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_LIMIT):
                said = await asyncio.get_running_loop().sock_recv(ours, len(READY))
        if said != READY:
            worker.send(signal.SIGKILL)
            await self._ended(worker)
            raise Unavailable("A worker did not come to serve. What it said stands above.")
        return worker

    async def _ended(self, worker: _Worker) -> int:
        code = await worker.process.wait()
        self._alive.remove(worker)
        multiprocess.mark_process_dead(worker.process.pid, self._metrics)
        worker.life.close()
        return code

    async def _keep(self, worker: _Worker) -> None:
        """Start a worker again each time it dies, the later the younger it died."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            code = await self._ended(worker)
            if time.monotonic() - began > YOUNG:
                pause = FIRST_PAUSE
            while not self._stopping.is_set():
                log.error("a worker is gone and will be started again", exit_code=code, in_seconds=pause)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
                        return
                pause = min(pause * 2, LONGEST_PAUSE)
                try:
                    worker = await self._start()
                    break
                except Unavailable as error:
                    log.error("a worker cannot be started", error=error.message)
            else:
                return
