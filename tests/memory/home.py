"""A real database with agents in it, for tests that need one without a server."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.blocks import Block
from perdure.domain.conversations import Conversation
from perdure.domain.ids import DEFAULT_TENANT, new_id, now
from perdure.domain.messages import AnyPart, Message, Role, TextPart
from perdure.domain.models import Model
from perdure.store import agents, blocks, conversations, messages
from perdure.store.migrate import bring_up_to_date
from tests.rig.stores import Place

T = TypeVar("T")
LIMIT = 20.0
"""Seconds a unit of work may take."""

MODEL = Model(
    handle="offline/echo", name="echo", provider_name="offline", provider_type="offline", endpoint_type="offline",
    context_window=8_000,
)  # fmt: skip


class Home:
    """The open database and the event loop that uses it, in a thread; leaving the `with` ends both."""

    def __init__(self, place: Place) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        try:
            self.db = self.run(place.open())
            self.run(bring_up_to_date(self.db))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> "Home":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            self.run(self.db.close())
        finally:
            self._end()

    def run(self, work: Coroutine[Any, Any, T], limit: float = LIMIT) -> T:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, limit), self._loop).result(limit + 10)

    def write(self, unit: Callable[[Connection], T]) -> T:
        return self.run(self.db.write(unit))

    def read(self, unit: Callable[[Connection], T]) -> T:
        return self.run(self.db.read(unit))

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()

    def agent(self, *held: Block, **fields: Any) -> Agent:
        """A new agent that holds these blocks."""
        thread = Conversation(id=new_id("conv"), agent_id=new_id("agent"), created_at=1, updated_at=1, is_default=True)
        agent = Agent(
            id=thread.agent_id, name="Ada", conversation_id=thread.id, system="You help.", model=MODEL,
            created_at=1, updated_at=1, **{"context_window": 8_000, **fields},
        )  # fmt: skip

        def store(conn: Connection) -> None:
            agents.create(conn, DEFAULT_TENANT, agent)
            conversations.create(conn, DEFAULT_TENANT, thread)
            for block in held:
                blocks.create(conn, DEFAULT_TENANT, block, actor="test")
                blocks.attach(conn, agent.id, block)

        self.write(store)
        return agent

    def say(self, agent: Agent, role: Role, said: str | AnyPart, at: int | None = None) -> Message:
        """A message in the agent's history; text, or one part of another kind."""
        part = TextPart(text=said) if isinstance(said, str) else said
        message = Message(
            id=new_id("message"), agent_id=agent.id, role=role, parts=(part,), created_at=now() if at is None else at
        )
        self.write(lambda conn: messages.append(conn, DEFAULT_TENANT, agent.conversation_id, (message,)))
        return message


def new_block(label: str, value: str, **fields: Any) -> Block:
    """A block that is not stored yet."""
    return Block(id=new_id("block"), label=label, value=value, created_at=1, updated_at=1, **fields)
