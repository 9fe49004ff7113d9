"""An agent file is agents on their way from one server to another: what one holds, going out and coming in.

Inside a file everything goes by names of the file's own, such as `block-0`; the ids here are those.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.domain.agents import AgentDetails, NewAgent
from perdure.domain.archives import Archive
from perdure.domain.blocks import Block
from perdure.domain.conversations import Conversation
from perdure.domain.files import AgentFile, File
from perdure.domain.folders import Folder
from perdure.domain.groups import Group
from perdure.domain.mcp_servers import McpServer
from perdure.domain.messages import Message
from perdure.domain.passages import Passage
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


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """An archive with its passages, oldest first. `embedding` is the handle of its model, where it comes in."""

    archive: Archive
    passages: tuple[Passage, ...]
    embedding: str | None = None


class Shelved(msgspec.Struct, frozen=True):
    """A file with its text; None where it has not been read, or nothing else would fit beside it.

    `key` is its id in the agent file, where it comes in.
    """

    file: File
    text: str | None
    key: str = ""


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with its files. `embedding` is the handle of its model, where it comes in."""

    folder: Folder
    files: tuple[Shelved, ...]
    embedding: str | None = None


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """An agent to be written to a file: the conversation that a reader of the file goes on with, and all others."""

    details: AgentDetails
    system: Message
    thread: Thread
    others: tuple[Thread, ...] = ()
    archives: tuple[Stock, ...] = ()
    folders: tuple[Library, ...] = ()
    files: tuple[AgentFile, ...] = ()


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What is written to a file: an agent, those that look after its memory, and the MCP servers of their tools."""

    agents: tuple[Packed, ...]
    groups: tuple[Group, ...] = ()
    servers: tuple[McpServer, ...] = ()


class UnpackedThread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as a file has it. `fields` are those of `Conversation`, its `model` as a handle."""

    fields: dict[str, Any] = {}
    earlier: tuple[Message, ...] = ()
    context: tuple[Message, ...] = ()
    isolated: tuple[Block, ...] = ()


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as a file has it. The ids are those of the file; `closed` are files that it does not have open."""

    new: NewAgent
    block_ids: tuple[str, ...]
    tool_ids: tuple[str, ...]
    folder_ids: tuple[str, ...]
    thread: UnpackedThread
    closed: frozenset[str] = frozenset()
    others: tuple[UnpackedThread, ...] = ()
    archives: tuple[Stock, ...] = ()


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds. `left_out` says what it also has and nothing here is made of."""

    agents: Mapping[str, Unpacked]
    blocks: Mapping[str, Block]
    tools: Mapping[str, Tool]
    folders: Mapping[str, Library] = {}
    groups: Mapping[str, Group] = {}
    servers: tuple[McpServer, ...] = ()
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
