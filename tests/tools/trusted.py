"""Trusted tools of every temper, for the tests."""

import asyncio
import sys
import threading
import time
from typing import Any

from perdure.tools.implementation import ToolContext

released = threading.Event()
"""Ends the tools that do not end by themselves."""

finished: list[str] = []


async def give(what: str) -> Any:
    """Give something back.

    Args:
        what: Which kind of thing.
    """
    circle: list[Any] = []
    circle.append(circle)
    things: dict[str, Any] = {
        "none": None, "dict": {"a": [1, "é"]}, "list": [1, None], "tuple": (1,), "int": 7, "bytes": b"x",
        "long": "x" * 60_000, "nul": "a\0b\ud800c", "circle": circle, "keys": {(1, 2): 3},
    }  # fmt: skip
    return things[what]


def whoami(agent_id: str, context: ToolContext, agent_state: Any, suffix: str | None) -> str:
    """Say who you are.

    Args:
        suffix: What to add.
    """
    return f"{agent_id} {agent_state.name} {context.run_id} {suffix} {threading.current_thread().name}"


def lazy() -> Any:
    """Give the answer later."""
    return asyncio.sleep(0, "later")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot say")


def raise_error(kind: str) -> str:
    """Fail.

    Args:
        kind: How.
    """
    if kind == "exit":
        sys.exit(3)
    raise {"value": ValueError("v" * 5_000), "unspeakable": Unspeakable(), "interrupt": KeyboardInterrupt()}[kind]


async def raise_later(kind: str) -> str:
    """Fail after a while.

    Args:
        kind: How.
    """
    await asyncio.sleep(0)
    raise {"cancelled": asyncio.CancelledError(), "exit": SystemExit(3), "value": ValueError("bad\0")}[kind]


async def sleep_long() -> str:
    """Sleep."""
    await asyncio.sleep(60)
    return "slept"


async def refuse_to_stop() -> str:
    """Go on, whatever happens."""
    while not released.is_set():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            finished.append("cancel refused")
    return "stopped"


def block() -> str:
    """Hold the thread."""
    released.wait(30)
    finished.append("block")
    return "done"


def busy(seconds: float) -> str:
    """Take a while.

    Args:
        seconds: How long.
    """
    time.sleep(seconds)
    return "done"


BAD = "not a function"
