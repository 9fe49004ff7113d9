"""What somebody sends to be said or shown: text, or parts of it with images between them."""

import base64
import binascii
import re
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

from perdure.domain.errors import Unprocessable
from perdure.domain.messages import ImagePart, TextPart
from perdure.wire.text import Body, Text

_DATA_URL: Final = re.compile(r"data:(?P<type>image/[\w.+-]+);base64,(?P<data>.*)", re.DOTALL)


class TextContent(Body):
    type: Literal["text"] = "text"
    text: Text


class Base64Image(Body):
    type: Literal["base64"] = "base64"
    media_type: str
    data: str
    detail: str | None = None


class UrlImage(Body):
    type: Literal["url"] = "url"
    url: str
    detail: str | None = None


class ImageContent(Body):
    type: Literal["image"] = "image"
    source: Annotated[Base64Image | UrlImage, Field(discriminator="type")]


def _content_kind(value: Any) -> str:
    """A part without a type is text: the documented curl example leaves it out."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind or "text"


Content = Annotated[
    Annotated[TextContent, Tag("text")] | Annotated[ImageContent, Tag("image")], Discriminator(_content_kind)
]


SentContent = str | list[TextContent | ImageContent] | None
"""What somebody sends to be said: text, or parts of it with images between them."""


def part_of(content: TextContent | ImageContent) -> TextPart | ImagePart:
    """The domain's reading of a part. Raises Unprocessable for an image that cannot be read."""
    if isinstance(content, TextContent):
        return TextPart(text=content.text)
    source = content.source
    if isinstance(source, Base64Image):
        return _image(source.media_type, source.data, source.detail)
    data = _DATA_URL.fullmatch(source.url)
    if data is None:
        raise Unprocessable("A data: URL of an image looks like data:image/png;base64,…", ("body", "messages"))
    return _image(data["type"], data["data"], source.detail)


def _image(media_type: str, data: str, detail: str | None) -> ImagePart:
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Unprocessable(f"The image is not valid base64: {error}.", ("body", "messages")) from error
    return ImagePart(media_type=media_type, data=data, detail=detail)
