"""Images that a request names by their web address, fetched once, before anything is stored.

History then never depends on somebody else's server, and an address that gives no image is refused while the caller
can still mend it.
"""

import asyncio
import base64
from collections.abc import Iterable, Iterator
from typing import Final

from perdure.domain.errors import Invalid, Unavailable
from perdure.providers import outbound
from perdure.wire.contents import Base64Image, ImageContent, SentContent, UrlImage

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


async def inline_images(contents: Iterable[SentContent], *, allow_private: bool, most: int) -> None:
    """Put the images themselves where messages have their addresses, `most` bytes of them in all.

    Raises Invalid for an address that may not be called, that does not answer, or that gives no image.
    """
    fetched: dict[str, tuple[str, str]] = {}
    ends_at = asyncio.get_running_loop().time() + TIME_LIMIT
    for part, source in _named(contents):
        if source.url not in fetched:
            left = ends_at - asyncio.get_running_loop().time()
            data = await _fetched(source.url, allow_private=allow_private, time_limit=left, most=min(most, MAX_IMAGE))
            most -= len(data)
            fetched[source.url] = _media_type(source.url, data), base64.b64encode(data).decode()
        media_type, encoded = fetched[source.url]
        part.source = Base64Image(type="base64", media_type=media_type, data=encoded, detail=source.detail)


def _named(contents: Iterable[SentContent]) -> Iterator[tuple[ImageContent, UrlImage]]:
    """The images that are named by an address."""
    for content in contents:
        for part in content if isinstance(content, list) else ():
            source = part.source if isinstance(part, ImageContent) else None
            if isinstance(part, ImageContent) and isinstance(source, UrlImage) and source.url[:5].lower() != "data:":
                yield part, source


async def _fetched(url: str, *, allow_private: bool, time_limit: float, most: int) -> bytes:
    try:
        found = await outbound.get(
            url, allow_private=allow_private, setting=outbound.IMAGES, time_limit=time_limit, most=most
        )
        return found.body
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
