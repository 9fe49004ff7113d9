"""Files by permission: what a job without a file system of its own may touch."""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from perdure.tools.sandbox.jail import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE = 444
_ADD = 445
_RESTRICT = 446
_ASK_VERSION = 1
_BENEATH = 1

_EXECUTE = 1
_WRITE = 2
_READ = 4
_LIST = 8
_ALL_OF_FIRST = (1 << 13) - 1
_LATER = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""What each later version of Landlock added: moving between directories, truncating, device controls."""
_OF_FILES = _EXECUTE | _WRITE | _READ | 1 << 14 | 1 << 15
_CONNECT_AND_BIND = 3
_OTHERS_SOCKETS_AND_SIGNALS = 3


def version() -> int:
    """The kernel's Landlock; 0 where it has none."""
    try:
        return system.call(_CREATE, 0, 0, _ASK_VERSION)
    except OSError:
        return 0


def restrict(shown: Iterable[str], work: Iterable[str], *, network: bool) -> None:
    """From now on this process and all it starts can read and run what is `shown`, and do anything in `work`.

    Needs `system.drop_privileges` before it.
    """
    found = version()
    everything = _ALL_OF_FIRST
    for since, right in _LATER.items():
        everything |= right if found >= since else 0
    rules = (ctypes.c_uint64 * 3)(
        everything, _CONNECT_AND_BIND if found >= 4 and not network else 0, _OTHERS_SOCKETS_AND_SIGNALS
    )
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    ruleset = system.call(_CREATE, ctypes.byref(rules), size, 0)
    for path in shown:
        _allow(ruleset, path, everything & (_EXECUTE | _READ | _LIST))
    for path in work:
        _allow(ruleset, path, everything & ~(1 << 15))
    system.call(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        system.call(_ADD, ruleset, _BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)
