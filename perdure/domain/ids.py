"""Ids as the V1 contract shapes them: `<prefix>-<uuid4>`, and the otids derived from message ids."""

import os
import re
import time
from collections import deque
from typing import Final

DEFAULT_TENANT: Final = "org-00000000-0000-4000-8000-000000000000"

_UUID4: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_PATTERNS: dict[str, re.Pattern[str]] = {}

PART_BITS: Final = 0x7F
"""An otid is a message's uuid with these low bits replaced by the part's index, so a message has at most 128 parts."""


_randomness: deque[bytes] = deque()
# A forked child must not hand out what its parent will.
os.register_at_fork(after_in_child=_randomness.clear)


def new_uuid() -> str:
    """A fresh random uuid, version 4.

    The system is asked for randomness in bulk: each call lets go of the interpreter's lock, and getting it back from a
    busy database thread takes longer than all the rest.
    """
    try:
        digits = _randomness.pop().hex()
    except IndexError:
        fresh = os.urandom(16 * 256)
        _randomness.extend(fresh[at : at + 16] for at in range(0, len(fresh), 16))
        return new_uuid()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def new_id(prefix: str) -> str:
    """A fresh id such as `agent-123e4567-e89b-42d3-8456-426614174000`."""
    return f"{prefix}-{new_uuid()}"


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
    low = int(message_id[-2:], 16) & ~PART_BITS
    return f"{message_id[-36:-2]}{low | min(index, PART_BITS):02x}"


def approval_id(message_id: str) -> str:
    """The id of the approval request split off from message `message_id`: its uuid minus one."""
    digits = f"{int(message_id[-36:].replace('-', ''), 16) - 1:032x}"
    return f"{message_id[:-36]}{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def now() -> int:
    """The time as stored everywhere: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def _steady() -> int:
    """Microseconds on a clock that nobody sets, and that goes on while the machine sleeps where there is one."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


_offset = now() - _steady()


def surely_now() -> int:
    """The time that has surely come, to judge by what is old: a clock set forward since the start does not count."""
    return min(now(), _steady() + _offset)
