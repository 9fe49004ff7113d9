"""Tools that callers made from source code: each call runs in a jail of its own."""

import functools
import json
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.blocks import Block
from perdure.domain.errors import Conflict
from perdure.domain.ids import new_id
from perdure.domain.messages import ToolCallPart, ToolReturnPart
from perdure.domain.tools import Tool
from perdure.memory import blocks as memory
from perdure.providers.text import storable
from perdure.store import conversation_blocks
from perdure.store import secrets as secret_store
from perdure.store.database import Database
from perdure.store.secrets import Vault
from perdure.tools import arguments
from perdure.tools.door import Door, Pass
from perdure.tools.executor import part_of
from perdure.tools.implementation import Acts, Arguments, Returned, ToolContext
from perdure.tools.making import TYPESCRIPT
from perdure.tools.node import find_node
from perdure.tools.packages import Packages
from perdure.tools.sandbox import view
from perdure.tools.sandbox.job import Finished, Job, Limits
from perdure.tools.sandbox.sandbox import Sandbox

ERROR_CHARS: Final = 1_000
"""Characters of a failed tool's own words that the model is shown."""
OUTPUT_BYTES: Final = 100_000
"""What is kept of a tool's stdout and stderr, each."""
PATIENCE_SECONDS: Final = 300
"""How long a call may wait for its turn and for its packages, beside the time it may run."""


MOST_EDITS: Final = 4 << 20
"""Bytes of what one call may do to its agent's blocks."""

Edits = dict[str, tuple[str, str]]
"""By the label of a block, its value as the tool saw it and as it left it."""


class Answer(msgspec.Struct, frozen=True):
    """What a job says of itself. `result` is what the last expression of a piece of code gave."""

    status: Literal["success", "error"]
    text: str
    edits: msgspec.Raw = msgspec.Raw(b"{}")
    result: str | None = None


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows tools: `seconds` of time, `memory` in bytes, the network."""

    seconds: float
    memory: int
    network: bool


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a source: for an agent, or for nobody."""

    tool: Tool
    arguments: Arguments
    tenant: str
    agent: Agent | None = None
    conversation_id: str = ""
    environment: Mapping[str, str] = {}
    actor: str = ""
    run_id: str | None = None


class CustomTools:
    """Runs the tools that callers made from source code."""

    def __init__(
        self, db: Database, vault: Vault, sandbox: Sandbox, packages: Packages, door: Door, terms: Terms
    ) -> None:
        self._db = db
        self._vault = vault
        self._sandbox = sandbox
        self._packages = packages
        self._door = door
        self._terms = terms

    def implementation(self, tool: Tool) -> Acts:
        """How the executor runs such a tool."""

        async def run(context: ToolContext, arguments: Arguments) -> Returned:
            call = Call(
                tool=tool, arguments=arguments, tenant=context.tenant, agent=context.agent,
                conversation_id=context.conversation_id, actor=context.agent.id, run_id=context.run_id,
            )  # fmt: skip
            return await self.run(call)

        parameters = tool.json_schema.get("parameters") or {}
        return Acts(parameters=parameters, run=run, seconds=self._terms.seconds + PATIENCE_SECONDS)

    async def try_out(
        self, tool: Tool, values: Arguments, tenant: str, environment: Mapping[str, str]
    ) -> ToolReturnPart:
        """Call a tool that is not stored, for nobody. Raises Invalid for wrong arguments, Unavailable as `run`."""
        fitted = arguments.check(values, tool.json_schema["parameters"])
        call = Call(tool=tool, arguments=fitted, tenant=tenant, environment=environment)
        returned = await self.run(call)
        return part_of(tool, ToolCallPart(call_id=new_id("call"), name=tool.name, arguments=""), returned)

    async def run(self, call: Call) -> Returned:
        """Run a call. Raises Unavailable where nothing can be run apart here."""
        held, environment = await self._db.read(functools.partial(self._known, call=call))
        argv, asked, shown = await self._prepared(call, held)
        async with self._door.open(Pass(call.tenant, call.run_id or None)) as door:
            limits = Limits(seconds=self._terms.seconds, memory=self._terms.memory, output=OUTPUT_BYTES)
            job = Job(
                argv=argv,
                stdin=json.dumps(asked | {"channel": door is not None}).encode(),
                environment={**environment, **({} if door is None else {"LETTA_API_KEY": door[1]})},
                shown=shown,
                network=self._terms.network,
                channel=None if door is None else door[0],
                limits=limits if call.tool.source_type != TYPESCRIPT else for_node(limits),
            )
            finished = await self._sandbox.run(job)
        return self._returned(call, finished)

    async def _prepared(
        self, call: Call, held: Sequence[Block]
    ) -> tuple[tuple[str, ...], dict[str, Any], tuple[Path, ...]]:
        """What runs a call, what it is told, and what it is shown; its packages are there."""
        tool = call.tool
        asked: dict[str, Any] = {"source": tool.source_code, "name": tool.name, "arguments": call.arguments}
        if tool.source_type == TYPESCRIPT:
            node = find_node("tools in TypeScript")
            shown = node.shown
            if tool.npm_requirements:
                place = await self._packages.for_node(node, tool.npm_requirements)
                asked["packages"], shown = str(place), (*shown, place)
            asked["parameters"] = list(tool.json_schema["parameters"].get("properties", {}))
            return node.harness, asked, shown
        paths = site_packages()
        if tool.pip_requirements:
            paths = [str(await self._packages.for_python(tool.pip_requirements)), *paths]
        asked["paths"] = paths
        asked["agent_state"] = None if call.agent is None else _shown(call.agent, held)
        return view.command("python_tool"), asked, tuple(Path(each) for each in paths)

    def _known(self, conn: Connection, *, call: Call) -> tuple[Sequence[Block], dict[str, str]]:
        """The blocks that the tool may be shown, and its environment."""
        agent, tool = call.agent, call.tool
        environment = {"LETTA_TOOL_ID": tool.id, **call.environment}
        if agent is None:
            return (), environment
        project = agent.project_id or ""
        secrets = {each.key: each.value for each in secret_store.of_agent(conn, agent.id, self._vault)}
        names = {"LETTA_AGENT_ID": agent.id, "LETTA_PROJECT_ID": project, "PROJECT_ID": project}
        held = conversation_blocks.shown_in(conn, agent.id, call.conversation_id)
        return held, {**secrets, **environment, **names}

    def _returned(self, call: Call, finished: Finished) -> Returned:
        answer = answer_of(finished.result)
        name = call.tool.name
        lines = _lines(finished.stdout), _lines(finished.stderr)
        if finished.stopped is not None or answer is None:
            words = why(finished, self._terms)
        elif answer.status != "success":
            words = answer.text
        elif (edits := _edits_of(answer)) is None:
            words = f"ValueError: what it did to the memory blocks is no text, or more than {MOST_EDITS} bytes"
        else:
            keep = functools.partial(_keep, call=call, edits=edits) if edits and call.agent else None
            return Returned(text=answer.text, stdout=lines[0], stderr=lines[1], keep=keep)
        text = f"Error executing function {name}: {words}"[:ERROR_CHARS]
        return Returned(text=text, status="error", stdout=lines[0], stderr=lines[1] or (text,))


def why(finished: Finished, terms: Terms) -> str:
    """Why a job gave no answer, as an exception says it."""
    match finished.stopped:
        case "time":
            return f"TimeoutError: no result within {terms.seconds:g} seconds; it may have taken effect"
        case "memory":
            return f"MemoryError: it took more than {terms.memory >> 20} MiB and was ended"
        case "disk":
            return "OSError: it wrote more than it may and was ended"
        case "output":
            return "OSError: it printed or returned more than it may and was ended"
        case None:
            return f"RuntimeError: its process ended with exit code {finished.code} before it returned"


def for_node(limits: Limits) -> Limits:
    """The same for a program of Node's, which reserves far more addresses than it uses."""
    return msgspec.structs.replace(limits, addresses=None)


def answer_of(result: bytes) -> Answer | None:
    """What a job says of itself: the length of a JSON object, and that object; None for anything else."""
    size = int.from_bytes(result[:8], "big")
    if len(result) < 8 or len(result) != size + 8:
        return None
    try:
        return msgspec.json.decode(memoryview(result)[8:], type=Answer)
    except (ValueError, RecursionError):
        return None


def _edits_of(answer: Answer) -> Edits | None:
    """What a job did to blocks; None where that is not what it may be. Nobody but the job vouches for it."""
    if len(answer.edits) > MOST_EDITS:
        return None
    try:
        return msgspec.json.decode(answer.edits, type=Edits)
    except (ValueError, RecursionError):
        return None


def _keep(conn: Connection, *, call: Call, edits: Edits) -> bool:
    """Store what a tool did to the agent's blocks, unless somebody else changed one meanwhile."""
    assert call.agent is not None
    for label, (before, after) in edits.items():

        def change(value: str, label: str = label, before: str = before, after: str = after) -> str:
            if value != before:
                raise Conflict(
                    f"The memory block {label!r} was changed by someone else while {call.tool.name} ran, so nothing "
                    "that it did to your memory was kept. Call it again."
                )
            return storable(after)

        memory.edit(
            conn, call.tenant, call.agent.id, call.conversation_id, label, change, actor=call.actor, run_id=call.run_id
        )
    return True


def _shown(agent: Agent, held: Sequence[Block]) -> dict[str, Any]:
    """The agent as a tool sees it."""
    return {
        "id": agent.id,
        "name": agent.name,
        "agent_type": agent.agent_type,
        "description": agent.description,
        "system": agent.system,
        "metadata": agent.metadata,
        "model": agent.model.handle,
        "timezone": agent.timezone,
        "project_id": agent.project_id,
        "blocks": [
            {
                "id": block.id,
                "label": block.label,
                "value": block.value,
                "limit": block.limit,
                "description": block.description,
                "read_only": block.read_only,
                "metadata": block.metadata,
            }
            for block in held
        ],
    }


@functools.cache
def site_packages() -> list[str]:
    """Where the packages lie that this server has: tools may use them, after their own."""
    return list(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))


def _lines(said: bytes) -> tuple[str, ...]:
    return tuple(said.decode(errors="replace").splitlines())
