"""Messages: sent to an agent and answered as a stream or as JSON, and read back."""

from typing import Annotated, Final, Literal

import msgspec
from fastapi import Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.event_stream import EventStream
from perdure.api.paths import AgentId, MessageId
from perdure.api.reply import refuse, reply
from perdure.domain.errors import Invalid, Unprocessable, not_found
from perdure.domain.events import AnyEvent, Failed, Stopped, UsageReported
from perdure.domain.messages import AnyPart, Message, ReasoningPart, Role, TextPart
from perdure.domain.requests import TurnRequest
from perdure.runs.follower import Follower
from perdure.store import agents as agent_store
from perdure.store import messages as message_store
from perdure.wire.errors import run_failure
from perdure.wire.messages import public_all, usage_statistics
from perdure.wire.requests import MessageType, SendMessageBody, TextContent, Words, turn_request
from perdure.wire.sse import Frames

Order = Literal["asc", "desc"]


async def stream_message(caller: CallerDep, agent_id: AgentId, body: SendMessageBody) -> Response:
    """Process user messages and stream the agent's response: steps always, tokens if `stream_tokens` is set."""
    request = turn_request(body, agent_id, caller.generation, run_type="send_message_streaming", project=caller.project)
    return await _stream(caller, request, pings=body.include_pings)


async def send_message(caller: CallerDep, agent_id: AgentId, body: SendMessageBody) -> Response:
    """Process user messages; the answer is JSON, or a stream if `streaming` is set."""
    request = turn_request(body, agent_id, caller.generation, run_type="send_message", project=caller.project)
    if body.streaming:
        return await _stream(caller, request, pings=body.include_pings)
    follower = await caller.server.runner.start(caller.tenant, request)
    caller.committed()
    return await _whole(caller, request, follower)


async def _stream(caller: Caller, request: TurnRequest, *, pings: bool) -> Response:
    follower = await caller.server.runner.start(caller.tenant, request)
    caller.committed()
    return EventStream(follower, Frames(follower.run_id, caller.generation, pings=pings))


async def _whole(caller: Caller, request: TurnRequest, follower: Follower) -> Response:
    """Wait for the run's end and answer with everything it said."""
    events = await _all(follower)
    failed = next((event for event in events if isinstance(event, Failed)), None)
    if failed is not None:
        return refuse(caller.scope, run_failure(failed.error))
    stopped = next(event for event in events if isinstance(event, Stopped))
    used = next(event for event in events if isinstance(event, UsageReported))
    said: tuple[Role, ...] = ("assistant", "tool", "approval")
    stored = await caller.server.db.read(
        lambda conn: message_store.history(
            conn, caller.tenant, run_id=follower.run_id, roles=said, newest_first=False, limit=100_000
        )
    )
    kinds = request.message_types or None
    return reply(
        {
            "messages": public_all(stored, caller.generation, kinds),
            "stop_reason": {"message_type": "stop_reason", "stop_reason": stopped.stop_reason},
            "usage": usage_statistics(used.usage),
            "logprobs": None,
            "turns": None,
        }
    )


async def _all(follower: Follower) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    while (batch := await follower.next()) is not None:
        events += [event for _, event in batch]
    return events


async def list_messages(
    caller: CallerDep,
    agent_id: AgentId,
    before: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    order: Order = "desc",
    group_id: str | None = None,
    conversation_id: str | None = None,
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
) -> Response:
    """An agent's history. `after` is newer and `before` older, whatever the order; a page reads oldest to newest."""
    kinds = None if include_return_message_types is None else frozenset(include_return_message_types)

    def page(conn: Connection) -> list[Message]:
        agent = agent_store.get(conn, caller.tenant, agent_id)
        thread = agent.conversation_id if conversation_id in (None, "default") else conversation_id
        found = message_store.history(
            conn, caller.tenant, agent_id=agent_id, conversation_id=thread, group_id=group_id, before=before,
            after=after, newest_first=order == "desc", limit=limit, roles=_roles(kinds),
        )  # fmt: skip
        return sorted(found, key=lambda message: message.seq)

    stored = await caller.server.db.read(page)
    return reply(public_all(stored, caller.generation, kinds))


async def list_all_messages(
    caller: CallerDep,
    before: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    order: Order = "desc",
    conversation_id: str | None = None,
) -> Response:
    """History across all agents. The cursors go on in the order asked for."""
    older, newer = (after, before) if order == "desc" else (before, after)
    thread = None if conversation_id == "default" else conversation_id
    stored = await caller.server.db.read(
        lambda conn: message_store.history(
            conn, caller.tenant, conversation_id=thread, before=older, after=newer, newest_first=order == "desc",
            limit=limit,
        )
    )  # fmt: skip
    return reply(public_all(stored, caller.generation))


async def retrieve_message(caller: CallerDep, message_id: MessageId) -> Response:
    """The public messages of one stored message."""
    stored = await caller.server.db.read(lambda conn: message_store.get(conn, caller.tenant, message_id))
    return reply(public_all([stored], caller.generation))


class ModifyMessageBody(BaseModel):
    """The new text of one public message: `content`, or `reasoning` for a reasoning message."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    message_type: Literal["system_message", "user_message", "assistant_message", "reasoning_message"]
    content: Words | list[TextContent] | None = None
    reasoning: Words | None = None


async def modify_message(
    caller: CallerDep, agent_id: AgentId, message_id: MessageId, body: ModifyMessageBody
) -> Response:
    """Change what a stored message says, where it stands; the next request shows the model the new text."""
    content = body.reasoning if body.message_type == "reasoning_message" else body.content
    if not content:
        raise Unprocessable("Give the new text: `content`, or `reasoning` for a reasoning_message.", ("body",))
    text = content if isinstance(content, str) else "".join(part.text for part in content)

    def change(conn: Connection) -> Message:
        message = message_store.get(conn, caller.tenant, message_id)
        if message.agent_id != agent_id:
            raise not_found("Message", message_id)
        changed = msgspec.structs.replace(message, parts=_with_text(message, body.message_type, text))
        message_store.rewrite(conn, caller.tenant, message, changed.parts)
        return changed

    changed = await caller.server.db.write(change)
    shown = public_all([changed], caller.generation, frozenset({body.message_type}))
    return reply(shown[0])


def _with_text(message: Message, message_type: MessageType, text: str) -> tuple[AnyPart, ...]:
    """The message's parts with the text of one kind replaced, where the first of that kind stood."""
    kind = ReasoningPart if message_type == "reasoning_message" else TextPart
    places = [index for index, part in enumerate(message.parts) if isinstance(part, kind)]
    if not places or message.role not in _KIND_ROLES[message_type]:
        raise Invalid(f"Message {message.id} holds no {message_type}; list the messages to see what it holds.")
    # A vendor's signature seals the text it came with; new text must not claim it.
    new = ReasoningPart(text=text) if kind is ReasoningPart else TextPart(text=text)
    kept = [part for index, part in enumerate(message.parts) if index not in places[1:]]
    kept[places[0]] = new
    return tuple(kept)


_KIND_ROLES: Final[dict[str, tuple[Role, ...]]] = {
    "system_message": ("system",),
    "user_message": ("user", "summary"),
    "assistant_message": ("assistant",),
    "reasoning_message": ("assistant",),
    "hidden_reasoning_message": ("assistant",),
    "tool_call_message": ("assistant",),
    "tool_return_message": ("tool",),
    "approval_request_message": ("approval",),
    "approval_response_message": ("approval",),
    "summary_message": ("summary",),
    "event_message": (),
}


def _roles(kinds: frozenset[str] | None) -> list[Role] | None:
    """Which stored roles can hold public messages of these kinds, so that a filter applies before a limit."""
    return None if kinds is None else [role for kind in kinds for role in _KIND_ROLES[kind]]
