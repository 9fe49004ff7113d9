"""What a job takes, seen from outside: no process of it can change what is counted."""

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import Final

from perdure.tools.sandbox.view import INSIDE

_HELD: Final = re.compile(rb"^(?:VmRSS|VmSwap|VmPTE|HugetlbPages):\s*(\d+) kB", re.MULTILINE)
"""What of a process is memory: its pages, those put aside, the tables that find them, and the huge ones."""
_SOCKETS: Final = re.compile(rb"sockets: used (\d+)")
_FILE_BYTES: Final = 1024
_SMALLEST: Final = 4096
"""Bytes that any file takes, an empty one too."""


def memory_of(process: int) -> int:
    """Bytes of memory that a process and all its descendants hold, each by itself.

    Where they have a network of their own, its sockets count as what they can hold; so do their files, beside what is
    in them, where the file system is their own.
    """
    total, waiting = 0, [process]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            with open(f"/proc/{current}/status", "rb") as file:
                total += sum(int(size) << 10 for size in _HELD.findall(file.read()))
            for thread in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{thread}/children", "rb") as file:
                    waiting.extend(int(child) for child in file.read().split())
            if not waiting:
                total += _held_by_sockets(current) + _held_by_files(current)
    return total


def _held_by_sockets(process: int) -> int:
    """The most that sockets of the network of a process hold; 0 where that is ours."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/net/sockstat", "rb") as file:
        if os.fstat(file.fileno()).st_ino != os.stat("/proc/self/net/sockstat").st_ino:
            found = _SOCKETS.match(file.read())
            return int(found[1]) * _socket_bytes() if found else 0
    return 0


def _held_by_files(process: int) -> int:
    """What the kernel needs for the files that lie in memory, empty ones too; 0 where the root is ours."""
    root, total = f"/proc/{process}/root", 0
    with contextlib.suppress(OSError):
        if os.stat(root).st_dev != os.stat("/").st_dev:
            for place in (INSIDE, "/dev/shm"):
                found = os.statvfs(f"{root}{place}")
                total += (found.f_files - found.f_ffree) * _FILE_BYTES
    return total


@functools.cache
def _socket_bytes() -> int:
    """What one socket may hold on its way out: twice what can be asked for, which is how the kernel counts."""
    try:
        with open("/proc/sys/net/core/wmem_max") as file:
            return 2 * int(file.read())
    except OSError:  # it shows only in the machine's own network
        return 2 * 212_992


def disk_of(folder: Path, most: int) -> int:
    """Bytes of disk that the files of a folder take; no more than `most` of them are counted to the end."""
    total = 0
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):  # it is gone again
                total += max(os.lstat(os.path.join(place, name)).st_blocks * 512, _SMALLEST)
        if total > most:
            break
    return total
