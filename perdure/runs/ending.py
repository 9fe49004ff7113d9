"""How a run ends in the database: what it came to, whose turn it is now, and what its end sets off."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.events import AnyEvent, last_events
from perdure.domain.ids import now
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Run, Usage, status_of
from perdure.loop.turn import End
from perdure.runs.accept import Accepted, hand_over
from perdure.runs.sleeptime import Take, after_turn
from perdure.store import agents as agent_store
from perdure.store import groups as group_store
from perdure.store import runs as run_store


class Ended(msgspec.Struct, frozen=True):
    """A run that ended: its last events, the run whose turn it is now, and the runs that its end started."""

    events: Sequence[AnyEvent]
    following: str | None
    started: Sequence[Accepted]


def end_run(
    conn: Connection,
    tenant: str,
    run: Run,
    request: TurnRequest,
    agent: Agent,
    end: End,
    take: Take,
    ttft_ns: int | None = None,
) -> Ended:
    """Record how a run ended, give its conversation to the next, and let the agent's companion work if it is time.

    `ttft_ns` is how long it took until something was shown; `take` accepts what this starts.
    """
    at = now()
    metadata = dict(run.metadata)
    if end.error is not None:
        metadata["error"] = msgspec.structs.asdict(end.error)
    if request.errand is not None and request.errand.group_id is not None:
        group_store.claim(conn, run.id, request.errand.group_id)
    is_turn = agent.enable_sleeptime and request.compaction is None and request.group_id is None
    started = after_turn(conn, tenant, run, agent, take) if is_turn else []
    usage = end.usage
    if started:
        usage = usage.plus(Usage(run_ids=tuple(each.run.id for each in started)))
    run_store.finish(
        conn, run.id, status=status_of(end.stop_reason), stop_reason=end.stop_reason, usage=usage, metadata=metadata,
        at=at, ttft_ns=ttft_ns, total_ns=max(at - run.created_at, 0) * 1000,
    )  # fmt: skip
    agent_store.record_run(conn, run.agent_id, at, max(at - run.created_at, 0) // 1000, end.stop_reason)
    following = hand_over(conn, run.conversation_id or "")
    return Ended(last_events(end.stop_reason, usage, end.error, end.logprobs), following, started)
