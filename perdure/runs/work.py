"""One run in hand, and how it is worked to its end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection

from perdure.domain.errors import PerdureError
from perdure.domain.events import AnyEvent, last_events, message_type
from perdure.domain.ids import now
from perdure.domain.models import Model
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import RunError, StopReason, Usage, is_group_run
from perdure.logs import Log
from perdure.loop.agent_loop import agent_loop
from perdure.loop.approval import client_tools
from perdure.loop.turn import Commit, End, Rooms, Turn, interrupted_end
from perdure.runs import recovery
from perdure.runs.accept import Accepted
from perdure.runs.ending import Ended, end_run
from perdure.runs.errands import Runs
from perdure.runs.group_turns import GroupTurns
from perdure.runs.log import MAX_PENDING, EventLog, RunLog
from perdure.runs.sleeptime import Take
from perdure.store import runs as run_store
from perdure.telemetry.watch import RunWatch

ALWAYS_SHOWN: Final = frozenset(
    {"ping", "stop_reason", "usage_statistics", "error_message", "event_message", "summary_message"}
)
"""Kinds of event that `include_return_message_types` never hides."""

log = Log(__name__)


class Work:
    """What was accepted, its log, and the task that works it (None while it waits its turn).

    `last` is the number of the newest event that another process has stored of it, None where this one is the first.
    """

    def __init__(self, accepted: Accepted, model: Model, last: int | None = None) -> None:
        self.accepted = accepted
        self.live = RunLog(accepted.run.id, _shown(accepted.request))
        if last is None:
            self.live.released([accepted.started], ended=False)
        else:
            self.live.last = last
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """Whether the task has come to its first line: cancelled before, it would never end the run."""
        self.first_shown_ns: int | None = None
        self.started_ns = time.monotonic_ns()
        self.watch = RunWatch(accepted.tenant, accepted.run, accepted.agent)
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
            taken_up=last is not None and accepted.running,
        )

    def interrupt(self, reason: StopReason) -> None:
        """Have the run end for this reason, unless it already has one."""
        if self.turn.interrupted is None:
            self.turn.interrupted = reason
            if self.task is not None and self.begun:
                self.task.cancel()

    def stop(self) -> None:
        """Leave the run to the next process where that can go on from here; else have it end as interrupted."""
        if self.task is not None and self.begun and self.turn.unanswered and self.turn.interrupted is None:
            self.task.cancel()
        else:
            self.interrupt("error")

    def lose(self) -> None:
        """Another process has the run now: stop, and write nothing more of it."""
        self.live.lost = True
        self.live.wake()
        if self.task is not None:
            self.task.cancel()


class Worker:
    """Works runs to their end.

    A group's run starts others by `runs`; `take` accepts what the end of a run starts; `ended` is told of each that has
    ended, `gone` of each that was deleted.
    """

    def __init__(
        self,
        rooms: Rooms,
        events: EventLog,
        runs: Runs,
        take: Take,
        ended: Callable[[Work, Ended], None],
        gone: Callable[[Work], None],
    ) -> None:
        self._rooms = rooms
        self._log = events
        self._runs = runs
        self._take = take
        self._ended = ended
        self._gone = gone

    def launch(self, work: Work) -> None:
        """Begin to work a run."""
        work.task = asyncio.create_task(self._work(work), name=work.accepted.run.id)

    def cancel(self, work: Work) -> None:
        """Have a run end as cancelled, one that waits its turn at once."""
        if work.task is None:
            work.turn.interrupted = "cancelled"
            work.task = asyncio.create_task(self._end(work, End("cancelled", Usage())))
        else:
            work.interrupt("cancelled")

    async def _work(self, work: Work) -> None:
        """Work one run to its end. The one place where whatever goes wrong in a run is caught."""
        work.begun = True
        work.watch.begin()
        try:
            end = await self._loop(work)
        except asyncio.CancelledError:
            if work.turn.interrupted is None or work.live.lost:
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

    async def _keep_shown(self, work: Work) -> None:
        """After a fault of our own: what readers were shown becomes history, as after a crash, if that can be read."""
        run = work.accepted.run
        if is_group_run(run):
            return
        try:
            await _undisturbed(self._log.write(work.live, lambda conn: ()))
            await _undisturbed(
                self._log.write(work.live, lambda conn: recovery.keep_shown(conn, work.accepted.tenant, run).events)
            )
        except Exception:
            log.exception("what a run had shown could not be kept", run_id=run.id)

    async def _loop(self, work: Work) -> End:
        of, turn = work.accepted, work.turn
        if of.request.group_id is not None:
            items = GroupTurns(of, turn, self._rooms.db, self._runs).items()
        else:
            items = agent_loop(turn, self._rooms)
        async for item in items:
            match item:
                case list():
                    _first_shown(work)
                    if work.live.broken is not None:
                        raise work.live.broken
                    self._log.append(work.live, item)
                    if work.live.pending > MAX_PENDING:
                        await _undisturbed(asyncio.ensure_future(self._log.room(work.live)))
                case Commit(write, wait):
                    _first_shown(work)
                    if wait:
                        await _undisturbed(self._log.write(work.live, write))
                    else:
                        self._log.post(work.live, write)
                case End():
                    return item
        raise AssertionError("the loop ended without saying why")

    async def _end(self, work: Work, end: End) -> None:
        """Commit the run's terminal state with its last events, and hand the conversation to the next run."""
        ended: list[Ended] = []
        of = work.accepted

        def write(conn: Connection, end: End = end) -> Sequence[AnyEvent]:
            ended[:] = [
                end_run(conn, of.tenant, of.run, of.request, of.agent, end, self._take, ttft_ns=work.first_shown_ns)
            ]
            return ended[0].events

        kept: End | None = end
        try:
            await _undisturbed(self._log.write(work.live, write, ends=True))
        except Exception as error:
            if work.live.lost or self._log.given_up:
                log.error("run is left to another process", run_id=work.accepted.run.id)
                return
            log.exception("run could not be kept", run_id=work.accepted.run.id)
            kept = await self._end_otherwise(work, write, ended, error)
        if kept is None:
            self._gone(work)
        else:
            work.watch.end(kept.stop_reason, kept.usage, kept.error, work.first_shown_ns)
            self._ended(work, ended[0])

    async def _end_otherwise(
        self,
        work: Work,
        write: Callable[[Connection, End], Sequence[AnyEvent]],
        ended: list[Ended],
        error: Exception,
    ) -> End | None:
        """End a run that could not be kept as it was, with the reason. None where there is no such run any more.

        Where what stands around it is damaged too, the run alone is ended.
        """
        run_id = work.accepted.run.id
        text = "What the agent said could not be stored."
        why = RunError(error_type="internal_error", message=text, detail=repr(error))
        failed = End("error", Usage(), why)

        def with_reason(conn: Connection) -> Sequence[AnyEvent]:
            return write(conn, failed)

        def alone(conn: Connection) -> Sequence[AnyEvent]:
            run_store.write_off(conn, run_id, now(), why)
            ended[:] = [Ended(last_events(failed.stop_reason, failed.usage, why), None, ())]
            return ended[0].events

        for attempt in (with_reason, alone):
            work.live.fault = None
            try:
                await _undisturbed(self._log.write(work.live, attempt, ends=True))
            except Exception:
                log.exception("run cannot be ended", run_id=run_id)
            else:
                return failed
        return None


def _first_shown(work: Work) -> None:
    if work.first_shown_ns is None:
        work.first_shown_ns = time.monotonic_ns() - work.started_ns


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
