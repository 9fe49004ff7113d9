"""Compaction: what fills a context too much leaves it, and a summary of it takes its place.

    load ──► find a cut ──► announce ──► ask for a summary ──► keep, in one transaction
                 │                            │
                 └► nothing may go: unchanged  └► none came: where it cannot wait, a note takes its place

History is never touched: a message that leaves the context stays where it stands. Until the one transaction that keeps
it all, the old context holds, whatever is cancelled or crashes.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain import events
from perdure.domain.compaction import CompactionStats, Trigger, merged, settings_of
from perdure.domain.events import AnyEvent
from perdure.domain.ids import new_id, new_uuid, now, otid
from perdure.domain.messages import Message, SummaryPart, TextPart
from perdure.domain.runs import RunError, Usage
from perdure.loop import context
from perdure.loop.cut import Cut, find_cut, wanted_by
from perdure.loop.room import Room, shortened
from perdure.loop.summary import Material, Summariser
from perdure.loop.turn import Commit, Item, Rooms, Turn
from perdure.providers.estimate import size_of
from perdure.store import agents as agent_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store

SUMMARY_SHARE: Final = 0.1
"""The share of the window that a summary may take."""
LEAST_SUMMARY: Final = 300
"""Bytes that a summary may always have."""
SEARCH_TOOL: Final = "conversation_search"

LOST: Final = "{count} earlier messages left this context without a summary, since no model could write one."
FOUND: Final = "conversation_search finds what was said in them."


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why to compact.

    An `urgent` compaction makes room even where no summary can be had. With `utmost` all goes that may.
    """

    trigger: Trigger
    urgent: bool = False
    utmost: bool = False


class Compaction:
    """One compaction of a run's context. Once `run` is through, `messages` is the context as it is now, or None."""

    def __init__(self, turn: Turn, rooms: Rooms, room: Room, reason: Reason) -> None:
        asked = turn.request.compaction
        stored = turn.agent.compaction_settings or {}
        self.messages: list[Message] | None = None
        self._settings = settings_of(stored if asked is None else merged(stored, asked.settings))
        self._turn = turn
        self._room = room
        self._reason = reason
        self._summariser = Summariser(turn, rooms.models, self._settings, room)
        self._stored: list[Message] = []
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """What it cost; `context_tokens` is the estimate of what is in context now, where that changed."""
        after = None if self.messages is None else self._room.tokens(self._sent(self.messages))
        return msgspec.structs.replace(self._summariser.usage, context_tokens=after)

    @property
    def error(self) -> RunError | None:
        """Why no summary came; None where one did, or none was asked for."""
        return None if self.messages is not None else self._summariser.error

    async def run(self) -> AsyncIterator[Item]:
        """Work it. What is not urgent leaves everything as it was where no summary can be had."""
        turn = self._turn
        # Also waits for what the loop has posted, so that all of it is seen.
        yield Commit(self._load)
        sent = self._sent(self._stored)
        cut = self._cut(sent)
        if cut is None:
            return
        before = self._room.tokens(sent)
        announced = turn.request.include_compaction_messages
        if announced:
            yield [events.CompactionBegan(now(), new_uuid(), self._reason.trigger, before, self._room.window)]
        upto = self._sent([self._stored[0], *cut.before, *cut.said, *cut.after])
        most = self._most(sent, cut)
        text = await self._summariser.sum_up(Material(upto, cut.out, cut.said), most)
        if text is None and (turn.interrupted or not self._reason.urgent):
            yield Commit(self._record)
            return
        text = text or shortened(self._without_summary(cut), most)
        yield Commit(lambda conn: self._keep(conn, cut, text, before, announced=announced))

    def _load(self, conn: Connection) -> Sequence[AnyEvent]:
        self._stored = message_store.context(conn, self._turn.conversation_id)
        return ()

    def _sent(self, stored: Sequence[Message]) -> list[Message]:
        """A context as it is sent to the model."""
        turn = self._turn
        return self._room.capped(context.assemble(turn.agent, turn.request, stored))

    def _cut(self, sent: Sequence[Message]) -> Cut | None:
        room, asked = self._room, self._turn.request.compaction
        sizes = {message.id: size_of((message,)) for message in sent}
        history = self._stored[1:]
        fixed = room.tools + size_of(sent[:1]) + room.size(room.holds * SUMMARY_SHARE)
        size = room.size(room.holds * (1 - self._settings.sliding_window_percentage)) - fixed
        wanted = wanted_by(self._settings, len(history), size)
        wanted = msgspec.structs.replace(wanted, utmost=self._reason.utmost)
        if asked is not None and asked.max_messages is not None:
            # The system message and the summary stay, too.
            wanted = msgspec.structs.replace(wanted, messages=max(0, asked.max_messages - 2), least=0)
        return find_cut(history, [sizes.get(message.id, 0) for message in history], wanted)

    def _most(self, sent: Sequence[Message], cut: Cut) -> int:
        """Bytes that the summary may take: its share of the window, or what the rest leaves of it."""
        room, stays = self._room, {message.id for message in cut.stays}
        rest = room.tools + size_of(sent[:1]) + size_of([message for message in sent if message.id in stays])
        most = min(room.size(room.holds * SUMMARY_SHARE), room.size(room.limit) - rest)
        return max(LEAST_SUMMARY, most)

    def _without_summary(self, cut: Cut) -> str:
        """What takes the place of messages that nobody summed up: the summary before them, and a note."""
        lost = [LOST.format(count=sum(message.role != "summary" for message in cut.out))]
        if any(tool.name == SEARCH_TOOL for tool in self._turn.tools):
            lost.append(FOUND)
        earlier = [message.summary.text for message in cut.out if message.summary is not None]
        return "\n\n".join([*earlier, " ".join(lost)])

    def _record(self, conn: Connection) -> Sequence[AnyEvent]:
        """Store what was asked of models."""
        for step in self._summariser.steps:
            run_store.record_step(conn, self._turn.tenant, step)
        return ()

    def _keep(self, conn: Connection, cut: Cut, text: str, before: int, *, announced: bool) -> Sequence[AnyEvent]:
        """Store the summary and take what it is of out of the context, whose system message is compiled anew."""
        turn, room = self._turn, self._room
        self._record(conn)
        message_store.leave_context(conn, turn.conversation_id, [message.seq for message in cut.out])
        agent = agent_store.hold(conn, turn.tenant, turn.agent.id)
        compiled = (TextPart(text=context.compiled(conn, agent, turn.conversation_id)),)
        message_store.rewrite(conn, turn.tenant, self._stored[0], compiled)
        system = msgspec.structs.replace(self._stored[0], parts=compiled)
        part = SummaryPart(text=text, announced=announced)
        summary = Message(
            id=new_id("message"), agent_id=agent.id, role="summary", parts=(part,), created_at=now(),
            step_id=self._summariser.steps[-1].id if self._summariser.steps else None, run_id=turn.run_id,
        )  # fmt: skip
        stats = CompactionStats(
            trigger=self._reason.trigger, context_tokens_before=before, context_window=room.window,
            context_tokens_after=room.tokens(self._sent([system, summary, *cut.stays])),
            messages_count_before=len(self._stored), messages_count_after=len(cut.stays) + 2,
        )  # fmt: skip
        summary = msgspec.structs.replace(summary, parts=(msgspec.structs.replace(part, stats=stats),))
        message_store.stand_before(conn, turn.tenant, turn.conversation_id, summary, cut.stays[0].seq)
        self.messages = message_store.context(conn, turn.conversation_id)
        if not announced:
            return ()
        return (events.Summary(summary.created_at, summary.id, otid(summary.id, 0), summary.step_id, text, stats),)
