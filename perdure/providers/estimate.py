"""How many tokens a text will be, before anyone has counted: bytes, by a factor that each model's reports correct."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from perdure.domain.messages import (
    AnyPart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.domain.models import Model
from perdure.logs import Log
from perdure.providers.base import ModelRequest
from perdure.providers.images import has_images

_log = Log(__name__)

BYTES_PER_TOKEN: Final = 3.0
"""What is assumed of a model nobody has asked yet. English prose has more, so that the first guess is too high."""
PRIOR_TOKENS: Final = 500.0
"""The assumption weighs as much as one prompt of this length, so that a short one does not mislead."""
KEPT: Final = 0.7
"""What is left of the weight of earlier prompts when another one is reported: the last few decide."""
BELIEVED: Final = (0.5, 12.0)
"""Bytes per token that can be true. Some servers leave out what they had cached, or count other things."""

MESSAGE_BYTES: Final = 12
"""For the tokens that stand around every message, call and return."""
IMAGE_BYTES: Final = 4_500
"""For an image: with the first assumption 1,500 tokens, which is about what a large one costs."""


class TokenEstimate:
    """Turns sizes into tokens, for each model by what its server said of earlier prompts. Never fails, holds no text.

    A mean, not a bound: prose and code of the same size differ by a quarter, so leave a margin.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str | None, str], tuple[float, float]] = {}
        self._windows: dict[tuple[str | None, str], int] = {}

    def tokens(self, model: Model, size: int) -> int:
        """About how many tokens `size` bytes (of `size_of`) are to `model`; rounded up."""
        seen, tokens = self._seen.get(_key(model), _PRIOR)
        return -int(-size * tokens // seen)

    def note_window(self, model: Model, window: int | None) -> None:
        """Note how many tokens a model holds whose server cuts what does not fit; None where it does not do that."""
        if window is not None:
            self._windows[_key(model)] = window

    def learn(self, request: ModelRequest, prompt_tokens: int) -> None:
        """Note what the prompt of `request` really was. One with images is passed over: it says little of text."""
        if has_images(request.messages):
            return
        size = size_of(request.messages, request.tools)
        prompt_tokens = self._uncut(request.model, size, prompt_tokens)
        least, most = BELIEVED
        if not least * prompt_tokens <= size <= most * prompt_tokens:
            return
        seen, tokens = self._seen.get(_key(request.model), _PRIOR)
        self._seen[_key(request.model)] = (seen * KEPT + size, tokens * KEPT + prompt_tokens)

    def _uncut(self, model: Model, size: int, reported: int) -> int:
        """The tokens of a prompt: a window at least, where the report is that of what was left of one that was cut."""
        window = self._windows.get(_key(model))
        # Of what does not fit, half a window is kept.
        if window is None or abs(reported - window // 2) > _ABOUT or self.tokens(model, size) <= reported * 1.2:
            return reported
        _log.warning("prompt_was_cut", model=model.handle, window=window, kept=reported)
        return window


_ABOUT: Final = 4
"""Tokens by which half a window is missed."""
_PRIOR: Final = (BYTES_PER_TOKEN * PRIOR_TOKENS, PRIOR_TOKENS)


def size_of(messages: Iterable[Message], tools: Sequence[dict[str, Any]] = ()) -> int:
    """Bytes of what a model reads of these messages and tools, each with a little for what stands around it.

    Reasoning does not count, since most dialects send none back; where one does, the factor comes to cover it.
    """
    size = sum(MESSAGE_BYTES + len(msgspec.json.encode(tool)) for tool in tools)
    for message in messages:
        size += MESSAGE_BYTES
        for part in message.parts:
            if measure := _MEASURES.get(type(part)):
                size += measure(part)
    return size


def _key(model: Model) -> tuple[str | None, str]:
    # Not the handle: two tenants may give the same name to different servers.
    return model.endpoint, model.name


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


# Every message of a context is measured at every step: looking its parts up costs a third of matching them.
_MEASURES: Final[dict[type[AnyPart], Callable[[Any], int]]] = {
    TextPart: lambda part: _bytes(part.text),
    ReasoningPart: lambda part: 0 if part.native else _bytes(part.text),
    ToolCallPart: lambda part: MESSAGE_BYTES + _bytes(part.name) + _bytes(part.arguments),
    ToolReturnPart: lambda part: MESSAGE_BYTES + _bytes(part.text) + IMAGE_BYTES * len(part.images),
    ImagePart: lambda part: IMAGE_BYTES,
}
