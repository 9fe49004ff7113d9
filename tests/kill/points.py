"""Places at which a server under test ends itself with SIGKILL, and the tools its agents have.

A server loads this file because PERDURE_TOOLS names it. With KILL_AT set to `<point> <before|after> <number>` it puts a
trap around the function behind that point, which snaps when it is called for the so-manyth time after the file
KILL_ARMED came to be.
"""

import asyncio
import functools
import importlib
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

POINTS: Final = {
    "accept": "perdure.runs.runner:accept",
    "enter": "perdure.runs.accept:enter",
    "commit": "perdure.store.sqlite:_commit",
    "model call": "perdure.providers.catalog:Catalog.stream",
    "model answer": "perdure.loop.answer:Answer.take",
    "calls kept": "perdure.loop.step:Step.keep_calls",
    "answer kept": "perdure.loop.step:Step.keep_answer",
    "request kept": "perdure.loop.step:Step.keep_request",
    "tool": "perdure.tools.executor:Executor.run",
    "effect": "tests.kill.points:leave_mark",
    "own tool": "perdure.tools.executor:Executor.run_in",
    "returns kept": "perdure.loop.tool_round:ToolRound.keep",
    "decisions": "perdure.loop.agent_loop:_resumed",
    "summary": "perdure.loop.summary:Summariser.sum_up",
    "summary kept": "perdure.loop.compaction:Compaction._keep",
    "context left": "perdure.store.messages:leave_context",
    "events": "perdure.store.runs:log",
    "cancel": "perdure.runs.work:Worker.cancel",
    "refusal": "perdure.runs.cancel:refuse_pending",
    "block edit": "perdure.store.blocks:update",
    "finish": "perdure.store.runs:finish",
    "hand over": "perdure.runs.ending:hand_over",
    "custom tool": "perdure.tools.custom:CustomTools.run",
    "custom tool kept": "perdure.tools.custom:_keep",
    "MCP tool": "perdure.tools.mcp.links:Links.call",
    "job": "perdure.store.jobs:create",
    "job claimed": "perdure.store.jobs:claim",
    "file piece": "perdure.store.files:add_piece",
    "chunks": "perdure.store.chunks:add",
    "job end": "perdure.store.jobs:end",
    "companion due": "perdure.runs.ending:after_turn",
    "companion begun": "perdure.runs.runner:Runner._begin_all",
    "message to an agent": "perdure.runs.courier:begin",
    "take up": "perdure.runs.recovery:take_up",
    "migration": "perdure.store.migrate:steps.upgrade",
    "index": "alembic.op:create_index",
}
"""Each by its function, as whoever calls it finds it."""
ON_POSTGRES: Final = {"commit": "perdure.store.postgres_link:Link.write"}
"""Those that lie elsewhere on that store."""

EFFECTS: Final = "KILL_EFFECTS"
"""The file in which tools leave their marks, one line a call."""
ARMED: Final = "KILL_ARMED"
AT: Final = "KILL_AT"


def leave_mark(line: str) -> None:
    """An effect outside the database, durable at once."""
    with Path(os.environ[EFFECTS]).open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def mark(number: str) -> str:
    """Leaves a mark.

    Args:
        number: What to write.
    """
    leave_mark(f"mark {number}")
    return f"marked {number}"


def ask(number: str) -> str:
    """Leaves a mark, once a person has said yes.

    Args:
        number: What to write.
    """
    leave_mark(f"ask {number}")
    return f"asked {number}"


def repeat(number: str) -> str:
    """Leaves a mark, and may do so again.

    Args:
        number: What to write.
    """
    leave_mark(f"repeat {number}")
    return f"repeated {number}"


JOT: Final = """
def jot(agent_state, number: str) -> str:
    \"\"\"Notes a number.

    Args:
        number: What to note.
    \"\"\"
    memory = agent_state.memory
    memory.update_block_value("notes", memory.get_block("notes").value + f"[{number}]")
    return f"noted {number}"
"""
"""A tool made from source: it runs apart, and what it does to the memory is kept with its return."""

repeat.tags = ("idempotent",)  # type: ignore[attr-defined]


def _set_trap(point: str, when: str, number: int) -> None:
    points = POINTS | ON_POSTGRES if os.environ.get("PERDURE_DATABASE_URL") else POINTS
    module_name, _, path = points[point].partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, _trapped(getattr(owner, name), when, number))


def _trapped(function: Callable[..., Any], when: str, number: int) -> Callable[..., Any]:
    calls = itertools.count(1)

    def count() -> int:
        return next(calls) if Path(os.environ[ARMED]).exists() else 0

    def snap(moment: str, call: int) -> None:
        if moment == when and call == number:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        call = count()
        snap("before", call)
        result = function(*args, **kwargs)
        snap("after", call)
        return result

    @functools.wraps(function)
    async def waiting(*args: Any, **kwargs: Any) -> Any:
        call = count()
        snap("before", call)
        result = await function(*args, **kwargs)
        snap("after", call)
        return result

    return waiting if asyncio.iscoroutinefunction(function) else plain


if trap := os.environ.get(AT):
    *words, moment, how_often = trap.split(" ")
    _set_trap(" ".join(words), moment, int(how_often))
