"""History in the words of Anthropic's messages: user and assistant by turns, made of blocks.

What holds here and nowhere else: the user speaks first and last; what a call returned stands first in the next user
message; no text is blank; a thought comes back word for word or not at all, and only to the model that had it.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from perdure.domain.messages import (
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.providers.images import media_type
from perdure.providers.openai_body import object_text, tool_name

VENDOR: Final = "anthropic"
"""The key in a part's `extra` of what it has from this dialect: the `model` that thought it, and a `signature`."""

GO_ON: Final = "[The conversation goes on from here.]"
"""What the user says where the model would have to speak first, or twice."""

THOUGHTS: Final = ("thinking", "redacted_thinking")

_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_CALL_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Block = dict[str, Any]


def system_of(messages: Sequence[Message]) -> tuple[list[Block], Sequence[Message]]:
    """The blocks of the system prompt, and the messages after it."""
    end = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    return [block for message in messages[:end] for block in _texts(message.text)], messages[end:]


def turns(messages: Sequence[Message], thinker: str | None) -> list[dict[str, Any]]:
    """The messages by turns. Thoughts that the model `thinker` had come back to it; None leaves all of them out."""
    said: list[dict[str, Any]] = []
    for message in messages:
        if message.role in ("assistant", "approval"):
            _add(said, "assistant", list(_answered(message, thinker)))
        else:
            _add(said, "user", list(_asked(message)))
    spoken: list[dict[str, Any]] = []
    for turn in said:
        _add(spoken, turn["role"], _finished(turn["content"]))
    for turn in spoken:
        if turn["role"] == "user":
            turn["content"].sort(key=_stands_later)
    if not spoken or spoken[0]["role"] == "assistant":
        spoken.insert(0, {"role": "user", "content": _texts(GO_ON)})
    if spoken[-1]["role"] == "assistant":
        spoken.append({"role": "user", "content": _texts(GO_ON)})
    return spoken


def is_mid_thought(spoken: Sequence[dict[str, Any]]) -> bool:
    """Whether the model waits for what its calls returned, and began without a thought.

    Models that think by budget refuse to think on from there.
    """
    if spoken[-1]["content"][0]["type"] != "tool_result" or len(spoken) < 2:
        return False
    return spoken[-2]["content"][0]["type"] not in THOUGHTS


def called(spoken: Sequence[dict[str, Any]]) -> list[str]:
    """The names of the tools that history has calls of, each once."""
    return list(dict.fromkeys(b["name"] for turn in spoken for b in turn["content"] if b["type"] == "tool_use"))


def _add(spoken: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    """Adds blocks to the last turn, if it is of that role, or in a turn of their own; nothing for none."""
    if blocks and spoken and spoken[-1]["role"] == role:
        spoken[-1]["content"] += blocks
    elif blocks:
        spoken.append({"role": role, "content": blocks})


def _finished(blocks: list[Block]) -> list[Block]:
    """The blocks without thoughts at their end: an answer broke off there, and the API refuses a turn that ends so."""
    end = len(blocks)
    while end and blocks[end - 1]["type"] in THOUGHTS:
        end -= 1
    return blocks[:end]


def _stands_later(block: Block) -> bool:
    return block["type"] != "tool_result"


def _asked(message: Message) -> Iterator[Block]:
    for part in message.parts:
        if isinstance(part, TextPart):
            # Only what opens a history is its system prompt; what comes later must not be taken for the user's words.
            text = f"<system>{part.text}</system>" if message.role == "system" else part.text
            yield from _texts(text)
        elif isinstance(part, ImagePart):
            yield from _image(part)
        elif isinstance(part, ToolReturnPart):
            yield _returned(part)


def _answered(message: Message, thinker: str | None) -> Iterator[Block]:
    for part in message.parts:
        if isinstance(part, TextPart) or (isinstance(part, ReasoningPart) and not part.native):
            yield from _texts(part.text)
        elif isinstance(part, ReasoningPart | HiddenReasoningPart):
            yield from _thought(part, thinker)
        elif isinstance(part, ToolCallPart):
            name, arguments = tool_name(part.name), msgspec.Raw(object_text(part.arguments).encode())
            yield {"type": "tool_use", "id": _call_id(part.call_id), "name": name, "input": arguments}


def _thought(part: ReasoningPart | HiddenReasoningPart, thinker: str | None) -> Iterator[Block]:
    ours: dict[str, Any] = part.extra.get(VENDOR) or {}
    if thinker is None or ours.get("model") != thinker:
        return
    if isinstance(part, ReasoningPart):
        if part.signature is not None:
            yield {"type": "thinking", "thinking": part.text, "signature": part.signature}
    elif part.state == "redacted":
        yield {"type": "redacted_thinking", "data": part.data or ""}
    elif "signature" in ours:
        yield {"type": "thinking", "thinking": "", "signature": ours["signature"]}


def _texts(text: str) -> list[Block]:
    return [{"type": "text", "text": text}] if text.strip() else []


def _image(part: ImagePart) -> list[Block]:
    kind = media_type(part)
    if kind not in _IMAGES:
        return _texts(f"[Here was an image of type {kind}, which this model cannot see.]")
    return [{"type": "image", "source": {"type": "base64", "media_type": kind, "data": part.data}}]


def _returned(part: ToolReturnPart) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _call_id(part.call_id)}
    if said := [*_texts(part.text), *(block for image in part.images for block in _image(image))]:
        block["content"] = said
    if part.status == "error":
        block["is_error"] = True
    return block


def _call_id(call_id: str) -> str:
    """The id, or a stand-in that is always the same where another provider made it of what is not allowed here."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return f"toolu_{hashlib.sha256(call_id.encode()).hexdigest()[:24]}"
