"""An agent file is agents on their way from one server to another: what one holds, going out and coming in.

Inside a file everything goes by names of the file's own, such as `block-0`; the ids here are those.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.domain.agents import AgentDetails, NewAgent
from perdure.domain.blocks import Block
from perdure.domain.conversations import Conversation
from perdure.domain.messages import Message
from perdure.domain.tools import Tool


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to be written to a file, oldest message first.

    `earlier` are messages that left its context, `context` those its model sees, without the system message: every
    server compiles its own. `isolated` are the blocks it has for itself.
    """

    conversation: Conversation
    earlier: tuple[Message, ...] = ()
    context: tuple[Message, ...] = ()
    isolated: tuple[Block, ...] = ()


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """An agent to be written to a file: the conversation that a reader of the file goes on with, and all others."""

    details: AgentDetails
    system: Message
    thread: Thread
    others: tuple[Thread, ...] = ()


class UnpackedThread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as a file has it. `fields` are those of `Conversation`, its `model` as a handle."""

    fields: dict[str, Any] = {}
    earlier: tuple[Message, ...] = ()
    context: tuple[Message, ...] = ()
    isolated: tuple[Block, ...] = ()


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as a file has it. `block_ids` and `tool_ids` are those of the file."""

    new: NewAgent
    block_ids: tuple[str, ...]
    tool_ids: tuple[str, ...]
    thread: UnpackedThread
    others: tuple[UnpackedThread, ...] = ()


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds. `left_out` says what it also has and nothing here is made of."""

    agents: tuple[Unpacked, ...]
    blocks: Mapping[str, Block]
    tools: Mapping[str, Tool]
    left_out: tuple[str, ...] = ()


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How agents are made of a file. `model` and `embedding` are handles that take the place of those in it."""

    name: str | None = None
    copy_suffix: bool = True
    model: str | None = None
    embedding: str | None = None
    override_tools: bool = False
    strip_messages: bool = False
    secrets: Mapping[str, str] = {}
    project_id: str | None = None


class Imported(msgspec.Struct, frozen=True):
    """The agents that were made, and what to know about them: each a sentence."""

    agent_ids: tuple[str, ...]
    warnings: tuple[str, ...]
