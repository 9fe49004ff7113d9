"""What a call of an MCP tool gives back: text, and images that models can see. All else is named, not pretended."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from perdure.domain.messages import ImagePart
from perdure.providers.images import media_type
from perdure.providers.text import storable
from perdure.tools.returns import as_text

NOTHING: Final = "The tool gave nothing back."
MOST_IMAGES: Final = 8
"""Images of one result that the model is shown."""
IMAGE_CHARS: Final = 7_000_000
"""Characters of base64 that an image may have: five megabytes, which is what vendors take."""

_SEEN: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")


def result_text(content: Sequence[Mapping[str, Any]], structured: Any = None) -> str:
    """The text of a result's parts, or of its structured part where it has no others."""
    seen = [id(part) for part in _visible(content)]
    texts = [_part(part) if id(part) not in seen else f"[image, {part['mimeType']}]" for part in content]
    if not texts and structured is not None:
        return storable(as_text(structured))
    return storable("\n".join(texts)) or NOTHING


def result_images(content: Sequence[Mapping[str, Any]]) -> tuple[ImagePart, ...]:
    """The images among a result's parts that a model can be shown."""
    return tuple([ImagePart(media_type=str(part["mimeType"]), data=part["data"]) for part in _visible(content)])


def _visible(content: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [part for part in content if part.get("type") == "image" and _can_be_seen(part)][:MOST_IMAGES]


def _can_be_seen(part: Mapping[str, Any]) -> bool:
    """Whether it is what it says, told by its bytes: a server may say anything, and history keeps it for ever."""
    kind, data = part.get("mimeType"), part.get("data")
    if kind not in _SEEN or not isinstance(data, str) or len(data) > IMAGE_CHARS:
        return False
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return media_type(ImagePart(media_type="", data=data)) == kind


def _part(part: Mapping[str, Any]) -> str:
    match part.get("type"):
        case "text":
            return str(part.get("text", ""))
        case "image" | "audio" as kind:
            return _named(kind, part.get("mimeType"), part.get("data"))
        case "resource":
            resource = part.get("resource")
            held: Mapping[str, Any] = resource if isinstance(resource, Mapping) else {}
            if isinstance(held.get("text"), str):
                return f"{held.get('uri', '')}\n{held['text']}"
            return _named(f"resource {held.get('uri', '')}", held.get("mimeType"), held.get("blob"))
        case "resource_link":
            described = f": {part['description']}" if part.get("description") else ""
            return f"[link to {part.get('name', 'a resource')} at {part.get('uri', '')}{described}]"
        case other:
            return f"[a part of the kind {str(other)[:60]!r}, which cannot be shown]"


def _named(kind: str, media_type: Any, data: Any) -> str:
    size = len(data) * 3 // 4 if isinstance(data, str) else 0
    return f"[{kind}, {media_type or 'of unknown type'}, {size} bytes, which cannot be shown as text]"
