"""A runner on a real database, with a model that says what the test has written down for it."""

import asyncio
import contextlib
import gc
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from perdure.domain import events
from perdure.domain.agents import Agent
from perdure.domain.conversations import Conversation
from perdure.domain.errors import NotFound
from perdure.domain.events import AnyEvent, Started
from perdure.domain.ids import DEFAULT_TENANT, new_id, now
from perdure.domain.messages import Message, TextPart
from perdure.domain.models import Model
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Run
from perdure.loop.turn import Rooms
from perdure.providers.base import AnyDelta, Finished, ModelRequest, TextDelta, ToolCallDelta
from perdure.providers.openai_body import Quirks, chat_body
from perdure.runs.follower import Follower
from perdure.runs.policy import Policy
from perdure.runs.runner import Runner
from perdure.store import agents, conversations, messages, runs, tools
from perdure.store.database import Database
from perdure.store.migrate import bring_up_to_date
from perdure.tools.executor import Executor
from perdure.tools.registry import Registry
from tests.rig.history import faults_of
from tests.rig.stores import Place

T = TypeVar("T")
Numbered = tuple[int, AnyEvent]
Said = str | AnyDelta | list[AnyDelta] | asyncio.Event | Exception

LIMIT = 20.0
"""Seconds anything here may take."""

MODEL = Model(
    handle="voice/one", name="one", provider_name="voice", provider_type="voice", endpoint_type="voice",
    context_window=8_000,
)  # fmt: skip
OTHER = msgspec.structs.replace(MODEL, handle="voice/other", name="other", context_window=16_000)
"""Another one that the voice answers for."""


class Voice:
    """The model. Each answer is a row of things said: text, deltas, a pause, or an error it ends with."""

    def __init__(self) -> None:
        self.asked: list[ModelRequest] = []
        self.left: list[int] = []
        """Numbers of the answers whose asker went away before their end."""
        self.said = 0
        """Things said so far, in all answers."""
        self.when_asked: Callable[[], object] = lambda: None
        self._answers: deque[tuple[Said, ...]] = deque()

    def says(self, *said: Said) -> "Voice":
        """Queues an answer. It ends as it should, unless with an error."""
        self._answers.append(said)
        return self

    def says_next(self, *said: Said) -> None:
        """Puts an answer before those that are queued."""
        self._answers.appendleft(said)

    async def resolve(self, tenant: str, handle: str) -> Model:
        if handle not in (MODEL.handle, OTHER.handle):
            raise NotFound(f"Model {handle!r} not found")
        return MODEL if handle == MODEL.handle else OTHER

    def estimate(self, model: Model, size: int) -> int:
        return -(-size // 3)

    async def stream(self, tenant: str, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]:
        self.asked.append(request)
        self.when_asked()
        number = len(self.asked)
        calls = False
        try:
            for said in self._answers.popleft():
                if isinstance(said, asyncio.Event):
                    await said.wait()
                    continue
                if isinstance(said, Exception):
                    raise said
                batch = [TextDelta(said)] if isinstance(said, str) else said if isinstance(said, list) else [said]
                calls = calls or any(isinstance(delta, ToolCallDelta) for delta in batch)
                self.said += 1
                yield batch
            yield [Finished("tool_calls" if calls else "stop")]
        except (asyncio.CancelledError, GeneratorExit):
            self.left.append(number)
            raise

    @property
    def faults(self) -> list[str]:
        """What a strict provider would have refused of all that was asked."""
        return [fault for request in self.asked for fault in faults_of(json.loads(chat_body(request, Quirks())))]

    def heard(self, number: int = -1) -> list[str]:
        """The texts of one request's messages after the system message: what was said, called or returned."""
        return [spoken(message) for message in self.asked[number].messages[1:]]


def call(name: str, arguments: str = "{}", call_id: str = "call-1", index: int = 0) -> ToolCallDelta:
    return ToolCallDelta(index, arguments, call_id, name)


def spoken(message: Message) -> str:
    """What a message says, in a few words."""
    calls = [f"{part.name}({part.arguments})" for part in message.tool_calls]
    returns = [f"{part.status}: {part.text}" for part in message.tool_returns]
    return " ".join([*([message.text] if message.text else []), *calls, *returns])


class House:
    """The open database and the runner on it. Make it with `house`."""

    def __init__(self, place: Place, db: Database, voice: Voice, policy: Policy) -> None:
        self.place, self.db, self.voice = place, db, voice
        registry = Registry(("tests.runs.house:slow",))
        self.rooms = Rooms(db, voice, Executor(db, registry, LIMIT))
        self.builtin = registry.builtin_tools()
        self.runner = Runner(self.rooms, policy)

    async def agent(self, *names: str, **fields: Any) -> Agent:
        """A new agent with these tools."""
        thread = Conversation(id=new_id("conv"), agent_id=new_id("agent"), created_at=1, updated_at=1, is_default=True)
        made: dict[str, Any] = {"system": "You help.", "context_window": 8_000, **fields}
        agent = Agent(
            id=thread.agent_id, name="Ada", conversation_id=thread.id, model=MODEL, created_at=1, updated_at=1, **made
        )
        system = message_of(agent.id, agent.system, role="system")

        def store(conn: Connection) -> None:
            agents.create(conn, DEFAULT_TENANT, agent)
            conversations.create(conn, DEFAULT_TENANT, thread)
            messages.append(conn, DEFAULT_TENANT, thread.id, (system,))
            for tool in tools.by_names(conn, DEFAULT_TENANT, names):
                tools.attach(conn, agent.id, tool.id)

        await self.db.write(store)
        return agent

    async def ask(self, agent: Agent, text: str, **options: Any) -> Follower:
        """Sends text to the agent; what it says is shown token by token."""
        fields: dict[str, Any] = {"stream_tokens": True, **options}
        request = TurnRequest(agent_id=agent.id, input=(message_of(agent.id, text),), **fields)
        return await self.runner.start(DEFAULT_TENANT, request)

    async def follow(self, run_id: str, after: int = 0) -> Follower:
        return await self.runner.follow(DEFAULT_TENANT, run_id, after)

    async def run_of(self, run_id: str) -> Run:
        return await self.db.read(lambda conn: runs.get(conn, DEFAULT_TENANT, run_id))

    async def history(self, agent: Agent) -> list[str]:
        """What was said in the agent's conversation, in order, after the system message."""
        found = await self.db.read(lambda conn: messages.context(conn, agent.conversation_id))
        return [spoken(message) for message in found[1:]]

    async def context(self, agent: Agent, conversation_id: str | None = None) -> list[Message]:
        """What stands in the context of the agent's conversation, or of another."""
        thread = conversation_id or agent.conversation_id
        return await self.db.read(lambda conn: messages.context(conn, thread))

    def stored(self, query: str) -> list[tuple[Any, ...]]:
        """What is durable now, seen through a connection of its own."""
        return self.place.query(query)

    async def new_run(self, agent: Agent) -> str:
        """A stored run that nobody works."""
        run = Run(
            id=new_id("run"), agent_id=agent.id, conversation_id=new_id("conv"), status="running", created_at=now()
        )
        await self.db.write(lambda conn: runs.create(conn, DEFAULT_TENANT, run, runs.Origin(request=b"{}")))
        return run.id


def message_of(agent_id: str, text: str, role: Any = "user") -> Message:
    return Message(id=new_id("message"), agent_id=agent_id, role=role, parts=(TextPart(text=text),), created_at=now())


@contextlib.asynccontextmanager
async def house(
    place: Place, voice: Voice | None = None, *, patience: float = 5.0, recovers: bool = True, **policy: Any
) -> AsyncIterator[House]:
    """An open database with a runner that took up what was left there. Runs are cut off at the end."""
    db = await place.open(patience)
    await bring_up_to_date(db)
    made = House(place, db, voice or Voice(), Policy(**{"drain_seconds": 0.0, **policy}))
    await db.write(lambda conn: tools.seed(conn, DEFAULT_TENANT, made.builtin))
    try:
        if recovers:
            await made.runner.recover()
        yield made
    finally:
        await made.runner.close()
        await db.close()
    assert made.voice.faults == []


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a test's coroutine; one that hangs fails, and so does an error that nobody was told of."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        return await asyncio.wait_for(work, LIMIT)

    # In a thread, since what ought to end when it is cancelled may not.
    ended: Future[T] = Future()
    threading.Thread(target=_into, args=(ended, lambda: asyncio.run(watched())), daemon=True).start()
    result = ended.result(LIMIT + 10)
    gc.collect()
    assert complaints == [], complaints
    return result


def _into(ended: "Future[T]", work: Callable[[], T]) -> None:
    try:
        ended.set_result(work())
    except BaseException as error:  # noqa: BLE001 carried to the test
        ended.set_exception(error)


async def read(follower: Follower) -> list[Numbered]:
    """Everything from where a reader stands to the run's end."""
    found: list[Numbered] = []
    while (batch := await follower.next()) is not None:
        found += batch
    return found


async def until(follower: Follower, text: str) -> list[Numbered]:
    """Reads on until the text shown so far ends with `text`."""
    found: list[Numbered] = []
    while not said(found).endswith(text):
        batch = await follower.next()
        assert batch is not None, f"the run ended without {text!r}: {found}"
        found += batch
    return found


def said(found: Iterable[Numbered]) -> str:
    return "".join(event.text for _, event in found if isinstance(event, events.AssistantText))


def kinds(found: Iterable[Numbered]) -> list[str]:
    """The kinds of events in order, a row of one kind counted once."""
    names: list[str] = []
    for _, event in found:
        if not names or names[-1] != events.message_type(event):
            names.append(events.message_type(event))
    return names


def ending(found: Sequence[Numbered]) -> tuple[str, str | None]:
    """Why the run stopped, and the type of its error; the last events are those that end every run."""
    stopped = next(event for _, event in found if isinstance(event, events.Stopped))
    failed = [event.error.error_type for _, event in found if isinstance(event, events.Failed)]
    assert kinds(found)[-2 - len(failed) :] == ["stop_reason", "usage_statistics", "error_message"][: 2 + len(failed)]
    return stopped.stop_reason, failed[0] if failed else None


def numbers(found: Iterable[Numbered]) -> list[int]:
    return [number for number, _ in found]


def event(text: str = "x") -> AnyEvent:
    """Any event that holds a text."""
    return Started(1, text)


async def turns(count: int = 200) -> None:
    """Lets everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def soon(check: Callable[[], T]) -> T:
    """What `check` gives as soon as that is something."""
    deadline = asyncio.get_running_loop().time() + LIMIT / 2
    while True:
        if found := check():
            return found
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.005)


slow_began, slow_may_end = threading.Event(), threading.Event()


def slow(what: str) -> str:
    """Takes its time.

    Args:
        what: What to say in the end.
    """
    slow_began.set()
    slow_may_end.wait(LIMIT)
    return what
