"""Whatever a history holds, whatever a model does: the context stays valid, its tail stays, and it fits if it can."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.domain.agents import Agent
from perdure.domain.errors import ContextOverflow, ModelError
from perdure.domain.ids import DEFAULT_TENANT, new_id, now
from perdure.domain.messages import (
    AnyPart,
    ApprovalPart,
    ImagePart,
    Message,
    Role,
    SummaryPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.domain.models import Model
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Run
from perdure.domain.tools import Tool
from perdure.loop.agent_loop import agent_loop
from perdure.loop.turn import Commit, End, Rooms, Turn
from perdure.providers.base import AnyDelta, Finished, ModelRequest, TextDelta
from perdure.providers.estimate import size_of
from perdure.providers.openai_body import Quirks, chat_body
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.tools.executor import Executor
from perdure.tools.registry import Registry
from tests.memory.home import LIMIT, MODEL, Home
from tests.rig.history import faults_of
from tests.rig.stores import SqlitePlace

SUMMARY = "They talked of this and that. "
TOOL = Tool(
    id="tool-1", name="look", tool_type="custom", description="Looks.",
    json_schema={"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
)  # fmt: skip


class Moody:
    """A model that holds `real` tokens, and whose summaries come as written down: a text, or how they fail."""

    def __init__(self, real: int, summaries: Sequence[str]) -> None:
        self.real = real
        self.summaries = list(summaries)
        self.asked: list[ModelRequest] = []
        self.answered: ModelRequest | None = None
        self.sizes: list[int] = []
        """Tokens of what was sent to be answered."""

    async def resolve(self, tenant: str, handle: str) -> Model:
        return MODEL

    def estimate(self, model: Model, size: int) -> int:
        return -(-size // 3)

    async def stream(self, tenant: str, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]:
        self.asked.append(request)
        tokens = self.estimate(MODEL, size_of(request.messages, request.tools))
        last = request.messages[-1].text
        is_summary = "<transcript>" in last or "to leave your view" in last
        self.sizes += [] if is_summary else [tokens]
        if tokens > self.real:
            raise ContextOverflow("llm_bad_request", "prompt is too long")
        if is_summary:
            mood = self.summaries.pop(0) if self.summaries else "well"
            if mood == "down":
                raise ModelError("llm_error", "down")
            yield [TextDelta({"well": SUMMARY, "empty": " ", "endless": SUMMARY * 3_000}[mood])]
        else:
            self.answered = request
            yield [TextDelta("Yes.")]
        yield [Finished("stop")]


def said(role: Role, *parts: AnyPart, **fields: Any) -> Message:
    return Message(id=new_id("message"), agent_id="", role=role, parts=parts, created_at=now(), **fields)


def made(kind: str, size: int, number: int) -> Iterator[Message]:
    """The messages of one thing that happened; `size` is in characters."""
    text = f"{kind} {number} ".ljust(size, "é")
    call = ToolCallPart(call_id=f"call-{number}", name="look", arguments=json.dumps({"what": text}))
    second = ToolCallPart(call_id=f"more-{number}", name="look", arguments="{}")
    returned = ToolReturnPart(call_id=call.call_id, name="look", status="success", text=text)
    match kind:
        case "user" | "assistant" | "system":
            yield said(kind, TextPart(text=text))
        case "called":
            yield said("assistant", TextPart(text="Looking."), call, second, step_id=f"step-{number}")
            yield said("tool", returned, ToolReturnPart(call_id=second.call_id, name="look", status="error", text="no"))
        case "approved":
            yield said("assistant", second, step_id=f"step-{number}")
            yield said("approval", call, step_id=f"step-{number}")
            yield said("approval", ApprovalPart(call_id=call.call_id, approve=True))
            yield said("tool", returned, ToolReturnPart(call_id=second.call_id, name="look", status="error", text="no"))
        case "dangling":
            yield said("assistant", call)
        case "stray":
            yield said("tool", returned)
        case "beaten":
            yield said("assistant", call)
            yield said("tool", returned)
            note = {"type": "heartbeat", "reason": "go on", "time": "now"}
            yield said("user", TextPart(text=json.dumps(note)))
        case "picture":
            yield said("user", TextPart(text=text), ImagePart(media_type="image/png", data="AAAA"))


KINDS = ["user", "assistant", "system", "called", "approved", "dangling", "stray", "beaten", "picture"]
HAPPENED = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 6_000)), max_size=30)
MODES = ["sliding_window", "all", "self_compact_all", "self_compact_sliding_window"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with Home(SqlitePlace(tmp_path_factory.mktemp("property"))) as opened:
        yield opened


def begin(home: Home, happened: list[tuple[str, int]], asks: int, summed_up: bool, **fields: Any) -> tuple[Agent, Run]:
    """An agent with this history, and a run whose input is the last message of it."""
    agent = home.agent(**fields)
    history = [said("system", TextPart(text=agent.system))]
    if summed_up:
        history.append(said("summary", SummaryPart(text="Earlier.")))
    for number, (kind, size) in enumerate(happened):
        history += made(kind, size, number)
    thread = agent.conversation_id
    run = Run(id=new_id("run"), agent_id=agent.id, conversation_id=thread, status="running", created_at=1)
    history.append(said("user", TextPart(text="Well? ".ljust(asks, "?")), run_id=run.id))
    history = [msgspec.structs.replace(message, agent_id=agent.id) for message in history]

    def store(conn: Any) -> None:
        run_store.create(conn, DEFAULT_TENANT, run, run_store.Origin(request=b"{}"))
        message_store.append(conn, DEFAULT_TENANT, thread, history)

    home.write(store)
    return agent, run


async def work(home: Home, agent: Agent, run: Run, models: Moody) -> End:
    """Works the run as the runner would."""
    turn = Turn(
        tenant=DEFAULT_TENANT, run_id=run.id, conversation_id=agent.conversation_id, agent=agent, model=agent.model,
        tools=(TOOL,), client_tools=frozenset(), request=TurnRequest(agent_id=agent.id, input=()),
    )  # fmt: skip
    rooms = Rooms(home.db, models, Executor(home.db, Registry(), LIMIT))
    async for item in agent_loop(turn, rooms):
        if isinstance(item, End):
            return item
        if isinstance(item, Commit):
            await home.db.write(item.write)
    raise AssertionError("no end")


def stored(home: Home, agent: Agent) -> list[Message]:
    return home.read(
        lambda conn: message_store.history(
            conn, DEFAULT_TENANT, conversation_id=agent.conversation_id, newest_first=False, limit=10_000
        )
    )


@given(
    happened=HAPPENED,
    asks=st.integers(1, 30_000),
    window=st.integers(700, 8_000),
    real=st.floats(0.5, 1.2),
    mode=st.sampled_from(MODES),
    moods=st.lists(st.sampled_from(["well", "down", "empty", "endless"]), max_size=4),
    summed_up=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_leads_to_an_answer(
    home: Home,
    happened: list[tuple[str, int]],
    asks: int,
    window: int,
    real: float,
    mode: str,
    moods: list[str],
    summed_up: bool,
) -> None:
    agent, run = begin(
        home, happened, asks, summed_up, context_window=window, compaction_settings={"mode": mode}
    )  # fmt: skip
    before = stored(home, agent)
    models = Moody(int(window * real), moods)
    end = home.run(work(home, agent, run, models))
    faults = [fault for each in models.asked for fault in faults_of(json.loads(chat_body(each, Quirks())))]
    assert faults == []
    assert end.stop_reason == "end_turn", end
    assert len(models.asked) <= 24
    assert max(models.sizes) <= 0.9 * window
    assert models.answered is not None
    assert models.answered.messages[-1].text.startswith("Well?"[:asks])
    context = home.read(lambda conn: message_store.context(conn, agent.conversation_id))
    check_context(context, before)
    after = [message for message in stored(home, agent) if message.role != "summary"]
    kept = [message for message in before if message.role != "summary"]
    assert [message.id for message in after[1:-1]] == [message.id for message in kept[1:]]
    assert [message.parts for message in after[1:-1]] == [message.parts for message in kept[1:]]


def check_context(context: list[Message], before: list[Message]) -> None:
    """System message, at most one summary, then what was there before in its order, no call without its returns."""
    assert context[0].role == "system"
    assert [message.role for message in context[2:]].count("summary") == 0
    assert [message.text for message in context[-2:]] == [before[-1].text, "Yes."]
    places = {message.id: at for at, message in enumerate(before)}
    found = [places[message.id] for message in context[1:-1] if message.role != "summary"]
    assert found == sorted(found)
    inside = set(found)
    for at, message in enumerate(before[1:-1], 1):
        answered = {part.call_id for part in message.tool_returns}
        asked = [
            place for place, other in enumerate(before[:at]) if answered & {call.call_id for call in other.tool_calls}
        ]
        for place in asked:
            assert (place in inside) == (at in inside), "a call and its return are parted"
