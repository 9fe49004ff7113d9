"""Running jobs apart: start, feed, watch, end."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from perdure.domain.errors import Unavailable
from perdure.tools.sandbox.job import Finished, Job, Stopped
from perdure.tools.sandbox.usage import disk_of, memory_of
from perdure.tools.sandbox.ways import Way, begin

WATCH_SECONDS: Final = 0.05
END_SECONDS: Final = 2.0
"""How long a job's processes may take to be gone after SIGTERM to the one that ends them, and its pipes after that."""
_PIECE: Final = 1 << 16
_PATIENCE: Final = 64
"""How many times more than is kept of a stream a job may write before it is ended."""


async def run_in(way: Way, job: Job) -> Finished:
    """Run a job in this way, as `Sandbox.run` says."""
    async with _work_directory(way, job) as work:
        reader, writer = os.pipe()
        try:
            command, said = begin(way, job, work, result=writer)
            running = _Running(job, work, graceful=not way.has_own_files)
            channel = () if job.channel is None else (job.channel.fileno(),)
            await running.start(command, (writer, *channel))
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return await running.finish(reader, said)


@contextlib.asynccontextmanager
async def _work_directory(way: Way, job: Job) -> AsyncGenerator[Path | None]:
    """The job's work directory on this machine: None where the way makes one that vanishes with the job."""
    if job.work is not None or way.has_own_files:
        yield job.work
        return
    made = Path(tempfile.mkdtemp(prefix="perdure-job-"))
    try:
        yield made
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, made, ignore_errors=True))


class _Running:
    """A job's processes. The first of them is ours, outside the jail, and ends the others as it ends."""

    _process: asyncio.subprocess.Process

    def __init__(self, job: Job, work: Path | None, *, graceful: bool) -> None:
        self._limits = job.limits
        self._work = work
        self._graceful = graceful
        self._stopped: Stopped | None = None
        self._cut = False

    async def start(self, command: list[str], descriptors: tuple[int, ...]) -> None:
        self._started = time.monotonic()
        pipe = asyncio.subprocess.PIPE
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd="/", pass_fds=descriptors,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"The sandbox cannot be started: {error}") from error

    async def finish(self, result: int, said: bytes) -> Finished:
        """Wait until the job has ended, end it where it must be, and gather what it wrote."""
        process, limits = self._process, self._limits
        assert process.stdout is not None
        assert process.stderr is not None
        async with _reading(result) as answer:
            readers = [
                asyncio.create_task(self._read(process.stdout, limits.output)),
                asyncio.create_task(self._read(process.stderr, limits.output)),
                asyncio.create_task(self._read(answer, limits.result + 1, patience=1)),
            ]
            others = [asyncio.create_task(self._feed(said)), asyncio.create_task(self._watch())]
            try:
                async with asyncio.timeout(limits.seconds):
                    await process.wait()
            except TimeoutError:
                self._stop("time")
            finally:
                for task in others:
                    task.cancel()
                await self._end()
                _, late = await asyncio.wait(readers, timeout=END_SECONDS)
                for task in late:
                    task.cancel()
        stdout, stderr, written = (b"" if task in late else task.result() for task in readers)
        return self._finished(stdout, stderr, written)

    def _finished(self, stdout: bytes, stderr: bytes, written: bytes) -> Finished:
        code = self._process.returncode or 0
        if written[:1] != b"\1" and self._stopped is None:
            why = stderr.decode(errors="replace").strip()[-500:] or f"it ended with {code}"
            raise Unavailable(f"The sandbox could not make room for the job: {why}. `perdure doctor` says more.")
        return Finished(
            code=code if code >= 0 else 128 - code,
            result=written[1:],
            stdout=stdout,
            stderr=stderr,
            stopped=self._stopped,
            cut=self._cut,
            seconds=time.monotonic() - self._started,
        )

    async def _read(self, stream: asyncio.StreamReader, most: int, patience: int = _PATIENCE) -> bytes:
        """The first bytes of a stream. What comes beyond is let go, and ends the job where there is no end of it."""
        kept, more = bytearray(), 0
        while piece := await stream.read(_PIECE):
            room = most - len(kept)
            kept += piece[:room]
            more += max(0, len(piece) - room)
            self._cut |= more > 0
            if more > most * (patience - 1):
                self._stop("output")
        return bytes(kept)

    async def _feed(self, said: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(said)
            await stdin.drain()
            stdin.close()

    async def _watch(self) -> None:
        """Hold all processes together to what they may take."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if memory_of(self._process.pid) > self._limits.memory:
                self._stop("memory")
            elif await self._takes_too_much_disk():
                self._stop("disk")

    async def _takes_too_much_disk(self) -> bool:
        most = self._limits.disk
        return self._work is not None and await asyncio.to_thread(disk_of, self._work, most) > most

    def _stop(self, why: Stopped) -> None:
        if self._stopped is None:
            self._stopped = why
        self._signal()

    def _signal(self, *, hard: bool = False) -> None:
        # asyncio's own way first looks whether it has ended, which takes its exit code from whoever waits for it.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM if self._graceful and not hard else signal.SIGKILL)

    async def _end(self) -> None:
        """Nothing of the job runs on once this returns."""
        self._signal()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            self._signal(hard=True)
            await self._process.wait()


@contextlib.asynccontextmanager
async def _reading(descriptor: int) -> AsyncGenerator[asyncio.StreamReader]:
    """A pipe's end as a stream, closed at the end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_PIECE)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        yield reader
    finally:
        transport.close()
