"""How much a model call can hold: where compaction begins, and what is cut of things too large by themselves.

Sizes are bytes as `providers.estimate` counts them; an estimate learnt for each model turns them into tokens. Nothing
here touches what is stored: what is cut is cut in what is sent, and whole again once there is room.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from perdure.domain.agents import window_with
from perdure.domain.messages import AnyPart, ImagePart, Message, ReasoningPart, TextPart, ToolCallPart, ToolReturnPart
from perdure.domain.runs import Usage
from perdure.loop.approval import return_chars
from perdure.loop.turn import Models, Turn
from perdure.providers.estimate import size_of

THRESHOLD: Final = 0.9
"""The share of the window that may be used before history is compacted."""
LEFT_BY_ONE: Final = 0.15
"""The share of the window that the largest message leaves to all others."""
SURE_BYTES_PER_TOKEN: Final = 4.5
"""Text with more bytes a token than this is rare, so what is too large by this measure is too large."""
LEAST_OF_A_RETURN: Final = 600
LEAST_OF_A_TEXT: Final = 150
"""Bytes that are left of each, where all of them together are too much."""
NOTED: Final = 120
"""Bytes from which on it is said what was left out."""
_MEASURE: Final = 1_000_000

OVERFULL: Final = "context_window_overflow_in_system_prompt"
OVERFULL_TEXT: Final = (
    "Compaction failed because the system prompt is too large: with the tools, it alone fills the context window. "
    "Shorten the system prompt or the memory blocks, detach tools, or raise context_window_limit."
)


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What one run's model can hold, in tokens.

    `window` is what it is said to hold, `holds` what is believed of it: less, once it refused something smaller.
    `answer` is what its answer may take, `tools` the bytes of what it is told of tools.
    """

    window: int
    holds: int
    answer: int
    tools: int
    estimate: Callable[[int], int]

    @property
    def limit(self) -> int:
        """The tokens that a prompt may take."""
        return min(int(self.holds * THRESHOLD), max(self.holds - self.answer, self.holds // 2))

    def tokens(self, messages: Sequence[Message]) -> int:
        """About how many tokens these messages take, with the tools."""
        return self.estimate(self.tools + size_of(messages))

    def size(self, tokens: float) -> int:
        """About how many bytes of messages and tools make so many tokens."""
        return bytes_of(tokens, self.estimate)

    def is_spent(self, usage: Usage) -> bool:
        """Whether a call, by what the provider reported of it, leaves too little for the next one.

        Reasoning is not sent back, or at least not for long.
        """
        return usage.total_tokens - (usage.reasoning_tokens or 0) > self.limit

    def shrunk(self, refused: int, limit: int | None = None) -> "Room":
        """The room that is left to believe in, after a prompt of about so many tokens was refused as too long.

        `limit` is how many the model was said to hold then. It is of no use where the prompt was taken to be shorter.
        """
        if limit is not None and limit < min(self.holds, refused):
            return msgspec.structs.replace(self, holds=limit)
        return msgspec.structs.replace(self, holds=int(min(self.holds, refused) * 0.75))

    def is_overfull(self, system: Sequence[Message]) -> bool:
        """Whether the system message and the tools alone are more than the window, by any measure."""
        size = self.tools + size_of(system)
        return min(self.estimate(size), size / SURE_BYTES_PER_TOKEN) >= self.window

    def capped(self, messages: Sequence[Message]) -> list[Message]:
        """The messages, each cut to what leaves room for others, and tool returns to a share of the window.

        The system message, which comes first, stays whole.
        """
        returns = return_chars(self.window)
        fixed = self.tools + size_of(messages[:1])
        most = max(self.size(self.limit - self.holds * LEFT_BY_ONE) - fixed, self.size(self.holds / 8))
        return [*messages[:1], *(_capped(message, most, returns) for message in messages[1:])]

    def fitted(self, capped: Sequence[Message]) -> Sequence[Message]:
        """Messages that are capped, cut further where together they are still too much: the longest first.

        Tool returns and arguments go first, then images, then text.
        """
        most = self.size(self.limit) - self.tools
        if size_of(capped) <= most:
            return capped
        kept = _evened(capped, most, (ToolReturnPart, ToolCallPart), LEAST_OF_A_RETURN)
        if (excess := size_of(kept) - most) > 0:
            kept = _without_images(kept, excess)
        if size_of(kept) > most:
            kept = _evened(kept, most, (ToolReturnPart, ToolCallPart, TextPart, ReasoningPart), LEAST_OF_A_TEXT)
        return kept


def room_of(turn: Turn, models: Models) -> Room:
    """The room that a run has."""
    window = window_with(turn.agent, turn.model)
    return Room(
        window=window,
        holds=window,
        answer=turn.agent.settings.max_output_tokens or 0,
        tools=size_of((), [tool.json_schema for tool in turn.tools]),
        estimate=partial(models.estimate, turn.model),
    )


def bytes_of(tokens: float, estimate: Callable[[int], int]) -> int:
    """About how many bytes so many tokens are, by an estimate of the opposite."""
    return int(tokens * _MEASURE / max(1, estimate(_MEASURE)))


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and end in at most so many bytes."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= most:
        return text
    if most < NOTED:
        return data[: max(0, most)].decode("utf-8", "ignore")
    kept = most - NOTED // 2
    head, tail = data[: kept * 2 // 3], data[len(data) - kept // 3 :]
    gap = f"\n[… {len(data) - len(head) - len(tail)} bytes left out …]\n"
    return head.decode("utf-8", "ignore") + gap + tail.decode("utf-8", "ignore")


def level(sizes: Sequence[int], budget: int) -> int:
    """The highest bound on each of these sizes with which their sum is within the budget; 0 where none is."""
    left = budget
    for count, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        if size * count > left:
            return max(0, left // count)
        left -= size
    return max(sizes, default=0)


def _capped(message: Message, most: int, returns: int) -> Message:
    if message.role == "tool" and any(len(part.text) > returns for part in message.tool_returns):
        message = _clip_parts(message, (ToolReturnPart,), returns)
    excess = size_of((message,)) - most
    if excess <= 0:
        return message
    sizes = [_weight(part) for part in message.parts]
    bound = max(LEAST_OF_A_TEXT, level(sizes, sum(sizes) - excess))
    return _clip_parts(message, (ToolReturnPart, ToolCallPart, TextPart), bound)


def _evened(messages: Sequence[Message], most: int, kinds: tuple[type[AnyPart], ...], least: int) -> list[Message]:
    """The messages with the longest parts of these kinds cut to one length, so that all fit if they can."""
    sizes = [_weight(part) for message in messages[1:] for part in message.parts if isinstance(part, kinds)]
    bound = max(least, level(sizes, sum(sizes) + most - size_of(messages)))
    return [*messages[:1], *(_clip_parts(message, kinds, bound) for message in messages[1:])]


def _clip_parts(message: Message, kinds: tuple[type[AnyPart], ...], most: int) -> Message:
    parts = tuple([_clip(part, most) if isinstance(part, kinds) else part for part in message.parts])
    return msgspec.structs.replace(message, parts=parts)


def _weight(part: AnyPart) -> int:
    """Bytes that can be cut from a part. What a vendor has sealed cannot be cut."""
    match part:
        case TextPart(text=text) | ReasoningPart(text=text, native=False) | ToolReturnPart(text=text):
            return len(text.encode("utf-8", "surrogatepass"))
        case ToolCallPart(arguments=text):
            return len(text.encode("utf-8", "surrogatepass"))
        case _:
            return 0


def _clip(part: AnyPart, most: int) -> AnyPart:
    if _weight(part) <= most:
        return part
    match part:
        case TextPart() | ReasoningPart() | ToolReturnPart():
            return msgspec.structs.replace(part, text=shortened(part.text, most))
        case ToolCallPart():
            return msgspec.structs.replace(part, arguments=_clip_arguments(part.arguments, most))
        case _:
            return part


def _clip_arguments(text: str, most: int) -> str:
    """Arguments with their long strings cut; none where that is not enough: they have to stay a JSON object."""
    try:
        values: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        return "{}"
    strings = [len(value.encode()) for value in values.values() if isinstance(value, str)]
    others = len(msgspec.json.encode({name: "" if isinstance(each, str) else each for name, each in values.items()}))
    # Quotes and line ends take two bytes inside JSON, so the first cut may not be enough.
    for share in (1.0, 0.5):
        bound = int(level(strings, most - others) * share)
        short = {name: shortened(each, bound) if isinstance(each, str) else each for name, each in values.items()}
        encoded = msgspec.json.encode(short)
        if len(encoded) <= most:
            return encoded.decode()
    return "{}"


def _without_images(messages: Sequence[Message], excess: int) -> list[Message]:
    """The messages with a word in the place of images, from the oldest on, until so many bytes are saved."""
    kept: list[Message] = []
    for message in messages:
        images = [part for part in message.parts if isinstance(part, ImagePart)]
        if images and excess > 0:
            before = size_of((message,))
            parts = tuple(TextPart(text="[image left out]") if part in images else part for part in message.parts)
            message = msgspec.structs.replace(message, parts=parts)
            excess -= before - size_of((message,))
        kept.append(message)
    return kept
