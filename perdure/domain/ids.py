"""Ids as the V1 contract shapes them: `<prefix>-<uuid4>`, and the otids derived from message ids."""

import re
import time
import uuid
from typing import Final

DEFAULT_TENANT: Final = "org-00000000-0000-4000-8000-000000000000"

_UUID4: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_PATTERNS: dict[str, re.Pattern[str]] = {}

PART_BITS: Final = 0x7F
"""An otid is a message's uuid with these low bits replaced by the part's index, so a message has at most 128 parts."""


def new_id(prefix: str) -> str:
    """A fresh id such as `agent-123e4567-e89b-42d3-8456-426614174000`."""
    return f"{prefix}-{uuid.uuid4()}"


def is_id(prefix: str, value: str) -> bool:
    """Whether `value` has the shape of an id with this prefix (it need not exist)."""
    pattern = _PATTERNS.get(prefix)
    if pattern is None:
        pattern = _PATTERNS[prefix] = re.compile(f"{re.escape(prefix)}-{_UUID4}")
    return pattern.fullmatch(value) is not None


def example_id(prefix: str) -> str:
    """What a well-formed id looks like, for error messages."""
    return f"{prefix}-123e4567-e89b-42d3-8456-426614174000"


def otid(message_id: str, index: int) -> str:
    """The otid of part `index` of a message: a bare uuid whose low 7 bits are the index (streaming.md 2.2)."""
    number = int(message_id[-36:].replace("-", ""), 16)
    return str(uuid.UUID(int=(number & ~PART_BITS) | min(index, PART_BITS)))


def approval_id(message_id: str) -> str:
    """The id of the approval request split off from message `message_id`: its uuid minus one."""
    prefix, number = message_id[:-36], int(message_id[-36:].replace("-", ""), 16)
    return prefix + str(uuid.UUID(int=number - 1))


def now() -> int:
    """The time as stored everywhere: microseconds since 1970, UTC."""
    return time.time_ns() // 1000
