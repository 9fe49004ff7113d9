"""Images that a request names by their web address, fetched once, before anything is stored.

History then never depends on somebody else's server, and an address that gives no image is refused while the caller
can still mend it.
"""

import asyncio
import base64
from collections.abc import Iterator
from typing import Final

from perdure.domain.errors import Invalid, Unavailable
from perdure.providers import outbound
from perdure.wire.requests import Base64Image, ImageContent, MessageBody, SendMessageBody, UrlImage

MAX_IMAGE: Final = 20 * 1024 * 1024
"""Bytes of one image, which is what providers take at most."""
TIME_LIMIT: Final = 15.0
"""Seconds for all images of a request: SDKs give up after a minute without an answer."""

_KINDS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


async def inline_images(body: SendMessageBody, *, allow_private: bool, most: int) -> None:
    """Put the images themselves where `body` has their addresses, `most` bytes of them in all.

    Raises Invalid for an address that may not be called, that does not answer, or that gives no image.
    """
    fetched: dict[str, Base64Image] = {}
    ends_at = asyncio.get_running_loop().time() + TIME_LIMIT
    for part in _named(body):
        url = part.source.url if isinstance(part.source, UrlImage) else ""
        if url not in fetched:
            left = ends_at - asyncio.get_running_loop().time()
            data = await _fetched(url, allow_private=allow_private, time_limit=left, most=min(most, MAX_IMAGE))
            most -= len(data)
            encoded = base64.b64encode(data).decode()
            fetched[url] = Base64Image(type="base64", media_type=_media_type(url, data), data=encoded)
        part.source = fetched[url]


def _named(body: SendMessageBody) -> Iterator[ImageContent]:
    """The images that are named by an address."""
    contents = [message.content for message in body.messages or () if isinstance(message, MessageBody)]
    for content in (body.input, *contents):
        for part in content if isinstance(content, list) else ():
            if (
                isinstance(part, ImageContent)
                and isinstance(part.source, UrlImage)
                and part.source.url[:5].lower() != "data:"
            ):
                yield part


async def _fetched(url: str, *, allow_private: bool, time_limit: float, most: int) -> bytes:
    try:
        return await outbound.get(url, allow_private=allow_private, time_limit=time_limit, most=most)
    except (Invalid, Unavailable) as error:
        raise Invalid(f"The image at {url[:200]} cannot be used. {error.message}") from error


def _media_type(url: str, data: bytes) -> str:
    """What an image is by its first bytes: what its server calls it may be anything."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    for beginning, media_type in _KINDS:
        if data.startswith(beginning):
            return media_type
    raise Invalid(f"What lies at {url[:200]} is no image that models can see: it must be PNG, JPEG, GIF or WebP.")
