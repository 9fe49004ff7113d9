"""What the loop is given, and what it yields."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.events import AnyEvent
from perdure.domain.messages import Voice
from perdure.domain.models import Model
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Logprobs, RunError, StopReason, Usage
from perdure.domain.tools import Tool
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.store.database import Database
from perdure.tools.executor import Executor


class Models(Protocol):
    """Whoever knows models by their handles and can ask them."""

    async def resolve(self, tenant: str, handle: str) -> Model: ...

    def stream(self, tenant: str, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]: ...

    def estimate(self, model: Model, size: int) -> int:
        """About how many tokens `size` bytes (`providers.estimate.size_of`) are to `model`."""
        ...


class Rooms(msgspec.Struct, frozen=True):
    """What the loop calls below itself."""

    db: Database
    models: Models
    executor: Executor


class Turn(msgspec.Struct, kw_only=True):
    """One run as the loop sees it.

    `tools` are all that the model may be shown; those named in `client_tools` are run by the caller. `taken_up` says
    that another process worked on it before, so that calls may have been begun. `interrupted` is
    set before the run's task is cancelled, and says how it is to end: `cancelled` by a person, or `error` because the
    server stops. It is `unanswered` while the model is asked and has said nothing yet, so that it can be asked again.
    """

    tenant: str
    run_id: str
    conversation_id: str
    agent: Agent
    model: Model
    tools: tuple[Tool, ...]
    client_tools: frozenset[str]
    request: TurnRequest
    taken_up: bool = False
    interrupted: StopReason | None = None
    unanswered: bool = False

    @property
    def voice(self) -> Voice | None:
        """The tool whose calls are shown as the agent's own words, unless the caller wants to see the calls."""
        return voice_of(self.request)


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
    logprobs: Logprobs | None = None


Item = list[AnyEvent] | Commit | End

INTERRUPTED: Final = RunError(
    error_type="run_interrupted",
    message="The server stopped while this run was under way. What it had said is kept; send a message to go on.",
)


def interrupted_end(turn: Turn, usage: Usage) -> End:
    """How a run ends that was interrupted."""
    reason = turn.interrupted or "error"
    return End(reason, usage, None if reason == "cancelled" else INTERRUPTED)


def voice_of(request: TurnRequest) -> Voice | None:
    """The voice a request asks for."""
    if not request.use_assistant_message:
        return None
    return Voice(request.assistant_message_tool_name, request.assistant_message_tool_kwarg)
