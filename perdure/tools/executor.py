"""Running one tool call. Whatever a tool does, an answer for the model comes of it."""

import asyncio
import contextlib
import contextvars
import inspect
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.errors import Invalid, PerdureError, Unavailable
from perdure.domain.messages import ReturnStatus, ToolCallPart, ToolReturnPart
from perdure.domain.tools import Tool, ToolType
from perdure.logs import Log
from perdure.providers.text import storable
from perdure.store.database import Database, Savepoint
from perdure.telemetry.watch import ToolWatch
from perdure.tools import arguments
from perdure.tools.implementation import (
    Acts,
    Arguments,
    Implementation,
    Outcome,
    Reads,
    Returned,
    ToolContext,
    Trusted,
    Writes,
)
from perdure.tools.registry import ENTRY_POINTS, Registry
from perdure.tools.returns import as_text, cut

ERROR_CHARS: Final = 1_000
"""Characters of a failed tool's own words that the model is shown."""

IDEMPOTENT: Final = "idempotent"
"""The tag of a tool whose calls do no harm when they are run twice."""

FRAMES_LOGGED: Final = 8
MOST_AT_ONCE: Final = 256
"""Tools with effects elsewhere that may run at a time, those that were given up and run on included."""
CROWDED: Final = (
    "{most} tool calls are running, which is as many as may at a time, those that were given up included. Try later."
)

log: Final = Log("perdure.tools")


class _Edge:
    """Where a tool call touches the server: what a tool raises stops here, SystemExit included.

    It is the only place that catches everything. `value` is what the call gave, `failure` what it raised.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.failure: BaseException | None = None

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.failure = error if self.failure is None else self.failure
        return True


Runner = Callable[[Tool], Acts]
"""How the tools of one type are run that are not the server's own."""


class Executor:
    """Runs tool calls.

    `time_limit` is in seconds and holds for every call that is not transactional and has none of its own. `runners`
    run what the registry does not know, such as the tools that callers made, by the tool's type.
    """

    def __init__(
        self, db: Database, registry: Registry, time_limit: float, runners: Mapping[ToolType, Runner] | None = None
    ) -> None:
        self._db = db
        self._registry = registry
        self._time_limit = time_limit
        self._runners = runners or {}
        self._abandoned: set[asyncio.Task[None]] = set()
        self._running = 0

    def is_transactional(self, tool: Tool) -> bool:
        """Whether the tool's whole effect lies in our database, so that its call belongs to `run_in`."""
        return isinstance(self._find(tool), Writes)

    def may_repeat(self, tool: Tool) -> bool:
        """Whether a call that may have been begun before can be run again: it has no effect outside, or says so."""
        implementation = self._find(tool)
        harmless = (
            implementation.repeatable
            if isinstance(implementation, Acts)
            else isinstance(implementation, Writes | Reads)
        )
        return harmless or IDEMPOTENT in tool.tags

    def _find(self, tool: Tool) -> Implementation | None:
        implementation = self._registry.find(tool)
        if implementation is None and (runner := self._runners.get(tool.tool_type)) is not None:
            return runner(tool)
        return implementation

    def run_in(
        self, conn: Connection, tool: Tool, call: ToolCallPart, context: ToolContext, *, again: bool = False
    ) -> Outcome:
        """Run a transactional tool in the caller's transaction. A refusal undoes the call alone and is its answer.

        `again` says that it ran before in the same transaction, which is repeated. Raises what the database raises,
        since then the caller's transaction is lost as well.
        """
        implementation = self._find(tool)
        if not isinstance(implementation, Writes):
            raise TypeError(f"Tool {tool.name} is not transactional: call run")
        with _watch(tool, call, context, again=again) as watch:
            try:
                values = arguments.check(arguments.parse(call.arguments), implementation.parameters)
                with Savepoint(conn):
                    text, changed_blocks = implementation.run(conn, context, values)
                outcome = Outcome(_part(tool, call, "success", text), changed_blocks)
            except PerdureError as error:
                outcome = _refused(tool, call, error)
            watch.ended(outcome.part.status, outcome.part.text)
        return outcome

    async def run(self, tool: Tool, call: ToolCallPart, context: ToolContext) -> Outcome:
        """Run any other tool. Never raises; a cancellation of the caller leaves at once, and the tool is cancelled.

        What cannot be stopped (a plain function in its thread) is left to finish, and its result dropped.
        """
        implementation = self._find(tool)
        if implementation is None:
            return Outcome(_part(tool, call, "error", _not_built(tool)))
        if isinstance(implementation, Writes):
            raise TypeError(f"Tool {tool.name} is transactional: call run_in")
        try:
            values = arguments.check(arguments.parse(call.arguments), implementation.parameters)
        except Invalid as error:
            return _refused(tool, call, error)
        limit = implementation.seconds if isinstance(implementation, Acts) else None
        limit = self._time_limit if limit is None else limit
        with _watch(tool, call, context) as watch:
            edge = _Edge()
            task = asyncio.create_task(self._work(edge, implementation, values, context))
            try:
                await asyncio.wait((task,), timeout=limit)
            finally:
                if not task.done():
                    self._abandon(task)
            hangs = not task.done()
            if hangs:
                edge = _Edge()
                edge.failure = TimeoutError(f"no result within {limit:g} seconds; it may have taken effect")
            outcome = self._outcome(edge, tool, call, implementation)
            watch.ended("timeout" if hangs else outcome.part.status, outcome.part.text)
        return outcome

    def _abandon(self, task: asyncio.Task[None]) -> None:
        # A coroutine may refuse to be cancelled, so nobody waits for it; the loop itself only holds tasks weakly.
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.cancel()

    def kept(self, conn: Connection, tool: Tool, call: ToolCallPart, outcome: Outcome) -> Outcome:
        """Store what a call that `run` ran leaves in our database, in the transaction that stores its return.

        What cannot be stored is undone, and the call answered with why. Raises what the database raises.
        """
        if outcome.keep is None:
            return outcome
        try:
            with Savepoint(conn):
                return Outcome(outcome.part, outcome.keep(conn), at_once=outcome.at_once)
        except PerdureError as error:
            return _refused(tool, call, error)

    async def _work(self, edge: _Edge, tool: Reads | Acts | Trusted, values: Arguments, context: ToolContext) -> None:
        """Leave in `edge` what the tool gives, of most the text, or what it raised."""
        with edge:
            if isinstance(tool, Reads):
                edge.value = await self._db.read(lambda conn: tool.run(conn, context, values))
            elif self._running >= MOST_AT_ONCE:
                raise Unavailable(CROWDED.format(most=MOST_AT_ONCE))
            elif isinstance(tool, Acts) or tool.is_async:
                self._running += 1
                try:
                    if isinstance(tool, Acts):
                        edge.value = await tool.run(context, values)
                    else:
                        edge.value = as_text(await tool.call(values, context))
                finally:
                    self._running -= 1
            else:
                self._running += 1
                await _in_thread(edge, lambda: tool.call(values, context), self._thread_ended)
                if inspect.isawaitable(edge.value):
                    edge.value = as_text(await edge.value)

    def _thread_ended(self) -> None:
        self._running -= 1

    def _outcome(self, edge: _Edge, tool: Tool, call: ToolCallPart, implementation: Implementation) -> Outcome:
        error = edge.failure
        if error is None:
            whole = isinstance(implementation, Reads | Acts) and implementation.whole
            if isinstance(edge.value, Returned):
                part = part_of(tool, call, edge.value, whole=whole)
                return Outcome(part, keep=edge.value.keep, at_once=edge.value.at_once)
            return Outcome(_part(tool, call, "success", edge.value, whole=whole))
        if isinstance(error, PerdureError) and not isinstance(implementation, Trusted):
            return _refused(tool, call, error)
        # Without its own words, which may be those of whoever talks with the agent.
        log.warning(
            "tool_failed", tool=tool.name, call_id=call.call_id, error=type(error).__name__, where=_where(error)
        )
        said = _said(error)
        text = f"Error executing function {tool.name}: {said}"[:ERROR_CHARS]
        return Outcome(_part(tool, call, "error", text, stderr=cut(said, tool.return_char_limit)))


def _watch(tool: Tool, call: ToolCallPart, context: ToolContext, *, again: bool = False) -> ToolWatch:
    return ToolWatch(
        tool.name, call.call_id, call.arguments, run_id=context.run_id, step_id=context.step_id, again=again
    )


async def _in_thread(edge: _Edge, work: Callable[[], Any], done: Callable[[], None]) -> None:
    """Run `work` in a thread that does not keep the server from stopping, and leave its text in `edge`.

    `done` is called once the thread has ended, whoever waits by then.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def body() -> None:
        with edge:
            value = work()
            edge.value = value if inspect.isawaitable(value) else as_text(value)
        with contextlib.suppress(RuntimeError):  # the server stopped while the tool went on
            loop.call_soon_threadsafe(done)
            loop.call_soon_threadsafe(ended.set)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(body,), name="tool", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system gives no more threads
        done()
        raise
    await ended.wait()


def _said(error: BaseException) -> str:
    """`ExcType: message`, also where the error cannot say what it is."""
    edge = _Edge()
    with edge:
        edge.value = str(error)
    return f"{type(error).__name__}: {edge.value or 'no message'}"


def _where(error: BaseException) -> list[str]:
    """The places a failure went through, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_LOGGED:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def _refused(tool: Tool, call: ToolCallPart, error: PerdureError) -> Outcome:
    long = f"Error executing function {tool.name}: {type(error).__name__}: {error.message}"
    return Outcome(_part(tool, call, "error", error.message, stderr=long))


def _part(
    tool: Tool, call: ToolCallPart, status: ReturnStatus, text: str, *, whole: bool = False, stderr: str | None = None
) -> ToolReturnPart:
    return ToolReturnPart(
        call_id=call.call_id, name=tool.name, status=status,
        text=storable(text if whole else cut(text, tool.return_char_limit)),
        stderr=None if stderr is None else (storable(stderr),),
    )  # fmt: skip


def part_of(tool: Tool, call: ToolCallPart, returned: Returned, *, whole: bool = False) -> ToolReturnPart:
    """What a tool gave back, as the answer to a call."""
    part = _part(tool, call, returned.status, returned.text, whole=whole)
    return msgspec.structs.replace(
        part,
        images=returned.images,
        stdout=tuple(storable(line) for line in returned.stdout) or None,
        stderr=tuple(storable(line) for line in returned.stderr) or None,
    )


def _not_built(tool: Tool) -> str:
    return (
        f"Tool {tool.name} cannot be run: this server has no way to run tools of type {tool.tool_type}. An operator "
        "can offer the same as a trusted tool: a Python function of an installed package, named as module:function in "
        f"PERDURE_TOOLS or offered by its package in the entry point group {ENTRY_POINTS}."
    )
