"""Starts runs, one at a time per conversation, and lets any number of readers follow, whichever process works them."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Unpack

from sqlalchemy import Connection

from perdure.domain.errors import Unavailable
from perdure.domain.ids import now
from perdure.domain.models import Model
from perdure.domain.requests import TurnRequest
from perdure.logs import Log
from perdure.loop.turn import Rooms
from perdure.runs import recovery
from perdure.runs.accept import Accepted, Repeated, Snapshots, Terms, accept, hand_over
from perdure.runs.attempts import WINDOW, Attempt, Attempts
from perdure.runs.cancel import Cancelling, Which
from perdure.runs.chores import Chores, Trouble
from perdure.runs.ending import Ended
from perdure.runs.follower import Follower
from perdure.runs.lease import Found, Lease, Lost
from perdure.runs.log import EventLog, RunLog
from perdure.runs.policy import Policy, State
from perdure.runs.tails import Tails
from perdure.runs.tidy import keep_tidy
from perdure.runs.work import Work, Worker
from perdure.store import runs as run_store

LAST_SECONDS: Final = 5.0
"""How long runs that are interrupted at the end may take to be stored, and then what is pending."""
OVERLOADED: Final = (
    "This server has {most} runs under way, which is as many as it takes. Try again in a moment, or raise "
    "PERDURE_MAX_RUNS."
)

log = Log(__name__)


class Runner:
    """The runs of this process, and the way to those of others. Make it inside the running event loop.

    `recover` before the first request. `tell` is called with the id of each run that ended and has a `callback_url`.
    """

    def __init__(self, rooms: Rooms, policy: Policy, tell: Callable[[str], None] | None = None) -> None:
        self.policy = policy
        self._db = rooms.db
        self._tell = tell
        self._rooms = rooms
        self.lease = Lease(rooms.db, self._lost, policy.lease_seconds)
        self._log = EventLog(self.lease)
        self._worker = Worker(rooms, self._log, self, self._accept, self._ended, self._gone)
        self._tails = Tails(rooms.db)
        self._snapshots = Snapshots()
        self._works: dict[str, Work] = {}
        self._granted: set[str] = set()
        self._unknown: set[str] = set()
        self._cancelling = Cancelling(rooms.db, self._worker, self._works, policy.lease_seconds)
        self._attempts = Attempts()
        self._stopping = False
        self._hurry = asyncio.Event()
        self._closed = False
        self._chores = Chores()
        self._chores.begin(self._ping)
        self._chores.begin(lambda: keep_tidy(rooms.db, policy))

    async def recover(self) -> None:
        """Sign on among the processes of this database, and take up the runs that nobody holds."""
        await self.lease.register()
        self._db.listen(self._heard)
        while await self._see_to(await self.lease.look()):
            pass
        if self._db.shared:
            self._chores.begin(self._look)

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
        if run_id is None and attempt.again:
            since = now() - WINDOW
            run_id = await self._db.read(lambda conn: run_store.find_by_attempt(conn, tenant, attempt.key, since))
        if run_id is not None:
            return await self.follow(tenant, run_id)
        with self._attempts.starting(attempt) as started:
            follower = await self._start(tenant, request, queue=queue, attempt=attempt.key)
            started(follower.run_id)
        return follower

    async def _start(self, tenant: str, request: TurnRequest, *, queue: bool, attempt: str | None = None) -> Follower:
        policy = self.policy
        if self._stopping:
            raise Unavailable("The server is stopping. Send the message again once it is back.", retry_after=5)
        if len(self._works) >= policy.max_runs:
            raise Unavailable(OVERLOADED.format(most=policy.max_runs), retry_after=5)
        override = request.override_model
        model = await self._rooms.models.resolve(tenant, override) if override else None

        def unit(conn: Connection) -> Accepted | Repeated:
            self.lease.check(conn)
            return accept(conn, tenant, request, self._snapshots, terms)

        while True:
            terms = self._terms(queue=queue, attempt=attempt)
            try:
                accepted = await self._db.write(unit)
                break
            except Lost:
                await self.lease.start_over(terms.owner)
        if isinstance(accepted, Repeated):
            return await self.follow(tenant, accepted.run_id)
        if terms.owner != self.lease.id:
            return await self.follow(tenant, accepted.run.id)
        work = self._begin(accepted, model)
        return Follower(self._db, work.live, 0, self._log_of)

    def _begin(self, accepted: Accepted, model: Model | None = None) -> Work:
        """Work a run that was accepted here, now or at its turn."""
        work = Work(accepted, model or accepted.agent.model)
        self._take_in(work)
        if accepted.running or accepted.run.id in self._granted:
            self._granted.discard(accepted.run.id)
            self._worker.launch(work)
        return work

    def _accept(self, conn: Connection, tenant: str, request: TurnRequest) -> Accepted | None:
        """Accept a request in a transaction that ends another run; None where it is here already."""
        accepted = accept(conn, tenant, request, self._snapshots, self._terms())
        return accepted if isinstance(accepted, Accepted) else None

    def _terms(self, *, queue: bool = True, attempt: str | None = None) -> Terms:
        policy = self.policy
        return Terms(
            owner=self.lease.id, attempt=attempt, queue=queue and policy.queue, max_queued=policy.max_queued,
            max_chain=policy.max_chain,
        )  # fmt: skip

    async def follow(self, tenant: str, run_id: str, after: int = 0) -> Follower:
        """A reader of any run from the event after number `after`. Raises NotFound, and Expired."""
        await self._db.read(lambda conn: run_store.check_log(conn, tenant, run_id))
        return Follower(self._db, await self._log_of(run_id), after, self._log_of)

    async def _log_of(self, run_id: str) -> RunLog:
        """The live end of a run's log, wherever it is worked."""
        work = self._works.get(run_id)
        if work is not None:
            return work.live
        last = await self._db.read(lambda conn: run_store.last_seq(conn, run_id))
        return self._tails.of(run_id, last)

    async def cancel(self, tenant: str, **which: Unpack[Which]) -> list[str]:
        """Cancel unfinished runs; waiting ones go first, and what waits for an approval is denied.

        Returns the ids of those that were unfinished, once they have ended, and of those that had asked.
        """
        return await self._cancelling.cancel(tenant, **which)

    @property
    def state(self) -> State:
        """Whether runs can be taken, and if not, why."""
        return "draining" if self._stopping else "storage_unavailable" if self._log.stuck else "ready"

    def counts(self) -> dict[str, int]:
        """How many runs are worked, and how many wait."""
        working = sum(work.task is not None for work in self._works.values())
        return {"working": working, "waiting": len(self._works) - working}

    def stop(self) -> None:
        """Take no new runs. Those under way may finish, until this is called again."""
        if self._stopping:
            self._hurry.set()
        self._stopping = True

    async def close(self) -> None:
        """Let runs finish for a while, then interrupt the rest; what they said is kept.

        Queued runs, and those whose model has said nothing yet, are left to the next process, and whoever reads one of
        those is sent away. Where the database cannot be written, the next process ends what is
        left. Closing again does nothing.
        """
        if self._closed:
            return
        self._closed = self._stopping = True
        tasks = [work.task for work in self._works.values() if work.task is not None]
        if tasks:
            finished, hurry = asyncio.create_task(asyncio.wait(tasks)), asyncio.create_task(self._hurry.wait())
            await asyncio.wait(
                (finished, hurry), timeout=self.policy.drain_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            finished.cancel()
            hurry.cancel()
            for work in self._works.values():
                work.stop()
            await asyncio.wait(tasks, timeout=LAST_SECONDS)
        for work in self._works.values():
            work.live.leave()
        await self._chores.close()
        await self._tails.close()
        await self._log.close(LAST_SECONDS)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.lease.leave()

    def _take_in(self, work: Work) -> None:
        self._works[work.accepted.run.id] = work
        self._log.live = len(self._works)

    def _forget(self, work: Work) -> None:
        self._works.pop(work.accepted.run.id, None)
        self._log.live = len(self._works)

    def _ended(self, work: Work, ended: Ended) -> None:
        """A run has ended: it is another one's turn, and others have begun."""
        self._forget(work)
        if self._tell is not None and work.accepted.run.callback_url is not None:
            self._tell(work.accepted.run.id)
        if ended.following is not None:
            self._grant(ended.following)
        self._begin_all(ended.started)

    def _begin_all(self, started: Iterable[Accepted]) -> None:
        """Work what the end of a run has started; while this server stops, that is left to the next."""
        for accepted in () if self._stopping else started:
            self._begin(accepted)

    def _gone(self, work: Work) -> None:
        """A run was deleted, and with its conversation those that waited behind it."""
        behind = [
            other
            for other in self._works.values()
            if other.task is None and other.accepted.conversation_id == work.accepted.conversation_id
        ]
        for gone in (work, *behind):
            gone.live.released((), ended=True)
            self._forget(gone)

    def _grant(self, run_id: str) -> None:
        """It is a run's turn. One that is still being accepted here finds that out; another process was told."""
        waiting = self._works.get(run_id)
        if self._stopping:
            return
        if waiting is None:
            if not self._db.shared:
                self._granted.add(run_id)
        elif waiting.task is None:  # else it was cancelled while it got its turn
            self._worker.launch(waiting)

    def _lost(self) -> None:
        """This process was taken for dead: its runs are another's now."""
        for work in self._works.values():
            work.lose()
        self._works.clear()
        self._log.live = 0

    def _heard(self, text: str) -> None:
        """What some process sent, perhaps this one; nothing, where something may have been missed."""
        kind, _, rest = text.partition(" ")
        if kind == "log":
            self._tails.look(rest.split(","))
        elif kind == "watch":
            for run_id in self._works.keys() & rest.split(","):
                self._log.watch(run_id)
        elif kind == "turn" and rest in self._works:
            self._grant(rest)
        elif kind == "cancel" and (work := self._works.get(rest)) is not None:
            self._worker.cancel(work)
        elif kind in ("", "orphans"):
            self._tails.look()
            self.lease.look_soon()

    async def _look(self) -> None:
        """Stay alive among the processes, and see to what was left for this one."""
        trouble = Trouble("cannot renew the lease")
        while True:
            await self.lease.next_look()
            lease_id = self.lease.id
            try:
                found = await self.lease.look()
            except Lost:
                await self.lease.start_over(lease_id)
                continue
            except Unavailable as error:
                trouble.is_there(error)
                continue
            trouble.is_over()
            if not self._stopping:
                await self._see_to(found)

    async def _see_to(self, found: Found) -> bool:
        """Do what a look has found. Whether there may be more of it."""
        for run_id in found.untold:
            if self._tell is not None:
                self._tell(run_id)
        await self._take_up(found.claimed)
        unknown = {run_id for run_id, _, _ in found.held} - self._works.keys()
        # Accepted here, though the answer of the database did not arrive; what is being accepted now is found again.
        await self._take_up(self._unknown & unknown)
        self._unknown = unknown
        for run_id, has_turn, to_cancel in found.held:
            if (work := self._works.get(run_id)) is not None and to_cancel:
                self._worker.cancel(work)
            elif has_turn:
                self._grant(run_id)
        return bool(found.claimed)

    async def _take_up(self, run_ids: Iterable[str]) -> None:
        """Go on with runs that nobody works, or end them as they stand."""
        for run_id in run_ids:
            try:
                await self._take_up_one(run_id)
            except (Unavailable, Lost) as error:
                log.warning("cannot take up a run; trying again", run_id=run_id, error=error.message)
            except Exception:
                log.exception("a run cannot be taken up and ends", run_id=run_id)
                await self._give_up(run_id)

    async def _give_up(self, run_id: str) -> None:
        """End a run of which something cannot be read, and let go on what waits behind it."""
        owner = self.lease.id
        try:
            conversation_id = await self._db.write(lambda conn: recovery.give_up(conn, run_id, owner))
            if conversation_id is not None:
                following = await self._db.write(lambda conn: hand_over(conn, conversation_id))
                if following is not None:
                    self._grant(following)
        except Exception:
            log.exception("a run is left as it is; `perdure check` says what is wrong", run_id=run_id)

    async def _take_up_one(self, run_id: str) -> None:
        may_repeat = self._rooms.executor.may_repeat
        owner = self.lease.id

        def unit(conn: Connection) -> recovery.TakenUp | recovery.Over:
            self.lease.check(conn)
            return recovery.take_up(conn, run_id, owner, self._snapshots, may_repeat, self._accept)

        taken = await self._db.write(unit)
        if isinstance(taken, recovery.Over):
            if taken.ended:
                log.warning("ended a run that another process left under way", run_id=run_id)
                if self._tell is not None:
                    self._tell(run_id)
            self._begin_all(taken.started)
            return
        accepted = taken.accepted
        model = accepted.agent.model
        if accepted.request.override_model:
            model = await self._rooms.models.resolve(accepted.tenant, accepted.request.override_model)
        if owner != self.lease.id:
            return
        work = Work(accepted, model, taken.last)
        self._take_in(work)
        if accepted.running:
            self._worker.launch(work)

    async def _ping(self) -> None:
        """Wake the readers of runs that were silent for a ping's time."""
        while True:
            await asyncio.sleep(min(1.0, self.policy.ping_seconds / 10))
            moment = time.monotonic()
            for work in self._works.values():
                if moment - work.live.woken_at >= self.policy.ping_seconds:
                    work.live.wake()
            self._tails.wake_silent(self.policy.ping_seconds)
