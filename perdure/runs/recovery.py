"""What is done about runs whose process is gone: their conversations are made whole, and what waited goes on.

What a client had been shown is kept: text that was committed to the event log but not yet to history becomes a message.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection

from perdure.domain import events
from perdure.domain.events import AnyEvent, Started, last_events, message_type
from perdure.domain.ids import now
from perdure.domain.messages import AnyPart, HiddenReasoningPart, Message, ReasoningPart, TextPart, ToolCallPart
from perdure.domain.runs import Run, Usage, is_group_run
from perdure.domain.tools import Tool
from perdure.loop import context
from perdure.loop.answer import whole
from perdure.loop.step import NOT_RUN_AFTER_ERROR
from perdure.loop.turn import INTERRUPTED, End, voice_of
from perdure.runs.accept import REQUEST_DECODER, Accepted, Snapshots, hand_over
from perdure.runs.ending import end_run
from perdure.runs.sleeptime import Take
from perdure.store import agents as agent_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store

MOST_MESSAGES: Final = 100_000
"""More than a run can hold."""
MOST_CLAIMS: Final = 5
"""How often a run may change hands by accident: one that takes its process down is not to go round for ever."""


class Kept(msgspec.Struct, frozen=True):
    """What was made of a run's loose ends: whether words were cut off, and the events that show the rest."""

    cut: bool
    events: list[AnyEvent]


class TakenUp(msgspec.Struct, frozen=True):
    """A run to go on with, or to keep waiting; `last` is the number of its newest event."""

    accepted: Accepted
    last: int


class Over(msgspec.Struct, frozen=True):
    """A run that is not to go on here: it was ended just now, which `started` others, or is another process's."""

    ended: bool
    started: Sequence[Accepted] = ()


def take_up(
    conn: Connection,
    run_id: str,
    server_id: str,
    snapshots: Snapshots,
    may_repeat: Callable[[Tool], bool],
    take: Take,
) -> TakenUp | Over:
    """Put the conversation of a run in order that this process has claimed.

    A run that had shown part of an answer ends with it; one that had shown nothing of it asks again (decision 19 of
    the contract). Calls that were begun stay open only where the loop can run one of them again.
    """
    found = run_store.hold(conn, run_id, server_id)
    if found is None:
        return Over(ended=False)
    claims, to_cancel = found
    tenant, run, _ = run_store.stored(conn, run_id)
    if run.status == "running":
        goes_on = not to_cancel and claims <= MOST_CLAIMS
        kept = Kept(cut=False, events=[])
        if not is_group_run(run):  # what its members said is in their own runs
            _, tools = snapshots.get(conn, tenant, run.agent_id, run.conversation_id)
            repeatable = {tool.name for tool in tools if may_repeat(tool)} if goes_on else set[str]()
            kept = keep_shown(conn, tenant, run, repeatable)
        run_store.log(conn, [(run.id, run_store.last_seq(conn, run.id) + 1, kept.events)] if kept.events else [])
        if kept.cut or not goes_on:
            return _end(conn, tenant, run, "cancelled" if to_cancel else "error", take)
    elif to_cancel:
        return _end(conn, tenant, run, "cancelled", take)
    else:
        hand_over(conn, run.conversation_id or "")
    return TakenUp(_accepted(conn, run_id, snapshots), run_store.last_seq(conn, run_id))


def give_up(conn: Connection, run_id: str, server_id: str) -> str | None:
    """End a run that cannot be taken up, whatever of it cannot be read; its conversation, if it was this process's."""
    if run_store.hold(conn, run_id, server_id) is None:
        return None
    conversation_id = run_store.write_off(conn, run_id, now(), INTERRUPTED)
    run_store.log(conn, [(run_id, run_store.last_seq(conn, run_id) + 1, last_events("error", Usage(), INTERRUPTED))])
    return conversation_id


def _accepted(conn: Connection, run_id: str, snapshots: Snapshots) -> Accepted:
    tenant, run, request = run_store.stored(conn, run_id)
    thread = None if is_group_run(run) else run.conversation_id
    agent, tools = snapshots.get(conn, tenant, run.agent_id, thread)
    started = run_store.events_after(conn, run_id, 0, limit=1)[0][1]
    assert isinstance(started, Started)
    return Accepted(
        tenant=tenant, run=run, agent=agent, tools=tools, conversation_id=run.conversation_id or agent.conversation_id,
        request=REQUEST_DECODER.decode(request), started=started,
    )  # fmt: skip


def keep_shown(conn: Connection, tenant: str, run: Run, repeatable: Collection[str] = ()) -> Kept:
    """Make history of what a run showed and did not get to keep, and answer the calls it left open.

    Whole calls stay open where one of them is of a `repeatable` tool.
    """
    conversation_id = run.conversation_id or ""
    history = message_store.context(conn, conversation_id)
    logged = run_store.events_after(conn, run.id, 0, limit=1_000_000, most_chars=sys.maxsize)
    # What a compaction took out of the context is history all the same.
    own = message_store.history(conn, tenant, run_ids=(run.id,), limit=MOST_MESSAGES)
    known = {message.id for message in (*history, *own)}
    broken = _broken(run, [event for _, event in logged], known)
    message_store.append(conn, tenant, conversation_id, broken)
    last = broken or [message for message in history[-1:] if message.role == "assistant"]
    calls = [call for message in last for call in message.tool_calls]
    if not broken and any(call.name in repeatable for call in calls):
        return Kept(cut=False, events=[])
    if not calls:
        return Kept(bool(broken), [])
    answer = context.unanswered(last[-1], calls, NOT_RUN_AFTER_ERROR if broken else context.OUTCOME_UNKNOWN)
    message_store.append(conn, tenant, conversation_id, (answer,))
    _, _, stored = run_store.stored(conn, run.id)
    request = REQUEST_DECODER.decode(stored)
    events = whole(answer, single_calls=request.single_calls, voice=voice_of(request))
    shown = request.message_types
    return Kept(bool(broken), [event for event in events if shown is None or message_type(event) in shown])


def _end(conn: Connection, tenant: str, run: Run, stop_reason: Literal["error", "cancelled"], take: Take) -> Over:
    """End a run where it stands, and give its conversation's turn to the next."""
    end = End(stop_reason, Usage(), INTERRUPTED if stop_reason == "error" else None)
    _, _, request = run_store.stored(conn, run.id)
    agent = agent_store.get(conn, tenant, run.agent_id)
    ended = end_run(conn, tenant, run, REQUEST_DECODER.decode(request), agent, end, take)
    run_store.log(conn, [(run.id, run_store.last_seq(conn, run.id) + 1, ended.events)])
    return Over(ended=True, started=ended.started)


def _broken(run: Run, logged: list[AnyEvent], known: set[str]) -> list[Message]:
    """The messages that were still being shown, put together from their fragments."""
    pieces: dict[str, list[events.Piece]] = {}
    for event in logged:
        if isinstance(event, events.Piece) and event.message_id not in known:
            pieces.setdefault(event.message_id, []).append(event)
    return [
        Message(
            id=message_id, agent_id=run.agent_id, parts=parts, created_at=shown[-1].at, step_id=shown[-1].step_id,
            role="approval" if isinstance(shown[0], events.ApprovalDelta | events.ApprovalRequest) else "assistant",
            run_id=run.id,
        )
        for message_id, shown in pieces.items()
        if (parts := _parts(shown))
    ]  # fmt: skip


def _parts(shown: list[events.Piece]) -> tuple[AnyPart, ...]:
    """The parts of one message, fragments of a part joined."""
    parts: dict[tuple[str, str], AnyPart] = {}
    texts: dict[tuple[str, str], list[str]] = {}
    for event in shown:
        key, text = (event.otid, ""), ""
        match event:
            case events.AssistantText(text=text):
                part = TextPart(text="")
            case events.Reasoning(text=text, native=native, signature=signature, call_id=call_id):
                part = ReasoningPart(text="", native=native, signature=signature, call_id=call_id)
            case events.HiddenReasoning(state=state, data=data):
                part = HiddenReasoningPart(state=state, data=data)
            case events.ToolCallDelta() | events.ApprovalDelta():
                key, text = (event.otid, event.call_id), event.arguments or ""
                part = parts.get(key, ToolCallPart(call_id=event.call_id, name=event.name or "", arguments=""))
            case _:
                continue
        parts[key] = part
        texts.setdefault(key, []).append(text)
    return tuple(_filled(part, "".join(texts[key])) for key, part in parts.items())


def _filled(part: AnyPart, text: str) -> AnyPart:
    match part:
        case TextPart() | ReasoningPart():
            return msgspec.structs.replace(part, text=text)
        case ToolCallPart():
            return msgspec.structs.replace(part, arguments=text)
        case _:
            return part
