"""What a job takes, seen from outside: no process of it can change what is counted."""

import contextlib
import os
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def memory_of(process: int) -> int:
    """Bytes of memory that a process and all its descendants hold, each by itself."""
    total, waiting = 0, [process]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            with open(f"/proc/{current}/statm", "rb") as file:
                total += int(file.read().split()[1]) * _PAGE
            for thread in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{thread}/children", "rb") as file:
                    waiting.extend(int(child) for child in file.read().split())
    return total


def disk_of(folder: Path) -> int:
    """Bytes of disk that the files of a folder take."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it is gone again
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total
