"""Tools with which an agent talks to others: each message is a run of the other, which waits its turn like any."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from perdure.domain.errors import Invalid, PerdureError
from perdure.domain.tools import ToolType
from perdure.tools.implementation import Acts, Arguments, Definition, Returned, ToolContext, define, parameters

MOST: Final = 50
"""Agents that one call may write to."""
PATIENCE: Final = 20 * 60.0
"""Seconds an answer may take."""
BROADCAST: Final = "send_message_to_all_agents_in_group"
"""The tool of an agent that leads a group; it gets it with that."""
NAMES: Final = (
    "send_message_to_agent_and_wait_for_reply",
    "send_message_to_agents_matching_tags",
    "send_message_to_agent_async",
)
SENT: Final = "Successfully sent message."

_TYPE: Final[ToolType] = "letta_multi_agent_core"
_MESSAGE: Final = {"type": "string", "description": "What to say. The other agent knows nothing else of your talk."}
_OTHER: Final = {"type": "string", "description": "The id of the other agent, such as agent-123e4567-…"}
_WAITS: Final = "that agent wrote this, not a person; it waits and gets what you answer"
_GOES_ON: Final = "that agent wrote this, not a person; it does not wait for an answer"


class Answer(msgspec.Struct, frozen=True):
    """What another agent said, and why it could not go on, where it could not."""

    said: tuple[str, ...]
    failure: str | None = None


class Courier(Protocol):
    """Whoever carries messages between agents."""

    async def ask(self, sender: ToolContext, agent_id: str, text: str) -> Answer: ...

    async def send(self, sender: ToolContext, agent_id: str, text: str) -> None: ...

    async def led(self, sender: ToolContext) -> list[str]: ...

    async def tagged(
        self, sender: ToolContext, match_all: tuple[str, ...], match_some: tuple[str, ...], most: int
    ) -> list[str]: ...


def agent_tools(courier: Courier) -> tuple[Definition, ...]:
    """The tools, with `courier` to carry what they send.

    A call that is repeated after a crash finds the run it started, so that nothing is said twice.
    """

    async def ask(context: ToolContext, arguments: Arguments) -> Returned:
        answer = await courier.ask(context, *_addressed(context, arguments, _WAITS))
        entry = _entry(arguments["other_agent_id"], answer)
        return Returned(text=_text(entry), status="success" if answer.failure is None else "error")

    async def broadcast(context: ToolContext, arguments: Arguments) -> Returned:
        every, some = tuple(arguments.get("match_all") or ()), tuple(arguments.get("match_some") or ())
        if not every and not some:
            raise Invalid("Name at least one tag, in match_all or match_some.")
        found = await courier.tagged(context, every, some, MOST + 1)
        if len(found) > MOST:
            raise Invalid(f"More than {MOST} agents have these tags, which is the most that one message may go to.")
        return await asked(courier, context, found, arguments["message"])

    async def tell_group(context: ToolContext, arguments: Arguments) -> Returned:
        found = await courier.led(context)
        if not found:
            raise Invalid("You lead no group that has agents in it.")
        return await asked(courier, context, found, arguments["message"])

    async def send(context: ToolContext, arguments: Arguments) -> Returned:
        await courier.send(context, *_addressed(context, arguments, _GOES_ON))
        return Returned(text=SENT)

    said = parameters({"message": _MESSAGE}, required=("message",))
    one = parameters({"message": _MESSAGE, "other_agent_id": _OTHER}, required=("message", "other_agent_id"))
    return (
        define(
            NAMES[0], _TYPE, "Say something to another agent and wait for what it answers.",
            Acts(parameters=one, run=ask, seconds=PATIENCE, repeatable=True), parallel=True,
        ),
        define(
            NAMES[1], _TYPE,
            "Say something to every other agent that has certain tags, all at once, and wait for what they answer. "
            f"At most {MOST} agents are written to.",
            Acts(parameters=_BY_TAGS, run=broadcast, seconds=PATIENCE, repeatable=True), parallel=True,
        ),
        define(
            NAMES[2], _TYPE,
            "Leave a message for another agent and go on at once. It reads the message when it has time; if it has "
            "something to answer, it writes to you.",
            Acts(parameters=one, run=send, repeatable=True),
        ),
        define(
            BROADCAST, _TYPE, "Say something to every agent of the group you lead, and wait for what they answer.",
            Acts(parameters=said, run=tell_group, seconds=PATIENCE, repeatable=True), parallel=True,
        ),
    )  # fmt: skip


async def asked(courier: Courier, context: ToolContext, agent_ids: Sequence[str], message: str) -> Returned:
    """Say the same to several agents and wait for all of them. Who cannot be asked or answer has an `error` instead."""

    async def ask(agent_id: str) -> Mapping[str, Any]:
        try:
            return _entry(agent_id, await courier.ask(context, agent_id, incoming(context, message, _WAITS)))
        except PerdureError as error:
            return _entry(agent_id, Answer((), error.message))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(agent_id)) for agent_id in agent_ids]
    entries = [task.result() for task in tasks]
    failed = bool(entries) and all("error" in entry for entry in entries)
    return Returned(text=_text(entries), status="error" if failed else "success")


def incoming(context: ToolContext, message: str, manner: str) -> str:
    """The message as the other agent reads it: programs look for the id, and the agent has to know who speaks."""
    return f"[Incoming message from agent with ID '{context.agent.id}' - {manner}] {message}"


def _addressed(context: ToolContext, arguments: Arguments, manner: str) -> tuple[str, str]:
    return arguments["other_agent_id"], incoming(context, arguments["message"], manner)


def _entry(agent_id: str, answer: Answer) -> Mapping[str, Any]:
    entry: dict[str, Any] = {"agent_id": agent_id, "response": list(answer.said)}
    return entry if answer.failure is None else {**entry, "error": answer.failure}


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


_TAGS: Final = {"type": "array", "items": {"type": "string"}}
_BY_TAGS: Final = parameters(
    {
        "message": _MESSAGE,
        "match_all": {**_TAGS, "description": "Tags an agent must all have."},
        "match_some": {**_TAGS, "description": "Tags of which an agent must have at least one."},
    },
    required=("message",),
)
