"""Agents as models of OpenAI's clients: chat completions and lists of models, with an agent's id for a model's name."""

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection
from starlette.responses import Response

from perdure.api.auth import Caller, CallerDep
from perdure.api.event_stream import EventStream
from perdure.api.messages import read_images, start
from perdure.api.reply import refuse, reply
from perdure.domain.agents import DEFAULT_AGENT_TYPE, Agent
from perdure.domain.approvals import Decision
from perdure.domain.conversations import Conversation
from perdure.domain.errors import NotFound, Unprocessable
from perdure.domain.ids import example_id, is_id
from perdure.domain.runs import RunError
from perdure.loop.manner import must_call
from perdure.runs.follower import Follower, Numbered, read_to_end
from perdure.runs.pending import abandoned, pending_of
from perdure.store import agents as agent_store
from perdure.store import conversations as conversation_store
from perdure.store.agents import AgentFilter
from perdure.store.pages import MAX_LIMIT, Page
from perdure.wire.errors import run_failure
from perdure.wire.openai_chat import ChatAnswer, ChatFrames
from perdure.wire.openai_models import model_list, model_of
from perdure.wire.openai_requests import ChatBody, OpenAITurn


class Answer(Protocol):
    """A run put together into one object. `error` says why there is none."""

    error: RunError | None

    def take(self, batch: list[Numbered]) -> None: ...

    def body(self) -> dict[str, Any]: ...


async def create_chat_completion(caller: CallerDep, body: ChatBody) -> Response:
    """Send what is new in a chat to an agent; its answer is a completion, or a stream of chunks."""
    turn = body.turn()
    follower, own = await started(caller, turn)
    if turn.stream:
        return EventStream(follower, ChatFrames(follower.run_id, body.model, own, include_usage=body.include_usage))
    answer = ChatAnswer(follower.run_id, body.model, own, formed=turn.response_format is not None)
    return await whole(caller, follower, answer)


async def list_agent_models(caller: CallerDep) -> Response:
    """The agents, the newest first, as OpenAI's clients list models."""
    page = Page(limit=MAX_LIMIT)
    found = await caller.server.db.read(lambda conn: agent_store.list_page(conn, caller.tenant, AgentFilter(), page))
    return reply(model_list(found))


async def retrieve_agent_model(caller: CallerDep, model_id: str) -> Response:
    """An agent, or one of its conversations, as a model of OpenAI's clients."""
    _check_address(model_id)
    found = await caller.server.db.read(lambda conn: conversation_store.addressed(conn, caller.tenant, model_id, None))
    return reply(model_of(found))


async def started(caller: Caller, turn: OpenAITurn) -> tuple[Follower, frozenset[str]]:
    """A reader of the run that this request starts, and the names of the caller's own tools."""
    _check_address(turn.address)
    if turn.conversation is not None and not is_id("conv", turn.conversation):
        text = (
            f"Conversations here have ids such as {example_id('conv')}; POST /v1/conversations/?agent_id=… makes one."
        )
        raise Unprocessable(text, ("conversation",))

    def find(conn: Connection) -> tuple[Conversation, Sequence[Decision]]:
        found = conversation_store.addressed(conn, caller.tenant, turn.address, None)
        if turn.conversation not in (None, found.id):
            found = conversation_store.addressed(conn, caller.tenant, turn.conversation, found.agent_id)
        if turn.response_format is not None:
            _check_formed(agent_store.get(conn, caller.tenant, found.agent_id))
        return found, _decisions(conn, found.id, turn)

    found, decisions = await caller.server.db.read(find)
    await read_images(caller, [message.content for message in turn.said])
    request = turn.request(found.agent_id, None if found.is_default else found.id, decisions, caller.project)
    return await start(caller, request), frozenset(tool.name for tool in turn.tools)


def _check_address(model: str) -> None:
    if not (is_id("agent", model) or is_id("conv", model)):
        raise NotFound(
            f"The model {model!r} does not exist. Models here are agents: give an agent's id, such as "
            f"{example_id('agent')}, or the id of one of its conversations."
        )


def _check_formed(agent: Agent) -> None:
    if must_call(agent.agent_type):
        raise Unprocessable(
            f"An agent of the type {agent.agent_type} speaks through a tool, in plain text only. "
            f"Ask for none, or an agent of the type {DEFAULT_AGENT_TYPE}.",
            ("response_format",),
        )


def _decisions(conn: Connection, conversation_id: str, turn: OpenAITurn) -> Sequence[Decision]:
    """What the request answers of the calls that are waited for.

    Its history may hold results from long ago, and it may lack those of calls that its sender has forgotten.
    """
    pending = pending_of(conn, conversation_id)
    if pending is None:
        return () if turn.said else turn.fresh
    waiting = {call.call_id for call in pending.calls}
    given = {answer.target: answer for answer in turn.answers if answer.target in waiting}
    if given or not turn.said:
        return tuple(given.values()) or turn.fresh
    forgotten = abandoned(conn, pending)
    return () if forgotten is None else (forgotten,)


async def whole(caller: Caller, follower: Follower, answer: Answer) -> Response:
    await read_to_end(follower, answer.take)
    if answer.error is not None:
        return refuse(caller.scope, run_failure(answer.error))
    return reply(answer.body())
