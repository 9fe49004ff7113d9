"""What one run may ask of another agent: nothing that would make agents wait for each other, and no endless chain."""

import asyncio
from collections.abc import Collection
from typing import Final, Protocol

from sqlalchemy import Connection

from perdure.domain.errors import Conflict
from perdure.domain.requests import Errand, TurnRequest
from perdure.runs.follower import Follower
from perdure.store import errands as errand_store
from perdure.store import runs as run_store

CYCLE: Final = (
    "The message was not sent: that agent is waiting, itself or through others, for what you are doing now, so that "
    "neither would ever go on. Answer what you were asked; your answer reaches it."
)
ITSELF: Final = "The message was not sent: you cannot wait for yourself. Go on without."
TOO_DEEP: Final = (
    "The message was not sent: it would be number {number} in a chain of messages in which each follows from the one "
    "before, and {most} are allowed. Answer with what you have."
)


def check_errand(conn: Connection, tenant: str, errand: Errand, conversation_id: str, most: int) -> int:
    """How deep in a chain the run would be that is to do this errand in a conversation.

    Where it waits, errands are held. Raises Conflict where it would close a circle of runs that wait, or be deeper than
    `most`; NotFound where the run that asks is gone.
    """
    caller = run_store.get(conn, tenant, errand.caller_id)
    if caller.depth >= most:
        raise Conflict(TOO_DEEP.format(number=caller.depth + 1, most=most))
    if errand.waits:
        if caller.conversation_id == conversation_id:
            raise Conflict(ITSELF)
        reached, ahead = set[str](), {conversation_id}
        while ahead:
            if caller.conversation_id in ahead:
                raise Conflict(CYCLE)
            reached |= ahead
            ahead = errand_store.waits_for(conn, ahead) - reached
    return caller.depth + 1


class Runs(Protocol):
    """Whoever starts runs, lets them be followed, and cancels them."""

    async def start(self, tenant: str, request: TurnRequest) -> Follower: ...

    async def follow(self, tenant: str, run_id: str, after: int = 0) -> Follower: ...

    async def cancel(self, tenant: str, *, run_ids: Collection[str]) -> list[str]: ...


async def begin(runs: Runs, tenant: str, request: TurnRequest) -> Follower:
    """Start a run that somebody waits for; if he is cancelled meanwhile, so is it. Raises what `start` raises."""
    starting = asyncio.ensure_future(runs.start(tenant, request))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await runs.cancel(tenant, run_ids={(await starting).run_id})
        raise
