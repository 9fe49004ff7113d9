"""Running calls: whatever a tool does, the model gets an answer and the server stays alive."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import Unavailable
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.messages import ToolCallPart, ToolReturnPart
from perdure.domain.tools import Tool
from perdure.memory.blocks import edit
from perdure.store import blocks
from perdure.tools.executor import Executor
from perdure.tools.implementation import Acts, Arguments, Outcome, Returned, ToolContext
from perdure.tools.registry import Registry
from tests.memory.home import Home, new_block
from tests.rig.stores import SqlitePlace
from tests.tools import trusted

SOURCES = [
    f"tests.tools.trusted:{name}"
    for name in (
        "give",
        "whoami",
        "lazy",
        "raise_error",
        "raise_later",
        "sleep_long",
        "refuse_to_stop",
        "block",
        "busy",
    )
]


class Workshop:
    """An agent, and the tools it may call."""

    def __init__(self, home: Home, time_limit: float = 20.0) -> None:
        registry = Registry(SOURCES)
        self.home = home
        self.agent: Agent = home.agent(new_block("human", "Bob"), new_block("rules", "Be kind.", read_only=True))
        self.tools: dict[str, Tool] = {tool.name: tool for tool in registry.builtin_tools()}
        self.executor = Executor(home.db, registry, time_limit)
        self.context = ToolContext(
            tenant=DEFAULT_TENANT, agent=self.agent, conversation_id=self.agent.conversation_id, run_id="run-1",
            step_id="step-1", call_id="call-1",
        )  # fmt: skip

    def call(self, name: str, **values: Any) -> ToolReturnPart:
        return asyncio.run(asyncio.wait_for(self.begin(name, **values), 20)).part

    def begin(self, name: str, **values: Any):
        return self.executor.run(self.tools[name], asked(name, json.dumps(values)), self.context)

    def call_in(self, name: str, **values: Any) -> Outcome:
        def unit(conn: Connection) -> Outcome:
            return self.executor.run_in(conn, self.tools[name], asked(name, json.dumps(values)), self.context)

        return self.home.write(unit)

    def value(self, label: str) -> str:
        return self.home.read(lambda conn: blocks.labelled(conn, self.agent.id, label)).value


def asked(name: str, arguments: str) -> ToolCallPart:
    return ToolCallPart(call_id="call-1", name=name, arguments=arguments)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    trusted.released.clear()
    trusted.finished.clear()
    with Home(SqlitePlace(tmp_path)) as opened:
        yield opened
    trusted.released.set()


@pytest.fixture
def workshop(home: Home) -> Workshop:
    return Workshop(home)


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within a few seconds."""
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_which_tools_belong_to_the_callers_transaction(workshop: Workshop) -> None:
    transactional = {name for name, tool in workshop.tools.items() if workshop.executor.is_transactional(tool)}
    assert {"send_message", "memory_insert", "memory"} <= transactional
    assert transactional.isdisjoint({"conversation_search", "give"})


def test_a_memory_edit_returns_the_new_value_and_stays(workshop: Workshop) -> None:
    outcome = workshop.call_in("memory_insert", label="human", new_string="likes tea")
    assert outcome == Outcome(
        ToolReturnPart(call_id="call-1", name="memory_insert", status="success", text="Bob\nlikes tea"), True
    )
    outcome = workshop.call_in("memory_replace", label="human", old_string="Bob", new_string="Rob")
    assert outcome.part.text == workshop.value("human") == "Rob\nlikes tea"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"label": "rules", "new_string": "x"}, "read-only"),
        ({"label": "other", "new_string": "x"}, "human, rules"),
        ({"label": "human", "new_string": "x", "insert_line": 9}, "out of range"),
        ({"label": "human", "new_string": "x" * 200_000}, "limit of 100000"),
        ({"label": "human", "text": "x"}, "'new_string' is missing"),
    ],
)
def test_a_refused_edit_is_an_error_return(workshop: Workshop, values: dict[str, Any], problem: str) -> None:
    outcome = workshop.call_in("memory_insert", **values)
    assert (outcome.part.status, outcome.changed_blocks) == ("error", False)
    assert problem in outcome.part.text
    assert outcome.part.stderr is not None
    assert outcome.part.stderr[0].startswith("Error executing function memory_insert: ")
    assert (workshop.value("human"), workshop.value("rules")) == ("Bob", "Be kind.")


def test_an_edit_is_undone_with_the_transaction_it_belongs_to(workshop: Workshop) -> None:
    def unit(conn: Connection) -> None:
        call = asked("memory_insert", '{"label": "human", "new_string": "x"}')
        workshop.executor.run_in(conn, workshop.tools["memory_insert"], call, workshop.context)
        raise Unavailable("the power went")

    with pytest.raises(Unavailable):
        workshop.home.write(unit)
    assert workshop.value("human") == "Bob"


def test_what_cannot_be_stored_is_replaced_in_what_a_model_writes(workshop: Workshop) -> None:
    outcome = workshop.call_in("memory_insert", label="human", new_string="a\0b\ud800c", insert_line=0)
    assert outcome.part.text == workshop.value("human") == "a\ufffdb\ufffdc\nBob"


def test_send_message_says_it_was_sent(workshop: Workshop) -> None:
    outcome = workshop.call_in("send_message", message="hi", request_heartbeat=True, inner_thoughts="hm")
    assert (outcome.part.status, outcome.part.text) == ("success", "Sent message successfully.")


def test_a_search_is_never_cut(workshop: Workshop) -> None:
    for number in range(8):
        workshop.home.say(workshop.agent, "user", f"whale {number} " + "x" * 9_000)
    part = workshop.call("conversation_search", query="whale", limit=8)
    assert len(json.loads(part.text)["results"]) == 8
    assert len(part.text) > workshop.tools["conversation_search"].return_char_limit


def test_a_refused_search_says_why(workshop: Workshop) -> None:
    part = workshop.call("conversation_search", start_date="soon")
    assert (part.status, part.text[:30]) == ("error", "start_date 'soon' is not a dat")
    assert part.stderr is not None
    assert part.stderr[0].startswith("Error executing function conversation_search: Invalid: start_date")


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("none", "None"), ("dict", '{"a":[1,"é"]}'), ("list", "[1,null]"), ("tuple", "[1]"), ("int", "7"),
        ("bytes", "b'x'"), ("nul", "a\ufffdb\ufffdc"), ("circle", "[[...]]"), ("keys", '{"(1, 2)":3}'),
    ],
)  # fmt: skip
def test_what_a_tool_gives_back_becomes_text(workshop: Workshop, what: str, wanted: str) -> None:
    part = workshop.call("give", what=what)
    assert (part.status, part.text) == ("success", wanted)


def test_long_output_is_cut_with_a_note(workshop: Workshop) -> None:
    assert workshop.call("give", what="long").text == "x" * 50_000 + (
        "... [NOTE: function output was truncated since it exceeded the character limit (60000 > 50000)]"
    )


def test_what_the_server_knows_is_filled_in(workshop: Workshop) -> None:
    text = workshop.call("whoami").text
    assert text == f"{workshop.agent.id} Ada run-1 None tool"


def test_a_model_cannot_pretend_to_be_another_agent(workshop: Workshop) -> None:
    part = workshop.call("whoami", agent_id="agent-of-someone-else")
    assert part.status == "error"
    assert "'agent_id' is not an argument" in part.text


def test_a_plain_function_may_answer_later(workshop: Workshop) -> None:
    assert workshop.call("lazy").text == "later"


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("raise_error", "value", "ValueError: vvv"),
        ("raise_error", "exit", "SystemExit: 3"),
        ("raise_error", "interrupt", "KeyboardInterrupt: no message"),
        ("raise_error", "unspeakable", "Unspeakable: no message"),
        ("raise_error", "unknown kind", "KeyError: 'unknown kind'"),
        ("raise_later", "value", "ValueError: bad\ufffd"),
        ("raise_later", "exit", "SystemExit: 3"),
        ("raise_later", "cancelled", "CancelledError: no message"),
    ],
)
def test_whatever_a_tool_raises_is_its_answer(workshop: Workshop, name: str, kind: str, said: str) -> None:
    part = workshop.call(name, kind=kind)
    assert part.status == "error"
    assert part.text.startswith(f"Error executing function {name}: {said}")
    assert len(part.text) <= 1_000
    assert part.stderr is not None
    assert part.stderr[0].startswith(said)


def test_a_tool_that_takes_too_long_is_an_error_and_the_next_call_works(home: Home) -> None:
    workshop = Workshop(home, time_limit=0.5)

    async def work() -> list[ToolReturnPart]:
        names = ("sleep_long", "refuse_to_stop", "block")
        outcomes = await asyncio.gather(*(workshop.begin(name) for name in names))
        outcomes.append(await workshop.begin("give", what="int"))
        trusted.released.set()
        return [outcome.part for outcome in outcomes]

    *slow, after = asyncio.run(asyncio.wait_for(work(), 20))
    assert [part.status for part in slow] == ["error"] * 3
    assert all("TimeoutError: no result within 0.5 seconds" in part.text for part in slow)
    assert after.text == "7"
    assert soon(lambda: "block" in trusted.finished)


@pytest.mark.parametrize("name", ["sleep_long", "refuse_to_stop", "block"])
def test_a_cancelled_caller_leaves_at_once(workshop: Workshop, name: str) -> None:
    async def work() -> float:
        task = asyncio.create_task(workshop.begin(name))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        trusted.released.set()
        return time.monotonic() - began

    assert asyncio.run(asyncio.wait_for(work(), 20)) < 1


def test_a_blocking_function_does_not_hold_up_the_event_loop(workshop: Workshop) -> None:
    async def work() -> bool:
        held = asyncio.create_task(workshop.begin("block"))
        quick = await workshop.begin("busy", seconds=0)
        meanwhile = not held.done()
        trusted.released.set()
        return meanwhile and (await held).part.text == quick.part.text == "done"

    assert asyncio.run(asyncio.wait_for(work(), 20))


def test_broken_arguments_count_as_none(workshop: Workshop) -> None:
    part = asyncio.run(
        workshop.executor.run(workshop.tools["busy"], asked("busy", '{"seconds": 0'), workshop.context)
    ).part
    assert (part.status, part.text.split(".")[0]) == ("error", "Wrong arguments: 'seconds' is missing")


def test_a_tool_this_version_cannot_run_says_so(workshop: Workshop) -> None:
    tool = Tool(
        id="tool-1", name="roll", tool_type="custom", description="", json_schema={}, source_code="def roll(): ..."
    )
    part = asyncio.run(workshop.executor.run(tool, asked("roll", "{}"), workshop.context)).part
    assert part.status == "error"
    assert "no way to run tools of type custom" in part.text
    assert "PERDURE_TOOLS" in part.text
    assert not workshop.executor.is_transactional(tool)


def acting(workshop: Workshop, run: Callable[[ToolContext, Arguments], Any], **options: Any) -> tuple[Executor, Tool]:
    """An executor that runs tools of type custom by `run`, and one such tool."""
    executor = Executor(
        workshop.home.db, Registry(), 20.0, {"custom": lambda tool: Acts(parameters={}, run=run, **options)}
    )
    return executor, Tool(id="tool-1", name="act", tool_type="custom", description="", json_schema={})


def test_what_an_acting_tool_gives_back_is_its_return(workshop: Workshop) -> None:
    async def run(context: ToolContext, values: Arguments) -> Returned:
        return Returned(text=f"{context.agent.id} {values}", status="error", stdout=("out",), stderr=("err\x00",))

    executor, tool = acting(workshop, run)
    part = asyncio.run(executor.run(tool, asked("act", '{"a": 1}'), workshop.context)).part
    assert (part.status, part.text) == ("error", f"{workshop.agent.id} {{'a': 1}}")
    assert (part.stdout, part.stderr) == (("out",), ("err\ufffd",))
    assert not executor.may_repeat(tool)
    assert acting(workshop, run, repeatable=True)[0].may_repeat(tool)


def test_an_acting_tool_has_a_time_limit_of_its_own(workshop: Workshop) -> None:
    stopped: list[bool] = []

    async def run(context: ToolContext, values: Arguments) -> Returned:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append(True)
        raise AssertionError

    executor, tool = acting(workshop, run, seconds=0.01)

    async def work() -> ToolReturnPart:
        part = (await executor.run(tool, asked("act", "{}"), workshop.context)).part
        await asyncio.sleep(0)
        return part

    assert "no result within 0.01 seconds" in asyncio.run(asyncio.wait_for(work(), 20)).text
    assert stopped == [True]


@pytest.mark.parametrize(("label", "kept"), [("human", "Rob"), ("rules", "Bob")])
def test_what_an_acting_tool_leaves_is_kept_with_its_return_or_not_at_all(
    workshop: Workshop, label: str, kept: str
) -> None:
    def keep(conn: Connection) -> bool:
        for each in ("human", label):
            edit(conn, DEFAULT_TENANT, workshop.agent.id, workshop.agent.conversation_id, each, lambda _: "Rob",
                 actor="test", run_id="run-1")  # fmt: skip
        return True

    async def run(context: ToolContext, values: Arguments) -> Returned:
        return Returned(text="done", keep=keep)

    executor, tool = acting(workshop, run)
    call = asked("act", "{}")
    outcome = asyncio.run(executor.run(tool, call, workshop.context))
    assert workshop.value("human") == "Bob"
    outcome = workshop.home.write(lambda conn: executor.kept(conn, tool, call, outcome))
    assert workshop.value("human") == kept
    assert outcome.part.status == ("success" if kept == "Rob" else "error")
    assert outcome.changed_blocks is (kept == "Rob")
