"""What is done about runs whose process is gone: their conversations are made whole, and what waited goes on.

What a client had been shown is kept: text that was committed to the event log but not yet to history becomes a message.
"""

import msgspec
from sqlalchemy import Connection

from perdure.domain import events
from perdure.domain.events import AnyEvent, Started, last_events, message_type
from perdure.domain.ids import now
from perdure.domain.messages import AnyPart, Message, ReasoningPart, TextPart, ToolCallPart
from perdure.domain.runs import Run, Usage, status_of
from perdure.loop import context
from perdure.loop.answer import whole
from perdure.loop.turn import INTERRUPTED, voice_of
from perdure.runs.accept import REQUEST_DECODER, Accepted, Snapshots, hand_over
from perdure.store import messages as message_store
from perdure.store import runs as run_store


class Recovered(msgspec.Struct, frozen=True):
    """How many runs were ended; those to go on, each with the number of its newest event; those that wait."""

    ended: int
    resumed: list[tuple[Accepted, int]]
    waiting: list[Accepted]


class Kept(msgspec.Struct, frozen=True):
    """What was made of a run's loose ends: whether words were cut off, and the events that show the rest."""

    cut: bool
    events: list[AnyEvent]


def recover(conn: Connection, snapshots: Snapshots) -> Recovered:
    """Put every conversation with an unfinished run in order.

    A run that had shown part of an answer ends with it; one that had shown nothing of it asks again (decision 19 of
    the contract).
    """
    ended, resumed, waiting = 0, list[tuple[Accepted, int]](), list[str]()
    conversations: dict[str, None] = {}
    for run_id in run_store.unfinished(conn):
        tenant, run, _ = run_store.stored(conn, run_id)
        conversations[run.conversation_id or ""] = None
        if run.status == "created":
            waiting.append(run_id)
            continue
        kept = keep_shown(conn, tenant, run)
        run_store.log(conn, [(run.id, run_store.last_seq(conn, run.id) + 1, kept.events)] if kept.events else [])
        if kept.cut:
            _end(conn, run)
            ended += 1
        else:
            resumed.append((_accepted(conn, run_id, snapshots), run_store.last_seq(conn, run_id)))
    for conversation_id in conversations:
        hand_over(conn, conversation_id)
    return Recovered(ended, resumed, [_accepted(conn, run_id, snapshots) for run_id in waiting])


def _accepted(conn: Connection, run_id: str, snapshots: Snapshots) -> Accepted:
    tenant, run, request = run_store.stored(conn, run_id)
    agent, tools = snapshots.get(conn, tenant, run.agent_id, run.conversation_id)
    started = run_store.events_after(conn, run_id, 0, limit=1)[0][1]
    assert isinstance(started, Started)
    return Accepted(
        tenant=tenant, run=run, agent=agent, tools=tools, conversation_id=run.conversation_id or agent.conversation_id,
        request=REQUEST_DECODER.decode(request), started=started,
    )  # fmt: skip


def keep_shown(conn: Connection, tenant: str, run: Run) -> Kept:
    """Make history of what a run showed and did not get to keep, and answer the calls it left open."""
    conversation_id = run.conversation_id or ""
    history = message_store.context(conn, conversation_id)
    logged = run_store.events_after(conn, run.id, 0, limit=1_000_000)
    known = {message.id for message in history}
    partial = _partial(run, [event for _, event in logged], known)
    if partial is not None:
        message_store.append(conn, tenant, conversation_id, (partial,))
        history.append(partial)
    if not history or history[-1].role != "assistant" or not history[-1].tool_calls:
        return Kept(partial is not None, [])
    why = "This call was not run: the model's answer broke off." if partial else context.OUTCOME_UNKNOWN
    answer = context.unanswered(history[-1], history[-1].tool_calls, why)
    message_store.append(conn, tenant, conversation_id, (answer,))
    _, _, stored = run_store.stored(conn, run.id)
    request = REQUEST_DECODER.decode(stored)
    events = whole(answer, single_calls=request.single_calls, voice=voice_of(request))
    shown = request.message_types
    return Kept(partial is not None, [event for event in events if shown is None or message_type(event) in shown])


def _end(conn: Connection, run: Run) -> None:
    """End one run: record that it was interrupted."""
    last = last_events("error", Usage(), INTERRUPTED)
    run_store.log(conn, [(run.id, run_store.last_seq(conn, run.id) + 1, last)])
    at = now()
    run_store.finish(
        conn, run.id, status=status_of("error"), stop_reason="error", usage=Usage(),
        metadata={**run.metadata, "error": msgspec.structs.asdict(INTERRUPTED)}, at=at, ttft_ns=None,
        total_ns=(at - run.created_at) * 1000,
    )  # fmt: skip


def _partial(run: Run, logged: list[AnyEvent], known: set[str]) -> Message | None:
    """The message that was still being shown, put together from its fragments."""
    shown = [event for event in logged if isinstance(event, events.Piece) and event.message_id not in known]
    chunks: dict[tuple[str, str], list[str]] = {}
    empty: dict[tuple[str, str], TextPart | ReasoningPart | ToolCallPart] = {}
    for event in shown:
        match event:
            case events.AssistantText(otid=otid, text=text):
                key, part = (otid, ""), TextPart(text="")
            case events.Reasoning(otid=otid, text=text, native=native):
                key, part = (otid, ""), ReasoningPart(text="", native=native)
            case events.ToolCallDelta(otid=otid, call_id=call_id, name=name, arguments=arguments):
                text = arguments or ""
                key, part = (otid, call_id), ToolCallPart(call_id=call_id, name=name or "", arguments="")
            case _:
                continue
        empty.setdefault(key, part)
        chunks.setdefault(key, []).append(text)
    if not empty:
        return None
    last = shown[-1]
    return Message(
        id=last.message_id, agent_id=run.agent_id, role="assistant",
        parts=tuple(_filled(part, "".join(chunks[key])) for key, part in empty.items()), created_at=last.at,
        step_id=last.step_id, run_id=run.id,
    )  # fmt: skip


def _filled(part: TextPart | ReasoningPart | ToolCallPart, text: str) -> AnyPart:
    if isinstance(part, ToolCallPart):
        return msgspec.structs.replace(part, arguments=text)
    return msgspec.structs.replace(part, text=text)
