"""How a request becomes a run: checked and made durable in one transaction, before the caller hears of it."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import Busy
from perdure.domain.events import Started
from perdure.domain.ids import new_id, now
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Run
from perdure.domain.tools import Tool
from perdure.store import agents as agent_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store import tools as tool_store

REQUEST_ENCODER = msgspec.json.Encoder()
REQUEST_DECODER = msgspec.json.Decoder(TurnRequest)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is now durable; `running` unless it waits behind another of its conversation."""

    tenant: str
    run: Run
    agent: Agent
    tools: tuple[Tool, ...]
    conversation_id: str
    request: TurnRequest
    started: Started

    @property
    def running(self) -> bool:
        return self.run.status == "running"


class Snapshots:
    """Agents with their tools as last read, each good for as long as its version is the stored one."""

    def __init__(self, most: int = 10_000) -> None:
        self._known: dict[str, tuple[Agent, tuple[Tool, ...]]] = {}
        self._most = most

    def get(self, conn: Connection, tenant: str, agent_id: str) -> tuple[Agent, tuple[Tool, ...]]:
        """The agent and its tools. Raises NotFound."""
        version = agent_store.find_version(conn, tenant, agent_id)
        known = self._known.get(agent_id)
        if known is not None and known[0].version == version:
            return known
        agent = agent_store.get(conn, tenant, agent_id)
        found = (agent, tool_store.of_agent(conn, agent_id))
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[agent_id] = found
        return found


def accept(
    conn: Connection, tenant: str, request: TurnRequest, snapshots: Snapshots, *, queue: bool, max_queued: int
) -> Accepted:
    """Store a run and its input. Raises NotFound for the agent, Busy where the conversation takes no more."""
    agent, tools = snapshots.get(conn, tenant, request.agent_id)
    conversation_id = request.conversation_id or agent.conversation_id
    ahead = run_store.active(conn, conversation_id)
    if ahead and (not queue or len(ahead) > max_queued):
        raise Busy(
            f"Cannot send a new message: Another request (run_id={ahead[0][0]}) is currently being processed for this "
            "conversation. Please wait for it to complete.",
            run_id=ahead[0][0],
        )
    run = Run(
        id=new_id("run"),
        agent_id=agent.id,
        conversation_id=conversation_id,
        status="created" if ahead else "running",
        created_at=now(),
        background=request.background,
        metadata={"run_type": request.run_type},
        request_config=_config(request),
    )
    run_store.create(
        conn, tenant, run, request=REQUEST_ENCODER.encode(request), otids=_otids(request), project=request.project
    )
    if run.status == "running":
        enter(conn, tenant, run, request)
    started = Started(run.created_at, new_id("ping"))
    run_store.log(conn, [(run.id, 1, (started,))])
    return Accepted(
        tenant=tenant, run=run, agent=agent, tools=tools, conversation_id=conversation_id, request=request,
        started=started,
    )  # fmt: skip


def enter(conn: Connection, tenant: str, run: Run, request: TurnRequest) -> None:
    """Put a run's input into history, at its turn."""
    at = now()
    added = [msgspec.structs.replace(message, run_id=run.id, created_at=at) for message in request.input]
    message_store.append(conn, tenant, run.conversation_id or "", added)


def hand_over(conn: Connection, conversation_id: str) -> str | None:
    """Give the turn of a conversation to the run that waited longest; returns its id, or None."""
    unfinished = run_store.active(conn, conversation_id)
    if not unfinished or any(status == "running" for _, status in unfinished):
        return None
    tenant, run, request = run_store.stored(conn, unfinished[0][0])
    run_store.begin(conn, run.id, now())
    enter(conn, tenant, run, REQUEST_DECODER.decode(request))
    return run.id


def _config(request: TurnRequest) -> dict[str, Any]:
    kept = request.message_types
    return {
        "use_assistant_message": request.use_assistant_message,
        "assistant_message_tool_name": request.assistant_message_tool_name,
        "assistant_message_tool_kwarg": request.assistant_message_tool_kwarg,
        "include_return_message_types": None if kept is None else sorted(kept),
    }


def _otids(request: TurnRequest) -> str | None:
    """The caller's own names for its messages, which identify a request that is sent twice."""
    return "|".join(message.otid or "" for message in request.input) or None
