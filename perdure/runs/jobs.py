"""Works jobs in the background: each in one process at a time, taken up by another where that one ends.

What a job is about is the business of its handler, which finds out by itself how far the work has come. Whatever it
stores, it stores together with `Task.check`, so that a process that lost a job to another changes nothing of it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sqlalchemy import Connection

from perdure.domain.errors import PerdureError, Unavailable
from perdure.domain.jobs import Job
from perdure.logs import Log
from perdure.runs.chores import Chores, Trouble
from perdure.store import jobs as job_store
from perdure.store import signals
from perdure.store.database import Database
from perdure.store.jobs import Claimed

AT_ONCE: Final = 2
"""Jobs worked at a time by one process, so that they leave room for conversations."""
SECONDS: Final = 1_800.0
"""How long one job may take."""
LOOK_SECONDS: Final = 2.0
"""How often a process that shares its database looks for what others left, and for jobs that were cancelled there."""
MOST_ATTEMPTS: Final = 10
"""How often a job is taken up. One that ends its process each time must not do so for ever."""
IDLE_SECONDS: Final = 5.0
"""How often a process that is alone looks for what was asked for in the middle of a unit, where nobody could call."""
WAIT_SECONDS: Final = 2.0
"""How long a job waits before it goes on where the database was out of reach."""
GIVEN_UP: Final = "It was begun too often without coming to an end."
BROKEN: Final = "It failed inside the server, whose log says more."

log: Final = Log(__name__)


class Superseded(PerdureError):
    """The job was cancelled, or is another process's now: nothing may be stored of it here."""


class Task:
    """A job in the hands of the process `owner`."""

    def __init__(self, claimed: Claimed, owner: str) -> None:
        self.tenant = claimed.tenant
        self.job: Job = claimed.job
        self.owner = owner

    def check(self, conn: Connection) -> None:
        """To be called first in every unit that stores something of the job. Raises Superseded."""
        if not job_store.hold(conn, self.job.id, self.owner):
            raise Superseded("The job was cancelled, or another process works it.")


class Handler(Protocol):
    """Who knows how to work the jobs of one kind."""

    async def work(self, task: Task) -> Callable[[Connection], None]:
        """Do it, going on where it was left. What it returns is stored in the transaction that ends the job.

        A PerdureError it raises becomes the reason of the failure.
        """
        ...

    def failed(self, conn: Connection, tenant: str, job: Job, reason: str) -> None:
        """Note that a job has failed or was cancelled, in the transaction that ends it."""
        ...


class Jobs:
    """The jobs of this process. `server_id` says who it is among those that share the database."""

    def __init__(self, db: Database, handlers: Mapping[str, Handler], server_id: Callable[[], str]) -> None:
        self._db = db
        self._handlers = handlers
        self._server_id = server_id
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()
        self._chores = Chores()

    def start(self) -> None:
        """Take up what is there, from now on. To be called once this process has signed on."""
        self._db.listen(self._heard)
        self._wanted.set()
        self._chores.begin(self._look)

    def submit(self, conn: Connection, tenant: str, job: Job) -> None:
        """Store a job with whatever else is stored in this unit. Call `wake` once that is done."""
        assert job.kind in self._handlers
        job_store.create(conn, tenant, job)
        signals.notify(conn, "job")

    def wake(self) -> None:
        """There is something to do."""
        self._wanted.set()

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """Cancel a job, wherever it is worked; one that has ended stays as it is. Raises NotFound."""

        def unit(conn: Connection) -> Job:
            job = job_store.get(conn, tenant, job_id)
            if job_store.cancel(conn, tenant, job.id):
                if (handler := self._handlers.get(job.kind)) is not None:
                    handler.failed(conn, tenant, job, "It was cancelled.")
                signals.notify(conn, "job")
            return job_store.get(conn, tenant, job_id)

        cancelled = await self._db.write(unit)
        self.wake()
        return cancelled

    async def close(self) -> None:
        """Stop; the next process goes on with what is left."""
        await self._chores.close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heard(self, text: str) -> None:
        if text in ("", "job", "orphans"):
            self.wake()

    async def _look(self) -> None:
        trouble = Trouble("cannot look for jobs")
        while True:
            pause = LOOK_SECONDS if self._db.shared or self._tasks else IDLE_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self._take_up()
                trouble.is_over()
            except Unavailable as error:
                trouble.is_there(error)
                await asyncio.sleep(WAIT_SECONDS)
                self.wake()

    async def _take_up(self) -> None:
        owner = self._server_id()
        held = set(await self._db.read(lambda conn: job_store.held(conn, owner)))
        for job_id, task in self._tasks.items():
            if job_id not in held:
                task.cancel()
        room = AT_ONCE - len(self._tasks)
        if room <= 0 or not await self._db.read(job_store.some_free):
            return
        for claimed in await self._db.write(lambda conn: job_store.claim(conn, owner, room)):
            task = asyncio.create_task(self._work(Task(claimed, owner)), name=f"job {claimed.job.id}")
            self._tasks[claimed.job.id] = task
            task.add_done_callback(lambda _, job_id=claimed.job.id: self._done(job_id))

    def _done(self, job_id: str) -> None:
        self._tasks.pop(job_id, None)
        self.wake()

    async def _work(self, task: Task) -> None:
        ends_at = asyncio.get_running_loop().time() + SECONDS
        while True:
            try:
                async with asyncio.timeout_at(ends_at):
                    return await self._finish(task)
            except TimeoutError:
                return await self._fail(task, f"It took longer than {SECONDS / 60:.0f} minutes.")
            except Unavailable as error:
                log.warning("a job waits for what it needs", job=task.job.id, error=error.message)
                await asyncio.sleep(WAIT_SECONDS)

    async def _finish(self, task: Task) -> None:
        """Work a job to its end, one way or the other. Raises Unavailable where that has to wait."""
        handler = self._handlers.get(task.job.kind)
        if handler is None or task.job.attempts > MOST_ATTEMPTS:
            await self._fail(task, GIVEN_UP)
            return
        work = asyncio.create_task(handler.work(task), name=f"work of {task.job.id}")
        try:
            await asyncio.wait((work,))
        finally:
            work.cancel()
        match error := work.exception():
            case None:
                await self._complete(task, work.result())
            case Superseded():
                pass
            case Unavailable():
                raise error
            case PerdureError():
                await self._fail(task, error.message)
            case _:
                log.error("job_failed", job=task.job.id, kind=task.job.kind, exc_info=error)
                await self._fail(task, BROKEN)

    async def _complete(self, task: Task, keep: Callable[[Connection], None]) -> None:
        def end(conn: Connection) -> None:
            task.check(conn)
            keep(conn)
            job_store.end(conn, task.job.id, "completed")

        with contextlib.suppress(Superseded):
            await self._db.write(end)

    async def _fail(self, task: Task, reason: str) -> None:
        def end(conn: Connection) -> None:
            if not job_store.hold(conn, task.job.id, task.owner):
                return
            if (handler := self._handlers.get(task.job.kind)) is not None:
                handler.failed(conn, task.tenant, task.job, reason)
            job_store.end(conn, task.job.id, "failed", error=reason)

        await self._db.write(end)
