"""Cancelling runs, whichever process works them."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypedDict, Unpack

from sqlalchemy import Connection

from perdure.domain.errors import Unavailable
from perdure.domain.ids import now
from perdure.loop.approval import CANCELLED
from perdure.runs.accept import Accepted
from perdure.runs.pending import refuse_pending
from perdure.runs.work import Work, Worker
from perdure.store import runs as run_store
from perdure.store import signals
from perdure.store.database import Database

LIMIT: Final = 3
"""How many leases a cancel waits for other processes, which is longer than it takes to find one dead."""
LOOK: Final = 0.05


class Which(TypedDict, total=False):
    """Runs of an agent, of a conversation, or of these ids: all that is given must fit."""

    agent_id: str | None
    conversation_id: str | None
    run_ids: Collection[str] | None


class Cancelling:
    """Ends runs before they have come to their end: those in `works`, which are this process's, and others'."""

    def __init__(self, db: Database, worker: Worker, works: Mapping[str, Work], lease_seconds: float) -> None:
        self._db = db
        self._worker = worker
        self._works = works
        self._limit = LIMIT * lease_seconds

    async def cancel(self, tenant: str, **which: Unpack[Which]) -> list[str]:
        """Cancel unfinished runs; waiting ones go first, and what waits for an approval is denied.

        Returns the ids of those that were unfinished, once they have ended, and of those that had asked.
        """
        works = [work for work in self._works.values() if _is_one(work.accepted, tenant, **which)]
        for work in sorted(works, key=lambda work: work.task is not None):
            self._worker.cancel(work)
        ids = [work.accepted.run.id for work in works]
        elsewhere = await self._ask_others(tenant, which, ids) if self._db.shared else ()
        await asyncio.gather(*(work.task for work in works if work.task is not None), return_exceptions=True)
        await self._until_ended(elsewhere)

        def refuse(conn: Connection) -> list[str]:
            refused = refuse_pending(conn, CANCELLED, tenant=tenant, **which)
            run_store.cancel_ended(conn, refused)
            return refused

        return [*ids, *elsewhere, *await self._db.write(refuse)]

    async def _ask_others(self, tenant: str, which: Which, but: Sequence[str]) -> Sequence[str]:
        """Leave word for the processes that hold the other runs; returns their ids."""

        def ask(conn: Connection) -> list[str]:
            asked = run_store.ask_to_cancel(conn, tenant, now(), but=but, **which)
            for run_id in asked:
                signals.notify(conn, f"cancel {run_id}")
            return asked

        return await self._db.write(ask)

    async def _until_ended(self, run_ids: Sequence[str]) -> None:
        deadline = time.monotonic() + self._limit
        while run_ids and await self._db.read(lambda conn: run_store.under_way(conn, run_ids)):
            if time.monotonic() > deadline:
                raise Unavailable(
                    "The process that works on this does not answer. It is cancelled as soon as it can be."
                )
            await asyncio.sleep(LOOK)


def _is_one(
    accepted: Accepted,
    tenant: str,
    *,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    run_ids: Collection[str] | None = None,
) -> bool:
    return (
        accepted.tenant == tenant
        and agent_id in (None, accepted.agent.id)
        and conversation_id in (None, accepted.conversation_id)
        and (run_ids is None or accepted.run.id in run_ids)
    )
