"""How a request becomes a run: checked and made durable in one transaction, before the caller hears of it."""

import hashlib
from typing import Any

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.approvals import Pending
from perdure.domain.conversations import agent_in
from perdure.domain.errors import Busy, Unprocessable, not_found
from perdure.domain.events import Started
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Run, RunStatus, is_group_run
from perdure.domain.tools import Tool
from perdure.loop.approval import refuse_all, return_chars, settle
from perdure.runs.errands import check_errand
from perdure.runs.pending import ABANDONED, abandoned, check_turn, decided_by, pending_of
from perdure.store import agents as agent_store
from perdure.store import conversations as conversation_store
from perdure.store import errands as errand_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store import signals
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


class Repeated(msgspec.Struct, frozen=True):
    """A request that is here already: `run_id` is the run it started when it came first."""

    run_id: str


class Snapshots:
    """Agents with their tools as last read, each good for as long as its version is the stored one.

    For units that write: an agent is held, so that nobody resets or deletes it before the unit ends.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._known: dict[str, tuple[Agent, tuple[Tool, ...]]] = {}
        self._most = most

    def get(
        self, conn: Connection, tenant: str, agent_id: str, conversation_id: str | None
    ) -> tuple[Agent, tuple[Tool, ...]]:
        """The agent as it works in a conversation (None is its default one), and its tools. Raises NotFound."""
        agent, tools = self._agent(conn, tenant, agent_id)
        if conversation_id in (None, agent.conversation_id):
            return agent, tools
        conversation = conversation_store.get(conn, tenant, conversation_id)
        if conversation.agent_id != agent.id:
            raise not_found("Conversation", conversation_id)
        return agent_in(agent, conversation), tools

    def _agent(self, conn: Connection, tenant: str, agent_id: str) -> tuple[Agent, tuple[Tool, ...]]:
        version = agent_store.hold_version(conn, tenant, agent_id)
        known = self._known.get(agent_id)
        if known is not None and known[0].version == version:
            return known
        agent = agent_store.get(conn, tenant, agent_id)
        found = (agent, tool_store.of_agent(conn, agent_id))
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[agent_id] = found
        return found


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a request is to be taken: by which process, as which attempt, and whether it may wait behind others."""

    owner: str
    attempt: str | None
    queue: bool
    max_queued: int
    max_chain: int = 8


def accept(
    conn: Connection, tenant: str, request: TurnRequest, snapshots: Snapshots, terms: Terms
) -> Accepted | Repeated:
    """Store a run and its input, unless the caller's names for its messages say that this was done before.

    Raises NotFound for the agent or the conversation, Busy where that takes no more, Unprocessable for names that are
    in use, and for an errand what `check_errand` raises.
    """
    if request.errand is not None and request.errand.waits:
        errand_store.hold(conn, tenant)
    agent, tools = snapshots.get(conn, tenant, request.agent_id, request.conversation_id)
    conversation_id = request.group_id or request.conversation_id or agent.conversation_id
    otids = _key(request.otids)
    if otids is not None and (known := run_store.find_by_otids(conn, conversation_id, otids)):
        return _repeated(conn, known, request)
    errand, depth = request.errand, 0
    if errand is not None:
        depth = check_errand(conn, tenant, errand, conversation_id, terms.max_chain)
    ahead = run_store.hold_active(conn, conversation_id)
    if request.decisions and (handled := decided_by(conn, conversation_id, request.decisions)):
        if not request.input:
            return Repeated(handled)
        request = msgspec.structs.replace(request, decisions=())
    pending: Pending | None = None
    if not ahead or request.decisions:
        pending = check_turn(conn, conversation_id, request, agent.context_window)
    if ahead and (not terms.queue or len(ahead) > terms.max_queued):
        raise Busy(
            f"CONFLICT: Cannot send a new message: Another request (run_id={ahead[0][0]}) is currently being processed "
            "for this conversation. Please wait for it to complete.",
            run_id=ahead[0][0],
        )
    # Runs get their turn in order of this time, whatever is done to the clock meanwhile.
    at = max(now(), run_store.newest(conn, conversation_id) + 1) if ahead else now()
    run = _run(request, agent, conversation_id, "created" if ahead else "running", at, depth)
    origin = run_store.Origin(
        request=REQUEST_ENCODER.encode(request), otids=otids, attempt=terms.attempt, project=request.project,
        owner=terms.owner,
    )  # fmt: skip
    run_store.create(conn, tenant, run, origin)
    if request.conversation_id not in (None, agent.conversation_id) and request.compaction is None:
        conversation_store.spoken_to(conn, conversation_id, run.created_at)
    if run.status == "running":
        enter(conn, tenant, run, request, agent, pending)
    started = Started(run.created_at, new_id("ping"))
    run_store.log(conn, [(run.id, 1, (started,))])
    return Accepted(
        tenant=tenant, run=run, agent=agent, tools=tools, conversation_id=conversation_id, request=request,
        started=started,
    )  # fmt: skip


def _run(
    request: TurnRequest, agent: Agent, conversation_id: str, status: RunStatus, created_at: int, depth: int
) -> Run:
    errand = request.errand
    return Run(
        id=new_id("run"),
        agent_id=agent.id,
        conversation_id=conversation_id,
        status=status,
        created_at=created_at,
        background=request.background,
        callback_url=request.callback_url,
        caller_id=None if errand is None else errand.caller_id,
        waited_for=errand is not None and errand.waits,
        depth=depth,
        metadata=_metadata(request),
        request_config=_config(request, agent),
    )


def _metadata(request: TurnRequest) -> dict[str, Any]:
    """What a run says of where it comes from."""
    errand = request.errand
    group_id = request.group_id or (errand and errand.group_id)
    said = {"run_type": request.run_type, "group_id": group_id, "caller_run_id": errand and errand.caller_id}
    return {name: value for name, value in said.items() if value is not None}


def enter(conn: Connection, tenant: str, run: Run, request: TurnRequest, agent: Agent, pending: Pending | None) -> None:
    """Put a run's input into history, at its turn. While a request for approval is pending, only decisions enter.

    What follows decisions enters with the returns of their calls (`loop/`). Input to a group enters the histories of
    its members, at their turns.
    """
    if request.group_id is not None:
        return
    conversation_id = run.conversation_id or ""
    if request.decisions and pending is not None:
        chars = return_chars(agent.context_window)
        response = settle(pending, request.decisions, run_id=run.id, return_chars=chars).response
        message_store.append(conn, tenant, conversation_id, (response,))
    elif pending is None:
        at = now()
        unsaid = request.input[_repeated_input(conn, conversation_id, request) :]
        added = [msgspec.structs.replace(message, run_id=run.id, created_at=at) for message in unsaid]
        message_store.append(conn, tenant, conversation_id, added)


def _repeated_input(conn: Connection, conversation_id: str, request: TurnRequest) -> int:
    """How many of a request's first messages stand last in history already: sent before, and never answered."""
    if not request.may_repeat:
        return 0
    known = [_content(message) for message in message_store.tail(conn, conversation_id, len(request.input))]
    sent = [_content(message) for message in request.input]
    return next((count for count in range(len(sent), 0, -1) if known[-count:] == sent[:count]), 0)


def hand_over(conn: Connection, conversation_id: str) -> str | None:
    """Give the turn of a conversation to the run that waited longest; returns its id, or None."""
    unfinished = run_store.active(conn, conversation_id)
    if not unfinished or any(status == "running" for _, status in unfinished):
        return None
    following = run_store.hold_next(conn, conversation_id)
    if following is None:
        return None
    tenant, run, request = run_store.stored(conn, following)
    run_store.begin(conn, run.id, now())
    if not is_group_run(run):
        conversation = conversation_store.get(conn, tenant, conversation_id)
        agent = agent_in(agent_store.get(conn, tenant, run.agent_id), conversation)
        asked, pending = REQUEST_DECODER.decode(request), pending_of(conn, conversation_id)
        if pending is not None and asked.may_repeat and not asked.decisions and abandoned(conn, pending) is not None:
            message_store.append(conn, tenant, conversation_id, refuse_all(pending, ABANDONED, run_id=run.id))
            pending = None
        enter(conn, tenant, run, asked, agent, pending)
    signals.notify(conn, f"turn {run.id}")
    return run.id


def _config(request: TurnRequest, agent: Agent) -> dict[str, Any]:
    kept = request.message_types
    asked = request.return_logprobs or agent.settings.return_logprobs
    return {
        "use_assistant_message": request.use_assistant_message,
        "assistant_message_tool_name": request.assistant_message_tool_name,
        "assistant_message_tool_kwarg": request.assistant_message_tool_kwarg,
        "include_return_message_types": None if kept is None else sorted(kept),
        **({"return_logprobs": True} if asked else {}),
    }


def find_run(conn: Connection, conversation_id: str, otid: str) -> str | None:
    """The id of the newest run that a message of this otid went to, in one conversation; None where there is none."""
    return run_store.find_by_otids(conn, conversation_id, _key((otid,)) or "") or run_store.find_by_request(
        conn, conversation_id, f'"otid":{REQUEST_ENCODER.encode(otid).decode()}'
    )


def _repeated(conn: Connection, run_id: str, request: TurnRequest) -> Repeated:
    """The run that these names started. Raises Unprocessable where they named something else then."""
    _, _, stored = run_store.stored(conn, run_id)
    first = REQUEST_DECODER.decode(stored)
    if _said(first) != _said(request):
        raise Unprocessable(
            f"These otids were given to other messages before, which started {run_id}. Messages that are sent again "
            "keep their otids; a new message needs a new one.",
            ("body", "messages"),
        )
    return Repeated(run_id)


def _said(request: TurnRequest) -> Any:
    return request.decisions, [_content(message) for message in request.input]


def _content(message: Message) -> Any:
    return message.role, message.name, message.parts


def _key(otids: tuple[str, ...]) -> str | None:
    """What a request's otids are looked up by. The caller chose them, so they may be of any length."""
    return hashlib.sha256(REQUEST_ENCODER.encode(otids)).hexdigest() if otids else None
