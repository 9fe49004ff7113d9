"""Which way this machine offers for keeping jobs apart: each is tried before it is trusted."""

import asyncio
import socket
from pathlib import Path
from typing import Final

import msgspec

from perdure.domain.errors import Unavailable
from perdure.logs import Log
from perdure.tools.sandbox import view
from perdure.tools.sandbox.job import PYTHON, Finished, Job, Limits
from perdure.tools.sandbox.running import run_in
from perdure.tools.sandbox.ways import OPEN, Way, candidates

MOST_AT_ONCE: Final = 16
"""Jobs that run at a time; others wait, and their time counts from when they start."""

TRY_SECONDS: Final = 10.0

_PROOF: Final = """
import os, socket, sys
try:
    os.listdir(sys.argv[1])
except OSError:
    pass
else:
    raise SystemExit("the server's data is in reach")
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), 1)
except OSError:
    pass
else:
    raise SystemExit("the network is in reach")
with open("proof", "wb") as file:
    file.write(bytes(1 << 16))
os.write(3, b"apart")
"""

log: Final = Log(__name__)


class Choice(msgspec.Struct, frozen=True):
    """The way in force, if any, and why those before it are not."""

    way: Way | None
    refused: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.way is None:
            return f"none ({'; '.join(self.refused)})"
        return self.way.name


class Sandbox:
    """Runs jobs apart. `data` is what none may see; `unsafe` gives them the server's rights where all else fails.

    Which way is in force is found out when it is first asked for.
    """

    def __init__(self, data: Path, *, unsafe: bool = False) -> None:
        self._data = data
        self._unsafe = unsafe
        self._gate = asyncio.Semaphore(MOST_AT_ONCE)
        self._choosing: asyncio.Task[Choice] | None = None

    async def choice(self) -> Choice:
        """Which way is in force. Tried once; whoever asks meanwhile waits for that."""
        return await asyncio.shield(self.begin_choosing())

    def begin_choosing(self) -> asyncio.Task[Choice]:
        """Find out which way is in force, unless that has begun."""
        if self._choosing is None:
            self._choosing = asyncio.create_task(self._choose())
        return self._choosing

    @property
    def chosen(self) -> Choice | None:
        """Which way is in force; None as long as nobody asked."""
        done = self._choosing is not None and self._choosing.done() and not self._choosing.cancelled()
        return self._choosing.result() if done and self._choosing is not None else None

    async def close(self) -> None:
        """Stop trying."""
        if self._choosing is not None:
            self._choosing.cancel()
            await asyncio.gather(self._choosing, return_exceptions=True)

    async def run(self, job: Job) -> Finished:
        """Run a job to its end or to its limits; either way nothing of it is left running.

        Cancelled, it ends the job at once. Raises Unavailable where no way is in force, or the job cannot be started.
        """
        choice = await self.choice()
        if choice.way is None:
            raise Unavailable(
                f"Code cannot be kept apart from this server: {'; '.join(choice.refused)}. Have the operator install "
                "bubblewrap (apt install bubblewrap) or allow user namespaces; PERDURE_UNSAFE_TOOLS=1 would run it "
                "with all the server's rights."
            )
        async with self._gate:
            return await run_in(choice.way, job)

    async def _choose(self) -> Choice:
        refused: list[str] = []
        if shower := next((path for path in view.always() if self._data.is_relative_to(path)), None):
            refused.append(f"the data directory {self._data} lies in {shower}, which tools are shown: move it")
        else:
            for way in candidates():
                if problem := await self._problem_of(way):
                    refused.append(f"{way.name}: {problem}")
                else:
                    log.info("sandbox", way=way.name)
                    return Choice(way, tuple(refused))
        if self._unsafe:
            log.warning("sandbox", way=OPEN.name, refused=refused)
            return Choice(OPEN, tuple(refused))
        log.warning("sandbox", way="none", refused=refused)
        return Choice(None, tuple(refused or ["this machine offers no way to"]))

    async def _problem_of(self, way: Way) -> str | None:
        """Why a way will not do here; None where a job was kept apart in it."""
        limits = Limits(seconds=TRY_SECONDS, disk=1 << 20, processes=4, output=4096, result=16)
        with socket.create_server(("127.0.0.1", 0)) as bait:
            known = (str(self._data), str(bait.getsockname()[1]))
            argv = (PYTHON, "-I", "-S", "-c", _PROOF, *known)
            try:
                done = await run_in(way, Job(argv=argv, limits=limits))
            except Unavailable as error:
                return error.message
        if done.result == b"apart":
            return None
        return done.stderr.decode(errors="replace").strip()[-200:] or f"a trial ended with {done.stopped or done.code}"
