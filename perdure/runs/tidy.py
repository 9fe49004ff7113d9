"""What a server does about things whose time is up."""

import asyncio
import math
import time
from typing import Final

from perdure.domain.errors import Unavailable
from perdure.domain.ids import surely_now
from perdure.loop.approval import EXPIRED
from perdure.runs.chores import Trouble
from perdure.runs.pending import refuse_pending
from perdure.runs.policy import Policy
from perdure.store import files as file_store
from perdure.store.database import Database
from perdure.store.retention import forget_events

TIDY_SECONDS: Final = 3600.0
"""How often event logs past their keeping are dropped, and what is left of uploads that broke off."""
STRAY_MICROSECONDS: Final = 3_600_000_000
"""How long an upload may take from its first piece to its last."""


async def keep_tidy(db: Database, policy: Policy) -> None:
    """Deny approvals that nobody gave in time, and drop what is past its keeping, until cancelled."""
    limit = policy.approval_seconds
    last_forgotten = -math.inf
    trouble = Trouble("cannot tidy up")
    while True:
        await asyncio.sleep(min(limit / 10, 1.0) if limit else 1.0)
        # A clock that was set forward by mistake must not make things look older than they are.
        asked_before = surely_now() - int(limit * 1_000_000)
        ended_before = surely_now() - int(policy.retention_hours * 3_600_000_000)
        try:
            if limit:
                await db.write(lambda conn, t=asked_before: refuse_pending(conn, EXPIRED, before=t))
            if time.monotonic() - last_forgotten > TIDY_SECONDS:
                await forget_events(db, ended_before)
                await db.write(lambda conn: file_store.drop_stray_pieces(conn, surely_now() - STRAY_MICROSECONDS))
                last_forgotten = time.monotonic()
            trouble.is_over()
        except Unavailable as error:
            trouble.is_there(error)
