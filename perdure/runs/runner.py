"""Starts runs, works them one at a time per conversation, and lets any number of readers follow."""

import asyncio
import math
import time
from collections.abc import Callable, Collection
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.errors import PerdureError, Unavailable
from perdure.domain.events import AnyEvent, last_events, message_type
from perdure.domain.ids import now
from perdure.domain.models import Model
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import RunError, StopReason, Usage, status_of
from perdure.logs import Log
from perdure.loop.agent_loop import agent_loop
from perdure.loop.approval import CANCELLED, EXPIRED, client_tools
from perdure.loop.turn import Commit, End, Rooms, Turn, interrupted_end
from perdure.runs import recovery
from perdure.runs.accept import Accepted, Repeated, Snapshots, accept, hand_over
from perdure.runs.attempts import Attempt, Attempts
from perdure.runs.follower import Follower
from perdure.runs.log import MAX_PENDING, EventLog, RunLog
from perdure.runs.pending import refuse_pending
from perdure.store import agents as agent_store
from perdure.store import runs as run_store

ALWAYS_SHOWN: Final = frozenset({"ping", "stop_reason", "usage_statistics", "error_message"})
"""Kinds of event that `include_return_message_types` never hides."""

TIDY_SECONDS: Final = 3600.0
"""How often event logs past their keeping are dropped."""

log = Log(__name__)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decided. Seconds, and hours for how long event logs are kept after a run ends.

    A request for approval that nobody answers within `approval_seconds` is denied; 0 lets it wait for ever.
    """

    queue: bool = True
    max_queued: int = 100
    ping_seconds: float = 20.0
    drain_seconds: float = 10.0
    retention_hours: float = 24.0
    approval_seconds: float = 0.0


class _Work:
    """A run in hand: what was accepted, its log, and the task that works it (None while it waits its turn)."""

    def __init__(self, accepted: Accepted, model: Model, live: RunLog) -> None:
        self.accepted = accepted
        self.live = live
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """Whether the task has come to its first line: cancelled before, it would never end the run."""
        self.first_shown_ns: int | None = None
        self.started_ns = time.monotonic_ns()
        own = client_tools(accepted.request)
        names = frozenset(tool.name for tool in own)
        self.turn = Turn(
            tenant=accepted.tenant,
            run_id=accepted.run.id,
            conversation_id=accepted.conversation_id,
            agent=accepted.agent,
            model=model,
            tools=(*(tool for tool in accepted.tools if tool.name not in names), *own),
            client_tools=names,
            request=accepted.request,
        )


class Runner:
    """All runs of this process. Make it inside the running event loop; `recover` before the first request.

    `tell` is called with the id of each run that ended and has a `callback_url`.
    """

    def __init__(self, rooms: Rooms, policy: Policy, tell: Callable[[str], None] | None = None) -> None:
        self.policy = policy
        self._tell = tell
        self._rooms = rooms
        self._log = EventLog(rooms.db)
        self._snapshots = Snapshots()
        self._works: dict[str, _Work] = {}
        self._granted: set[str] = set()
        self._attempts = Attempts(lambda run_id: run_id in self._works)
        self._closing = False
        self._chores = [asyncio.create_task(chore, name="chore") for chore in (self._ping(), self._tidy())]

    async def recover(self) -> None:
        """End the runs that an earlier process left under way, and begin those it left waiting."""
        found = await self._rooms.db.write(lambda conn: recovery.recover(conn, self._snapshots))
        if found.ended:
            log.warning("ended runs that an earlier process left under way", runs=found.ended)
        for accepted, last in [*found.resumed, *((accepted, 1) for accepted in found.waiting)]:
            work = await self._taken_up(accepted, last)
            if accepted.running:
                self._launch(work)

    async def _taken_up(self, accepted: Accepted, last: int) -> _Work:
        """A run of an earlier process, whose events up to number `last` are stored."""
        live = RunLog(accepted.run.id, _shown(accepted.request))
        live.last = last
        model = accepted.agent.model
        if accepted.request.override_model:
            model = await self._rooms.models.resolve(accepted.request.override_model)
        work = self._works[accepted.run.id] = _Work(accepted, model, live)
        return work

    async def start(
        self, tenant: str, request: TurnRequest, *, queue: bool = True, attempt: Attempt | None = None
    ) -> Follower:
        """Accept a request and begin to work it, or queue it; returns a reader from the run's beginning.

        A request that is here already, known by its otids or by an `attempt` that is not the first, is not worked
        again: the reader is one of the run it started. A busy conversation makes a new one wait, unless it is not to
        `queue` or the operator's policy is to reject. Raises NotFound for the agent or the model asked for, Busy where
        the conversation takes no more, Unprocessable for otids that are in use. Once this returns, the input is durable
        and the run goes on whoever reads.
        """
        if attempt is None:
            return await self._start(tenant, request, queue=queue)
        run_id = await self._attempts.run_of(attempt)
        if run_id is not None:
            return await self.follow(tenant, run_id)
        with self._attempts.starting(attempt) as started:
            follower = await self._start(tenant, request, queue=queue)
            started(follower.run_id)
        return follower

    async def _start(self, tenant: str, request: TurnRequest, *, queue: bool) -> Follower:
        if self._closing:
            raise Unavailable("The server is stopping. Send the message again once it is back.")
        policy = self.policy
        model = await self._rooms.models.resolve(request.override_model) if request.override_model else None
        accepted = await self._rooms.db.write(
            lambda conn: accept(
                conn, tenant, request, self._snapshots, queue=queue and policy.queue, max_queued=policy.max_queued
            )
        )
        if isinstance(accepted, Repeated):
            return await self.follow(tenant, accepted.run_id)
        live = RunLog(accepted.run.id, _shown(request))
        live.released([accepted.started], ended=False)
        work = _Work(accepted, model or accepted.agent.model, live)
        self._works[accepted.run.id] = work
        self._log.live = len(self._works)
        if accepted.running or accepted.run.id in self._granted:
            self._granted.discard(accepted.run.id)
            self._launch(work)
        return Follower(self._rooms.db, accepted.run.id, live, after=0)

    async def follow(self, tenant: str, run_id: str, after: int = 0) -> Follower:
        """A reader of any run from the event after number `after`. Raises NotFound."""
        await self._rooms.db.read(lambda conn: run_store.get(conn, tenant, run_id))
        work = self._works.get(run_id)
        return Follower(self._rooms.db, run_id, work.live if work else None, after)

    async def cancel(
        self,
        tenant: str,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        run_ids: Collection[str] | None = None,
    ) -> list[str]:
        """Cancel the unfinished runs of an agent, of a conversation, or of these ids: all that is given must fit.

        Waiting ones go first, and what waits for an approval is denied. Returns the ids of those that were unfinished,
        once they have ended, and of those that had asked.
        """
        works = [
            work
            for run_id, work in self._works.items()
            if work.accepted.tenant == tenant
            and agent_id in (None, work.accepted.agent.id)
            and conversation_id in (None, work.accepted.conversation_id)
            and (run_ids is None or run_id in run_ids)
        ]
        for work in sorted(works, key=lambda work: work.task is not None):
            if work.task is None:
                work.turn.interrupted = "cancelled"
                work.task = asyncio.create_task(self._end(work, End("cancelled", Usage())))
            else:
                self._interrupt(work, "cancelled")
        await asyncio.gather(*(work.task for work in works if work.task is not None), return_exceptions=True)

        def refuse(conn: Connection) -> list[str]:
            refused = refuse_pending(
                conn, CANCELLED, tenant=tenant, agent_id=agent_id, conversation_id=conversation_id, run_ids=run_ids
            )
            run_store.cancel_ended(conn, refused)
            return refused

        return [*(work.accepted.run.id for work in works), *await self._rooms.db.write(refuse)]

    async def close(self) -> None:
        """Let runs finish for a while, then interrupt the rest; what they said is kept. Queued runs are kept too.

        Closing again does nothing.
        """
        if self._closing:
            return
        self._closing = True
        tasks = [work.task for work in self._works.values() if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self.policy.drain_seconds)
        for work in self._works.values():
            self._interrupt(work, "error")
        await asyncio.gather(*(task for task in tasks if not task.done()), return_exceptions=True)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._log.close()

    def _launch(self, work: _Work) -> None:
        work.task = asyncio.create_task(self._work(work), name=work.accepted.run.id)

    def _interrupt(self, work: _Work, reason: StopReason) -> None:
        if work.turn.interrupted is None:
            work.turn.interrupted = reason
            if work.task is not None and work.begun:
                work.task.cancel()

    async def _work(self, work: _Work) -> None:
        """Work one run to its end. The one place where whatever goes wrong in a run is caught."""
        work.begun = True
        try:
            end = await self._loop(work)
        except asyncio.CancelledError:
            if work.turn.interrupted is None:
                raise
            end = interrupted_end(work.turn, Usage())
        except PerdureError as error:
            end = End("error", Usage(), RunError(error_type="internal_error", message=error.message))
        except Exception as error:
            log.exception("run failed", run_id=work.accepted.run.id, agent_id=work.accepted.agent.id)
            text = "An error occurred during agent execution."
            end = End("error", Usage(), RunError(error_type="internal_error", message=text, detail=repr(error)))
            await self._keep_shown(work)
        await self._end(work, end)

    async def _keep_shown(self, work: _Work) -> None:
        """After a fault of our own: what readers were shown becomes history, as after a crash."""
        run = work.accepted.run
        await _undisturbed(self._log.write(work.live, lambda conn: ()))
        await _undisturbed(
            self._log.write(work.live, lambda conn: recovery.keep_shown(conn, work.accepted.tenant, run).events)
        )

    async def _loop(self, work: _Work) -> End:
        items = agent_loop(work.turn, self._rooms)
        async for item in items:
            match item:
                case list():
                    self._first_shown(work)
                    if work.live.broken is not None:
                        raise work.live.broken
                    self._log.append(work.live, item)
                    if work.live.pending > MAX_PENDING:
                        await _undisturbed(asyncio.ensure_future(self._log.room(work.live)))
                case Commit(write, wait):
                    self._first_shown(work)
                    if wait:
                        await _undisturbed(self._log.write(work.live, write))
                    else:
                        self._log.post(work.live, write)
                case End():
                    return item
        raise AssertionError("the loop ended without saying why")

    def _first_shown(self, work: _Work) -> None:
        if work.first_shown_ns is None:
            work.first_shown_ns = time.monotonic_ns() - work.started_ns

    async def _end(self, work: _Work, end: End) -> None:
        """Commit the run's terminal state with its last events, and hand the conversation to the next run."""
        following: list[str | None] = [None]

        def write(conn: Connection, end: End = end) -> list[AnyEvent]:
            following[0] = self._finish(conn, work, end)
            return last_events(end.stop_reason, end.usage, end.error)

        run_id = work.accepted.run.id
        try:
            await _undisturbed(self._log.write(work.live, write, ends=True))
        except Exception as error:
            log.exception("run could not be kept", run_id=run_id)
            if not await self._end_otherwise(work, write, error):
                return
        self._forget(work)
        if self._tell is not None and work.accepted.run.callback_url is not None:
            self._tell(run_id)
        if following[0] is None:
            return
        waiting = self._works.get(following[0])
        if waiting is None:
            self._granted.add(following[0])
        elif waiting.task is None:  # else it was cancelled while it got its turn
            self._launch(waiting)

    async def _end_otherwise(
        self, work: _Work, write: Callable[[Connection, End], list[AnyEvent]], error: Exception
    ) -> bool:
        """End a run that could not be kept as it was, with the reason. False where it is gone, and those behind it."""
        work.live.fault = None
        text = "What the agent said could not be stored."
        failed = End("error", Usage(), RunError(error_type="internal_error", message=text, detail=repr(error)))
        try:
            await _undisturbed(self._log.write(work.live, lambda conn: write(conn, failed), ends=True))
        except Exception:
            log.exception("run is gone", run_id=work.accepted.run.id)
            behind = [
                other
                for other in self._works.values()
                if other.task is None and other.accepted.conversation_id == work.accepted.conversation_id
            ]
            for gone in (work, *behind):
                gone.live.released((), ended=True)
                self._forget(gone)
            return False
        return True

    def _forget(self, work: _Work) -> None:
        del self._works[work.accepted.run.id]
        self._log.live = len(self._works)

    def _finish(self, conn: Connection, work: _Work, end: End) -> str | None:
        run, at = work.accepted.run, now()
        metadata = dict(run.metadata)
        if end.error is not None:
            metadata["error"] = msgspec.structs.asdict(end.error)
        run_store.finish(
            conn, run.id, status=status_of(end.stop_reason), stop_reason=end.stop_reason, usage=end.usage,
            metadata=metadata, at=at, ttft_ns=work.first_shown_ns, total_ns=(at - run.created_at) * 1000,
        )  # fmt: skip
        agent_store.record_run(conn, run.agent_id, at, (at - run.created_at) // 1000, end.stop_reason)
        return None if self._closing else hand_over(conn, work.accepted.conversation_id)

    async def _ping(self) -> None:
        """Wake the readers of runs that were silent for a ping's time."""
        while True:
            await asyncio.sleep(min(1.0, self.policy.ping_seconds / 10))
            moment = time.monotonic()
            for work in self._works.values():
                if moment - work.live.woken_at >= self.policy.ping_seconds:
                    work.live.wake()

    async def _tidy(self) -> None:
        """Deny approvals that nobody gave in time, and drop event logs past their keeping."""
        limit = self.policy.approval_seconds
        last_forgotten = -math.inf
        while True:
            await asyncio.sleep(min(limit / 10, 1.0) if limit else 1.0)
            asked_before = now() - int(limit * 1_000_000)
            ended_before = now() - int(self.policy.retention_hours * 3_600_000_000)
            try:
                if limit:
                    await self._rooms.db.write(lambda conn, t=asked_before: refuse_pending(conn, EXPIRED, before=t))
                if time.monotonic() - last_forgotten > TIDY_SECONDS:
                    await self._rooms.db.write(lambda conn, t=ended_before: run_store.forget_events(conn, t))
                    last_forgotten = time.monotonic()
            except Unavailable as error:
                log.warning("could not tidy up; trying again", error=error.message)


def _shown(request: TurnRequest) -> Callable[[AnyEvent], bool]:
    kept = request.message_types
    if kept is None:
        return lambda event: True
    names = kept | ALWAYS_SHOWN
    return lambda event: message_type(event) in names


async def _undisturbed(done: asyncio.Future[None]) -> None:
    """Wait for something that must finish even when the run is interrupted; the interruption comes right after."""
    task = asyncio.current_task()
    disturbed = False
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            disturbed = True
    done.result()
    if disturbed and task is not None:
        task.uncancel()
        task.cancel()
