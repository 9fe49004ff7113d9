"""Images in history, of which some vendor may not take one: no conversation is lost over a picture.

An image stays in history, so a request that is refused for it would be refused for ever.
"""

import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import msgspec

from perdure.domain.errors import ContextOverflow, ModelError
from perdure.domain.messages import AnyPart, ImagePart, Message, TextPart, ToolReturnPart
from perdure.logs import Log
from perdure.providers.base import AnyDelta, ModelRequest

UNSEEN: Final = "[Here was an image, which this model cannot be shown.]"

_BEGINNINGS: Final = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"))
_ABOUT_IMAGES: Final = re.compile(r"image|inline_?data|mime type|vision", re.IGNORECASE)
"""How vendors, local servers and models without eyes say that it is a picture they will not have."""

_log = Log(__name__)


def media_type(image: ImagePart) -> str:
    """What an image is by its first bytes: vendors refuse one that is called something else."""
    data = image.data
    if data.startswith("UklGR") and data[12:16] == "RUJQ":
        return "image/webp"
    return next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), image.media_type)


def has_images(messages: Sequence[Message]) -> bool:
    """Whether there is an image in one of them, or in what a call returned."""
    return any(_holds_image(part) for message in messages for part in message.parts)


def beside_returns(request: ModelRequest) -> ModelRequest:
    """The request with images that calls returned in a message after them, for dialects whose returns are text."""
    messages: list[Message] = []
    waiting: list[AnyPart] = []

    def show() -> None:
        if waiting:
            messages.append(msgspec.structs.replace(messages[-1], role="user", parts=tuple(waiting)))
            waiting.clear()

    for message in request.messages:
        if message.role != "tool":
            show()
        messages.append(message)
        for part in message.tool_returns if message.role == "tool" else ():
            if part.images:
                waiting += [TextPart(text=f"[What {part.name} returned holds these images.]"), *part.images]
    show()
    return msgspec.structs.replace(request, messages=messages)


def _holds_image(part: AnyPart) -> bool:
    return isinstance(part, ImagePart) or (isinstance(part, ToolReturnPart) and bool(part.images))


async def shown(
    ask: Callable[[ModelRequest], AsyncGenerator[Sequence[AnyDelta]]], request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """What `ask` yields; asks once more without images where one is refused that was not just sent.

    Raises ModelError like `ask`, so that whoever sends an image which cannot be seen is told.
    """
    begun = False
    try:
        async with contextlib.aclosing(ask(request)) as answer:
            async for batch in answer:
                begun = True
                yield batch
        return
    except ModelError as error:
        sent = any(isinstance(part, ImagePart) for part in request.messages[-1].parts)
        if begun or sent or not _is_about_images(error):
            raise
        _log.info("model_asked_without_images", model=request.model.handle, reason=error.detail)
    async with contextlib.aclosing(ask(_without_images(request))) as answer:
        async for batch in answer:
            yield batch


def _is_about_images(error: ModelError) -> bool:
    kinds = ("llm_bad_request", "llm_error")  # llama.cpp answers 500.
    return (
        error.error_type in kinds
        and not isinstance(error, ContextOverflow)
        and _ABOUT_IMAGES.search(error.detail) is not None
    )


def _without_images(request: ModelRequest) -> ModelRequest:
    messages = [
        msgspec.structs.replace(message, parts=tuple(_unseen(part) for part in message.parts))
        if has_images((message,))
        else message
        for message in request.messages
    ]
    return msgspec.structs.replace(request, messages=messages)


def _unseen(part: AnyPart) -> AnyPart:
    if isinstance(part, ToolReturnPart) and part.images:
        return msgspec.structs.replace(part, text=f"{part.text}\n{UNSEEN}".lstrip(), images=())
    return TextPart(text=UNSEEN) if isinstance(part, ImagePart) else part
