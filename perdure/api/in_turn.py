"""Changes of what a run may be working on: they wait until nobody does, as a message would."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Connection

from perdure.api.auth import Caller
from perdure.domain.errors import Busy, Expired, NotFound
from perdure.runs.follower import read_to_end

PATIENCE: Final = 45.0
"""Seconds a change waits at most: SDKs give up after a minute without an answer."""
_TO_THE_END: Final = 1 << 53
"""The number of no event: a reader from there on is told only of the end."""

T = TypeVar("T")


async def in_turn(caller: Caller, change: Callable[[Connection], T]) -> T:
    """What `change` gives, in a transaction in which it found that no run is in its way.

    Until then it raises Busy with the `run_id` of the one that is; so does this where the operator lets nothing wait,
    and where it takes too long. Raises Unavailable where this server stops meanwhile.
    """
    server = caller.server
    asked_at = asyncio.get_running_loop().time()
    while True:
        try:
            return await server.db.write(change)
        except Busy as busy:
            patience = PATIENCE if server.runner.policy.queue else 0.0
            try:
                async with asyncio.timeout_at(asked_at + patience):
                    await _ended(caller, str(busy.details["run_id"]))
            except TimeoutError:
                raise busy from None


async def _ended(caller: Caller, run_id: str) -> None:
    try:
        reader = await caller.server.runner.follow(caller.tenant, run_id, _TO_THE_END)
    except (NotFound, Expired):
        return
    await read_to_end(reader)
