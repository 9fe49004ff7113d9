"""What a tool is made of: how it is described, what runs when it is called, and what comes of a call."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import Invalid
from perdure.domain.messages import ImagePart, ReturnStatus, ToolReturnPart
from perdure.domain.tools import Tool, ToolType
from perdure.tools.schema import INJECTED, function_schema

Arguments = dict[str, Any]

TRUSTED_TYPE: Final[ToolType] = "letta_builtin"
"""The tool type of what an operator registers: like the server's own tools, the API cannot change them."""


class ToolContext(msgspec.Struct, frozen=True, kw_only=True):
    """For whom a tool runs. `agent` is as it was when its run began."""

    tenant: str
    agent: Agent
    conversation_id: str
    run_id: str
    step_id: str
    call_id: str


class Outcome(msgspec.Struct, frozen=True):
    """What came of a call. With `changed_blocks` the agent's system message is out of date.

    `keep` is what the call leaves in our database; `Executor.kept` runs it. With `at_once` the model is to see its new
    system message in its next step, not only in its next turn.
    """

    part: ToolReturnPart
    changed_blocks: bool = False
    keep: Callable[[Connection], bool] | None = None
    at_once: bool = False


class Writes(msgspec.Struct, frozen=True):
    """A tool whose whole effect lies in our database.

    `run` gives the text to return and whether it changed a block. It runs in the transaction that stores its return,
    so that it takes effect exactly once; it raises domain errors only.
    """

    parameters: dict[str, Any]
    run: Callable[[Connection, ToolContext, Arguments], tuple[str, bool]]


class Reads(msgspec.Struct, frozen=True):
    """A tool that only looks something up. With `whole` its text is never cut, since it bounds itself."""

    parameters: dict[str, Any]
    run: Callable[[Connection, ToolContext, Arguments], str]
    whole: bool = False


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool that acts outside our database gives back. `stdout` and `stderr` are lines it wrote beside that.

    `keep` stores what else comes of the call and says whether it changed a block. It runs in the transaction that
    stores the return, perhaps more than once, and raises domain errors only: they become the return, and undo it.
    `at_once` says that what the system message shows of that is wanted in the next step.
    """

    text: str
    status: ReturnStatus = "success"
    images: tuple[ImagePart, ...] = ()
    stdout: tuple[str, ...] = ()
    stderr: tuple[str, ...] = ()
    keep: Callable[[Connection], bool] | None = None
    at_once: bool = False


class Acts(msgspec.Struct, frozen=True, kw_only=True):
    """A tool whose effect lies outside our database. It runs on the event loop and has to give way to others there.

    `run` may be cancelled at any moment and must leave nothing running behind. A domain error it raises is shown to the
    model as it is. `seconds` it may take are the executor's unless it has its own. With `whole` its text is never cut,
    since it bounds itself; `repeatable` says that it changes nothing, so that a call may be run again after a crash.
    """

    parameters: dict[str, Any]
    run: Callable[[ToolContext, Arguments], Awaitable[Returned]]
    seconds: float | None = None
    whole: bool = False
    repeatable: bool = False


class Trusted:
    """A Python callable that the operator vouches for. It runs inside the server, with all its rights.

    A plain function runs in a thread of its own, a coroutine function on the event loop. Parameters named
    `agent_id`, `agent_state` (the agent) and `context` (the ToolContext) are filled in here.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Raises Invalid where the callable cannot be described to models."""
        self.schema = function_schema(function)
        self.parameters: dict[str, Any] = self.schema["parameters"]
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        taken = inspect.signature(function).parameters
        if "self" in taken:
            raise Invalid("It takes self: register the method of an object, not of its class.")
        self._injected = INJECTED & taken.keys()
        shown = self.parameters["properties"].keys() - set(self.parameters["required"])
        # Without a default, an argument that may be None is still one the function must be given.
        self._nulls = {name: None for name in shown if taken[name].default is inspect.Parameter.empty}

    def call(self, arguments: Arguments, context: ToolContext) -> Any:
        """Call it. Returns what it returns, an awaitable where it is a coroutine function."""
        offered = {"agent_id": context.agent.id, "agent_state": context.agent, "context": context}
        injected = {name: offered[name] for name in self._injected}
        return self.function(**{**self._nulls, **arguments, **injected})


Implementation = Writes | Reads | Acts | Trusted


class Definition(msgspec.Struct, frozen=True):
    """A tool with what runs when it is called. Its id is empty: `Registry.builtin_tools` gives fresh ones."""

    tool: Tool
    implementation: Implementation


def define(
    name: str, tool_type: ToolType, description: str, implementation: Writes | Reads | Acts, *, parallel: bool = False
) -> Definition:
    """One of the server's own tools. With `parallel` it may run beside other calls of its step."""
    schema = {"name": name, "description": description, "parameters": implementation.parameters}
    tool = Tool(
        id="", name=name, tool_type=tool_type, description=description, json_schema=schema, tags=(tool_type,),
        enable_parallel_execution=parallel,
    )  # fmt: skip
    return Definition(tool, implementation)


def trust(function: Callable[..., Any]) -> Definition:
    """A tool the operator registers. Raises Invalid where the callable cannot be described to models."""
    implementation = Trusted(function)
    schema = implementation.schema
    tool = Tool(
        id="", name=schema["name"], tool_type=TRUSTED_TYPE, description=schema["description"], json_schema=schema,
        tags=(TRUSTED_TYPE, *getattr(function, "tags", ())),
    )  # fmt: skip
    return Definition(tool, implementation)


def parameters(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON schema of a tool's arguments."""
    return {"type": "object", "properties": properties, "required": list(required)}
