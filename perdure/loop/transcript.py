"""History written down for somebody who was not there, in as many bytes as there are."""

from collections.abc import Iterable, Sequence
from typing import Final

from perdure.domain.messages import (
    ImagePart,
    Message,
    ReasoningPart,
    SummaryPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    envelope_in,
)
from perdure.loop.context import local_time
from perdure.loop.room import level, shortened

LEAST: Final = 300
"""Bytes of an entry below which it is better to leave out some altogether."""
TAG: Final = "transcript"


def transcript(messages: Sequence[Message], stays: Sequence[Message], timezone: str, most: int) -> str:
    """The messages in order, between tags, in at most about so many bytes.

    The longest entries are shortened first; where that is not enough, entries in the middle are left out, so that the
    beginning, which may be an earlier summary, and the end are there. `stays` is what will be in view anyway.
    """
    entries = _written(messages, timezone)
    room = most - 200
    if stays:
        said = "\n".join(_written(stays, timezone))
        closing = f"\nThis stays in view after the summary, and all that came of it is in the transcript:\n{said}"
        closing = shortened(closing, room // 4)
        room -= len(closing.encode())
    else:
        closing = ""
    text = "\n\n".join(_within(entries, room))
    return f"<{TAG}>\n{text}\n</{TAG}>{closing}"


def _within(entries: Sequence[str], most: int) -> list[str]:
    sizes = [len(entry.encode()) + 2 for entry in entries]
    if sum(sizes) <= most:
        return list(entries)
    bound = level(sizes, most)
    if bound >= LEAST:
        return [shortened(entry, bound - 2) for entry in entries]
    count = max(2, most // LEAST)
    head = count // 4
    gap = f"[… {len(entries) - count} entries left out …]"
    kept = [*entries[: head + 1], gap, *entries[head + 1 - count :]] if count < len(entries) else list(entries)
    return [shortened(entry, max(0, most // len(kept) - 2)) for entry in kept]


def _written(messages: Sequence[Message], timezone: str) -> list[str]:
    # What somebody said must not end the transcript.
    return [entry.replace(f"</{TAG}>", "") for message in messages for entry in _entries(message, timezone)]


def _entries(message: Message, timezone: str) -> Iterable[str]:
    when = local_time(message.created_at, timezone)
    texts: list[str] = []
    for part in message.parts:
        match part:
            case SummaryPart(text=text):
                yield f"[earlier summary]\n{text}"
            case TextPart(text=text) | ReasoningPart(text=text, native=False):
                texts += [said] if (said := _unwrapped(message, text)) else []
            case ImagePart():
                texts.append("[an image]")
            case _:
                pass
    if texts:
        who = message.name or message.role
        yield f"[{who}, {when}]\n" + "\n".join(texts)
    for part in message.parts:
        match part:
            case ToolCallPart(name=name, arguments=arguments):
                yield f"[assistant calls {name}]\n{arguments}"
            case ToolReturnPart(name=name, status=status, text=text):
                yield f"[{name} returned, {status}]\n{text}"
            case _:
                pass


def _unwrapped(message: Message, text: str) -> str:
    """What was said; nothing where it is a note of the server that means nothing later."""
    envelope = envelope_in(text) if message.role == "user" else None
    return text if envelope is None else envelope.message
