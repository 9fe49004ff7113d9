"""What the loop is given, and what it yields."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.events import AnyEvent
from perdure.domain.models import Model
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import RunError, StopReason, Usage
from perdure.domain.tools import Tool
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.store.database import Database
from perdure.tools.executor import Executor


class Models(Protocol):
    """Whoever knows models by their handles and can ask them."""

    async def resolve(self, handle: str) -> Model: ...

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]: ...


class Rooms(msgspec.Struct, frozen=True):
    """What the loop calls below itself."""

    db: Database
    models: Models
    executor: Executor


class Turn(msgspec.Struct, kw_only=True):
    """One run as the loop sees it.

    `interrupted` is set before the run's task is cancelled, and says how it is to end: `cancelled` by a person, or
    `error` because the server stops.
    """

    tenant: str
    run_id: str
    conversation_id: str
    agent: Agent
    model: Model
    tools: tuple[Tool, ...]
    request: TurnRequest
    interrupted: StopReason | None = None


class Commit(msgspec.Struct, frozen=True):
    """A change to make durable.

    `write` runs in one transaction and returns the events to show once it has; it may run again after a passing fault
    of the database. The loop goes on only when it is durable, unless it does not `wait`.
    """

    write: Callable[[Connection], Sequence[AnyEvent]]
    wait: bool = True


class End(msgspec.Struct, frozen=True):
    """Why the run stopped. The last thing the loop yields, once."""

    stop_reason: StopReason
    usage: Usage
    error: RunError | None = None


Item = list[AnyEvent] | Commit | End

INTERRUPTED: Final = RunError(
    error_type="run_interrupted",
    message="The server stopped while this run was under way. What it had said is kept; send a message to go on.",
)


def interrupted_end(turn: Turn, usage: Usage) -> End:
    """How a run ends that was interrupted."""
    reason = turn.interrupted or "error"
    return End(reason, usage, None if reason == "cancelled" else INTERRUPTED)
