"""What a model request holds, read back from the text a model would see."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from perdure.domain.messages import ImagePart, Message, ToolCallPart, ToolReturnPart
from perdure.providers.base import ModelRequest

HUMAN: Final = "human"
"""The label of the block that is about the person."""

MAX_READ: Final = 20_000
"""Characters of one input that are looked at; rules need no more, and a pasted book must not cost a second."""

_TAG: Final = re.compile(r"<([^<>/\n]+)>\s*<description>")
_CURRENT: Final = re.compile(r"chars_current=(\d{1,9})")
_ENVELOPES: Final = frozenset({"heartbeat", "login", "system_alert"})
"""Kinds of JSON text that stand in user messages but that no person wrote."""


class MemoryBlock(msgspec.Struct, frozen=True):
    """A block as the system message shows it."""

    label: str
    value: str
    read_only: bool = False

    @property
    def lines(self) -> list[str]:
        return [line for line in self.value.splitlines() if line.strip()]


class Answered(msgspec.Struct, frozen=True):
    """A tool call made for the present input, with what came back."""

    name: str
    arguments: dict[str, Any]
    failed: bool
    text: str


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the rules look at.

    `text` is what was just said; `done` what was called for it, in order; `nudges` are the server's own notes since
    then; `earlier` is what the person said before, oldest first. `tools` are the schemas on offer, by name.
    """

    blocks: tuple[MemoryBlock, ...]
    text: str
    images: int
    done: tuple[Answered, ...]
    nudges: tuple[str, ...]
    earlier: tuple[str, ...]
    tools: dict[str, dict[str, Any]]

    def block(self, label: str) -> MemoryBlock | None:
        return next((block for block in self.blocks if block.label == label), None)


def read_situation(request: ModelRequest) -> Situation:
    """Read a request. Odd input gives a poorer reading, never an error."""
    messages = list(request.messages)
    system = messages.pop(0).text if messages and messages[0].role == "system" else ""
    start, end = _latest_input(messages)
    said = [message for message in messages[start:end] if _said(message) is not None]
    tools = {} if request.tool_choice == "none" else {str(tool.get("name", "")): tool for tool in request.tools}
    return Situation(
        blocks=tuple(read_blocks(system)),
        text="\n".join(text for message in said if (text := _said(message)))[:MAX_READ],
        images=sum(isinstance(part, ImagePart) for message in said for part in message.parts),
        done=tuple(_answered(messages[end:])),
        nudges=tuple(message.text for message in messages[end:] if message.role == "user"),
        earlier=tuple(text[:MAX_READ] for message in messages[:start] if (text := _said(message))),
        tools=tools,
    )


def read_blocks(system: str) -> Iterator[MemoryBlock]:
    """The blocks of a compiled system message, in order.

    Their text stands there as it is, tags and all, so the character count shown with a block decides where it ends.
    """
    at = system.find("<memory_blocks>")
    while at >= 0 and (tag := _TAG.search(system, at)):
        label = tag[1]
        value_at = system.find("<value>", tag.end())
        if value_at < 0:
            return
        head = system[tag.end() : value_at].rpartition("<metadata>")[2]
        value_at += len("<value>")
        value, at = _value(system, value_at, label, _CURRENT.search(head))
        if value is not None:
            yield MemoryBlock(label, value, "read_only=true" in head)


def _value(system: str, start: int, label: str, count: re.Match[str] | None) -> tuple[str | None, int]:
    """The value that begins at `start` and where to read on; None where no end of it can be found."""
    closing = re.compile(rf"\n?</value>\s*</{re.escape(label)}>")
    if system.startswith("\n", start):
        start += 1
    if count is not None:
        end = closing.match(system, start + int(count[1]))
        if end is not None:
            return system[start : end.start()], end.end()
    end = closing.search(system, start)
    return (None, start) if end is None else (system[start : end.start()], end.end())


def _latest_input(messages: Sequence[Message]) -> tuple[int, int]:
    """Where the latest input begins and ends: the last thing said, with what was said directly before it."""
    end = len(messages)
    while end and _said(messages[end - 1]) is None:
        end -= 1
    start = end
    while start and (messages[start - 1].role in ("user", "system")):
        start -= 1
    return start, end


def _said(message: Message) -> str | None:
    """What somebody said in this message, or None where it is not that: a tool's return, or a note of the server."""
    if message.role not in ("user", "system"):
        return None
    text = message.text
    if text.startswith("{"):
        envelope = _object(text)
        if envelope.get("type") in _ENVELOPES:
            return None
        if envelope.get("type") == "user_message":
            return str(envelope.get("message", ""))
    return text


def _answered(messages: Sequence[Message]) -> Iterator[Answered]:
    calls: dict[str, ToolCallPart] = {}
    for message in messages:
        calls |= {call.call_id: call for call in message.tool_calls}
        for part in message.parts:
            if isinstance(part, ToolReturnPart):
                call = calls.get(part.call_id)
                arguments = _object(call.arguments) if call else {}
                yield Answered(part.name or (call.name if call else ""), arguments, part.status == "error", part.text)


def _object(text: str) -> dict[str, Any]:
    """The JSON object in `text`, or an empty one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
