"""Messages: sent to an agent and answered as a stream or as JSON, and read back."""

from collections.abc import Callable, Iterable
from typing import Annotated, Final, Literal

import msgspec
from fastapi import Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection
from starlette.responses import Response

from perdure.agents.update import refuse_running
from perdure.api.attempt import attempt_of
from perdure.api.auth import Caller, CallerDep
from perdure.api.event_stream import EventStream
from perdure.api.images import inline_images
from perdure.api.in_turn import in_turn
from perdure.api.paths import AgentId, MessageId
from perdure.api.reply import refuse, reply
from perdure.api.results import result
from perdure.api.runs import shown_run
from perdure.domain.errors import Conflict, Invalid, Unprocessable, not_found
from perdure.domain.messages import VOICE, AnyPart, Message, ReasoningPart, Role, TextPart, ToolCallPart, Voice
from perdure.domain.requests import Errand, TurnRequest
from perdure.domain.runs import RunError
from perdure.runs.callback import check_callback
from perdure.runs.follower import Follower, read_to_end
from perdure.store import agents as agent_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.store.runs import RunFilter
from perdure.wire.contents import SentContent, TextContent
from perdure.wire.errors import run_failure
from perdure.wire.messages import public_all
from perdure.wire.requests import (
    AsyncMessageBody,
    MessageType,
    SendMessageBody,
    async_request,
    refuse_stream_options,
    turn_request,
)
from perdure.wire.sse import Frames
from perdure.wire.text import Body, Text

Order = Literal["asc", "desc"]


class CancelBody(Body):
    """Which runs to cancel; without any, all of the agent's that are under way."""

    run_ids: list[Text] | None = None


async def stream_message(caller: CallerDep, agent_id: AgentId, body: SendMessageBody) -> Response:
    """Process user messages and stream the agent's response: steps always, tokens if `stream_tokens` is set."""
    await read_images(caller, body.contents())
    request = turn_request(body, agent_id, caller.generation, run_type="send_message_streaming", project=caller.project)
    return await stream(caller, request, pings=body.include_pings)


async def send_message(caller: CallerDep, agent_id: AgentId, body: SendMessageBody) -> Response:
    """Process user messages; the answer is JSON, or a stream if `streaming` is set."""
    if not body.streaming:
        refuse_stream_options(body)
    await read_images(caller, body.contents())
    request = turn_request(body, agent_id, caller.generation, run_type="send_message", project=caller.project)
    if body.streaming:
        return await stream(caller, request, pings=body.include_pings)
    return await whole(caller, request)


async def send_message_async(caller: CallerDep, agent_id: AgentId, body: AsyncMessageBody) -> Response:
    """Process user messages after this has answered with the run, which can be followed or asked for later."""
    if body.callback_url is not None:
        check_callback(body.callback_url, allow_private=caller.server.private_callbacks)
    await read_images(caller, body.contents())
    request = async_request(body, agent_id, caller.generation, project=caller.project)
    follower = await start(caller, request)
    return reply(await shown_run(caller, follower.run_id))


async def cancel_messages(caller: CallerDep, agent_id: AgentId, body: CancelBody | None = None) -> Response:
    """Cancel an agent's runs, all that are under way or the ones named. What they said is kept."""
    wanted = body.run_ids if body is not None and body.run_ids else None

    def check(conn: Connection) -> None:
        agent_store.get(conn, caller.tenant, agent_id)
        for run_id in wanted or ():
            if run_store.get(conn, caller.tenant, run_id).agent_id != agent_id:
                raise not_found("Run", run_id)

    await caller.server.db.read(check)
    ended = await caller.server.runner.cancel(caller.tenant, agent_id=agent_id, run_ids=wanted)
    if wanted is None and not ended:
        raise Conflict(f"CONFLICT: No active runs to cancel for agent {agent_id}")
    # One that had ended already is reported like the others, so that cancelling twice is no error.
    return reply(dict.fromkeys(wanted or ended, "cancelled"))


async def read_images(caller: Caller, contents: Iterable[SentContent]) -> None:
    """Fetch the images that messages name by their addresses. Raises Invalid where that cannot be."""
    server = caller.server
    await inline_images(contents, allow_private=server.private_images, most=server.max_body)


async def start(caller: Caller, request: TurnRequest, *, queue: bool = True) -> Follower:
    """Start a run, or find the one that this request started when it was sent before; from here on it is durable.

    What a tool at work asks for is an errand of its run. Raises Conflict where the two would wait for each other.
    """
    if caller.run_id is not None:
        errand = Errand(caller.run_id, waits=not request.background)
        request = msgspec.structs.replace(request, errand=errand)
    follower = await caller.server.runner.start(caller.tenant, request, queue=queue, attempt=attempt_of(caller.scope))
    caller.committed()
    return follower


async def stream(caller: Caller, request: TurnRequest, *, pings: bool, queue: bool = True) -> Response:
    """Start a run and answer with what it says, as it says it."""
    follower = await start(caller, request, queue=queue)
    return EventStream(follower, Frames(follower.run_id, caller.generation, pings=pings))


async def whole(caller: Caller, request: TurnRequest, *, queue: bool = True) -> Response:
    """Start a run, wait for its end and answer with everything it said."""
    follower = await start(caller, request, queue=queue)
    await read_to_end(follower)
    ended = await caller.server.db.read(lambda conn: result(conn, caller.tenant, follower.run_id, caller.generation))
    error = ended.run.metadata.get("error")
    if error is not None:
        return refuse(caller.scope, run_failure(msgspec.convert(error, RunError)))
    return reply(ended.response)


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
    use_assistant_message: bool = True,
    assistant_message_tool_name: str = VOICE.tool,
    assistant_message_tool_kwarg: str = VOICE.argument,
) -> Response:
    """An agent's history. `after` is newer and `before` older, whatever the order; a page reads oldest to newest."""
    kinds = None if include_return_message_types is None else frozenset(include_return_message_types)
    voice = Voice(assistant_message_tool_name, assistant_message_tool_kwarg) if use_assistant_message else None

    def page(conn: Connection) -> list[Message]:
        agent = agent_store.get(conn, caller.tenant, agent_id)
        thread = agent.conversation_id if conversation_id in (None, "default") else conversation_id
        found = message_store.history(
            conn, caller.tenant, agent_id=agent_id, conversation_id=thread, group_id=group_id, before=before,
            after=after, newest_first=order == "desc", limit=limit, roles=_roles(kinds),
            keep=lambda message: bool(public_all([message], caller.generation, kinds, voice)),
        )  # fmt: skip
        return found[::-1] if order == "desc" else found

    stored = await caller.server.db.read(page)
    return reply(public_all(stored, caller.generation, kinds, voice))


async def list_all_messages(
    caller: CallerDep,
    before: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    order: Order = "desc",
    conversation_id: str | None = None,
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
) -> Response:
    """History across all agents. The cursors go on in the order asked for."""
    older, newer = (after, before) if order == "desc" else (before, after)
    kinds = None if include_return_message_types is None else frozenset(include_return_message_types)
    stored = await caller.server.db.read(
        lambda conn: message_store.history(
            conn, caller.tenant, conversation_id=conversation_id, before=older, after=newer,
            newest_first=order == "desc", limit=limit, roles=_roles(kinds),
            keep=lambda message: bool(public_all([message], caller.generation, kinds)),
        )
    )  # fmt: skip
    return reply(public_all(stored, caller.generation, kinds))


async def retrieve_message(caller: CallerDep, message_id: MessageId) -> Response:
    """The public messages of one stored message."""
    stored = await caller.server.db.read(lambda conn: message_store.get(conn, caller.tenant, message_id))
    return reply(public_all([stored], caller.generation))


class ModifyMessageBody(BaseModel):
    """The new text of one public message: `content`, or `reasoning` for a reasoning message."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    message_type: Literal["system_message", "user_message", "assistant_message", "reasoning_message"]
    content: Text | list[TextContent] | None = None
    reasoning: Text | None = None


async def modify_message(
    caller: CallerDep, agent_id: AgentId, message_id: MessageId, body: ModifyMessageBody
) -> Response:
    """Change what a stored message says, where it stands, once its agent is idle; the model sees it from then on."""
    return await change_message(caller, message_id, body, lambda message: message.agent_id == agent_id)


async def change_message(
    caller: Caller, message_id: str, body: ModifyMessageBody, belongs: Callable[[Message], bool]
) -> Response:
    """The same for a message of which is known where it `belongs`. Raises NotFound for any other."""
    content = body.reasoning if body.message_type == "reasoning_message" else body.content
    if not content:
        raise Unprocessable("Give the new text: `content`, or `reasoning` for a reasoning_message.", ("body",))
    text = content if isinstance(content, str) else "".join(part.text for part in content)

    def change(conn: Connection) -> Message:
        message = message_store.get(conn, caller.tenant, message_id)
        if not belongs(message):
            raise not_found("Message", message_id)
        refuse_running(conn, caller.tenant, "The message cannot be changed", RunFilter(agent_ids=(message.agent_id,)))
        changed = msgspec.structs.replace(message, parts=_with_text(message, body.message_type, text))
        message_store.rewrite(conn, caller.tenant, message, changed.parts)
        return changed

    changed = await in_turn(caller, change)
    shown = public_all([changed], caller.generation, frozenset({body.message_type}))
    return reply(shown[0])


def _with_text(message: Message, message_type: MessageType, text: str) -> tuple[AnyPart, ...]:
    """The message's parts with the text of one kind replaced, where the first of that kind stood."""
    if message_type == "user_message" and message.summary is not None:
        return (msgspec.structs.replace(message.summary, text=text),)
    kind = ReasoningPart if message_type == "reasoning_message" else TextPart
    places = [index for index, part in enumerate(message.parts) if isinstance(part, kind)]
    if not places and message_type == "assistant_message":
        places = [index for index, part in enumerate(message.parts) if VOICE.speaks(part)]
    if not places or message.role not in _KIND_ROLES[message_type]:
        raise Invalid(f"Message {message.id} holds no {message_type}; list the messages to see what it holds.")
    kept = [part for index, part in enumerate(message.parts) if index not in places[1:]]
    # A vendor's signature seals the text it came with; new text must not claim it.
    match kept[places[0]]:
        case ReasoningPart() as old:
            kept[places[0]] = msgspec.structs.replace(old, text=text, signature=None, extra={})
        case ToolCallPart() as call:
            kept[places[0]] = VOICE.saying(call, text)
        case _:
            kept[places[0]] = TextPart(text=text)
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
