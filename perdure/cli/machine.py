"""What this machine offers for running code apart: looked for by trying it."""

import ctypes
import shutil
import subprocess
import sys
from typing import Final

_LANDLOCK_CREATE_RULESET: Final = 444
"""The system call's number, the same on every architecture."""
_LANDLOCK_VERSION: Final = 1
_CLONE_NEWUSER: Final = 0x10000000
_TRY_SECONDS: Final = 5.0

ON_LINUX: Final = sys.platform == "linux"


def program_version(name: str, *arguments: str) -> str | None:
    """What a program on the PATH says its version is; None where there is none that runs."""
    path = shutil.which(name)
    if path is None:
        return None
    try:
        done = subprocess.run([path, *arguments], capture_output=True, timeout=_TRY_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def has_user_namespaces() -> bool:
    """Whether this user may make a user namespace. Tried in another process, since it cannot be undone."""
    if not ON_LINUX:
        return False
    attempt = f"import ctypes; raise SystemExit(ctypes.CDLL(None).unshare({_CLONE_NEWUSER}) != 0)"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", attempt], capture_output=True, timeout=_TRY_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def landlock_version() -> int:
    """The kernel's Landlock ABI; 0 where it has none."""
    if not ON_LINUX:
        return 0
    return max(0, ctypes.CDLL(None).syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION))
