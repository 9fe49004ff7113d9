"""System calls that the standard library lacks. Each raises OSError where the kernel refuses."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NEW_MOUNTS = 0x0002_0000
NEW_CGROUP = 0x0200_0000
NEW_HOST_NAME = 0x0400_0000
NEW_IPC = 0x0800_0000
NEW_USER = 0x1000_0000
NEW_PROCESSES = 0x2000_0000
NEW_NETWORK = 0x4000_0000
NEW_TIME = 0x0000_0080

MOUNT_NO_SUID = 2
MOUNT_NO_DEVICES = 4
MOUNT_NO_PROGRAMS = 8
MOUNT_AGAIN = 32
MOUNT_BIND = 4096
MOUNT_RECURSIVE = 16_384
MOUNT_PRIVATE = 1 << 18
MOUNT_READ_ONLY = 1
_DETACH = 2
_RECURSIVE = 0x8000
_HERE = -100
_MOUNT_SETATTR = 442
"""Like all system calls from 424 on, it has this number on every architecture."""

_END_WITH_PARENT = 1
_SET_DUMPABLE = 4
_NO_NEW_PRIVILEGES = 38
_ADOPT_ORPHANS = 36
_DROP_BOUND = 24
_CAPABILITIES_V3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def call(number: int, *arguments: Any) -> int:
    """Any system call, by its number on this machine."""
    sized = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *sized), f"system call {number}")


def prctl(option: int, *values: int) -> int:
    """The call that sets what concerns this process alone."""
    four = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(option, *four), f"prctl {option}")


def unshare(kinds: int) -> None:
    """Leave the namespaces of these kinds for fresh ones."""
    _checked(_libc.unshare(kinds), "new namespaces")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Mount a file system, or a part of one a second time."""
    texts = (None if text is None else text.encode() for text in (source, target, kind))
    result = _libc.mount(*texts, ctypes.c_ulong(flags), None if options is None else options.encode())
    _checked(result, f"mount {target}")


def protect_mounts(target: str) -> None:
    """Make what is mounted at `target`, and below it, read-only, without devices and without set-user-id."""
    wanted = (ctypes.c_uint64 * 4)(MOUNT_READ_ONLY | MOUNT_NO_SUID | MOUNT_NO_DEVICES, 0, 0, 0)
    call(_MOUNT_SETATTR, _HERE, target.encode(), _RECURSIVE, ctypes.byref(wanted), ctypes.sizeof(wanted))


def root_here() -> None:
    """Make the working directory the root, and let go of the old one."""
    _checked(_libc.pivot_root(b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", _DETACH), "umount of the old root")
    os.chdir("/")


def end_with_parent(signal: int) -> None:
    """Have the kernel send this process `signal` once its parent is gone. A change of user lifts it."""
    prctl(_END_WITH_PARENT, signal)


def adopt_orphans() -> None:
    """Make descendants whose parents end children of this process."""
    prctl(_ADOPT_ORPHANS, 1)


def hide_memory(hidden: bool = True) -> None:
    """Keep others of the same user out of this process, or let them in again after a change of user."""
    prctl(_SET_DUMPABLE, 0 if hidden else 1)


def drop_privileges() -> None:
    """Give up every capability, for this process and whatever it starts."""
    for capability in range(64):
        try:
            prctl(_DROP_BOUND, capability)
        except OSError:  # without CAP_SETPCAP the bound stays; new privileges are refused below all the same
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")
    prctl(_NO_NEW_PRIVILEGES, 1)
