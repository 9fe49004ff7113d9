"""Many writers of one block at once: whatever an edit wrote is in the block, or its writer was told that it is not."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import Connection

from perdure.agents.blocks import edit_block
from perdure.domain.agents import AgentDetails
from perdure.domain.errors import Conflict
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.messages import ToolCallPart
from perdure.store import block_history, blocks
from perdure.tools.executor import Executor
from perdure.tools.implementation import ToolContext
from perdure.tools.registry import Registry
from tests.agents.studio import Studio
from tests.rig.stores import Place

EDITS = 1_000
AT_ONCE = 6

Writer = Callable[[str], Awaitable[bool]]
"""Writes a line into the block; false where it was told that this failed."""


@pytest.fixture
def studio(place: Place) -> Iterator[Studio]:
    with Studio(place) as studio:
        yield studio


def an_agent(studio: Studio, details: AgentDetails, tool: str, **arguments: str) -> Writer:
    """An agent that calls a memory tool."""
    registry = Registry()
    executor = Executor(studio.db, registry, 20.0)
    (stored,) = [each for each in registry.builtin_tools() if each.name == tool]
    agent = details.agent

    async def write(line: str) -> bool:
        written = {name: value.format(line) for name, value in arguments.items()}
        call = ToolCallPart(call_id="call-1", name=tool, arguments=json.dumps({"label": "shared", **written}))
        context = ToolContext(
            tenant=DEFAULT_TENANT, agent=agent, conversation_id=agent.conversation_id, run_id="run-1",
            step_id="step-1", call_id="call-1",
        )  # fmt: skip

        outcome = await studio.db.write(lambda conn: executor.run_in(conn, stored, call, context))
        return outcome.part.status == "success"

    return write


def the_api(studio: Studio, block_id: str) -> Writer:
    """A caller that reads the block, and sends it back with one more line for the version it has read."""

    async def write(line: str) -> bool:
        seen = await studio.db.read(lambda conn: blocks.get(conn, DEFAULT_TENANT, block_id))
        changes = {"value": f"{seen.value}\n{line}"}

        def patch(conn: Connection) -> None:
            found = blocks.get(conn, DEFAULT_TENANT, block_id)
            edit_block(conn, DEFAULT_TENANT, found, changes, actor="api", seen=seen.version)

        try:
            await studio.db.write(patch)
        except Conflict:
            return False
        return True

    return write


def test_two_agents_and_the_api_edit_one_block_a_thousand_times_at_once(studio: Studio) -> None:
    first = studio.make(memory_blocks=[{"label": "shared", "value": "begin"}])
    block = first.blocks[0]
    second = studio.make(block_ids=[block.id])
    writers = [
        an_agent(studio, first, "core_memory_append", content="{}"),
        an_agent(studio, second, "memory_apply_patch", patch="+{}"),
        the_api(studio, block.id),
    ]
    kept: set[str] = set()
    waiting = iter(range(EDITS))

    async def work() -> None:
        for number in waiting:
            if await writers[number % len(writers)](f"line {number}"):
                kept.add(f"line {number}")

    async def together() -> None:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    studio.run(together(), 60.0)
    stored = studio.read(lambda conn: blocks.get(conn, DEFAULT_TENANT, block.id))
    assert stored.value.split("\n")[0] == "begin"
    assert sorted(stored.value.split("\n")[1:]) == sorted(kept)
    agents = {f"line {number}" for number in range(EDITS) if number % len(writers) < 2}
    assert agents <= kept, "agents wait for each other, and lose nothing"
    assert stored.version == len(kept) + 1
    past = studio.read(lambda conn: block_history.versions(conn, block.id, limit=EDITS))
    assert [each.version for each in past] == list(range(stored.version, stored.version - block_history.KEPT, -1))
    assert all(newer.value.startswith(f"{older.value}\n") for newer, older in itertools.pairwise(past))
