"""What a tool gives back, as text that a model can be shown."""

from typing import Any, Final

import msgspec

_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)


def as_text(value: Any) -> str:
    """The text of a return value: dicts and lists as JSON, everything else as Python says it."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        try:
            return _ENCODER.encode(value).decode()
        except (TypeError, ValueError, RecursionError):
            return str(value)
    return str(value)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, and a note where there were more."""
    if len(text) <= limit:
        return text
    return (
        f"{text[:limit]}... [NOTE: function output was truncated since it exceeded the character limit "
        f"({len(text)} > {limit})]"
    )
