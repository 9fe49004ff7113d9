"""Waiting for a condition, with a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LIMIT = 30.0
"""Seconds anything here may take."""


def soon(check: Callable[[], T], limit: float = LIMIT) -> T:
    """What `check` gives as soon as that is something."""
    deadline = time.monotonic() + limit
    while True:
        if found := check():
            return found
        assert time.monotonic() < deadline, f"it did not come about within {limit:g} seconds"
        time.sleep(0.02)
