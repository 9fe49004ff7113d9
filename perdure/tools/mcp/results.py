"""What a call of an MCP tool gives back, as text. What is no text is named, not pretended."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from perdure.providers.text import storable
from perdure.tools.returns import as_text

NOTHING: Final = "The tool gave nothing back."


def result_text(content: Sequence[Mapping[str, Any]], structured: Any = None) -> str:
    """The text of a result's parts, or of its structured part where it has no others."""
    texts = [_part(part) for part in content]
    if not texts and structured is not None:
        return storable(as_text(structured))
    return storable("\n".join(texts)) or NOTHING


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
