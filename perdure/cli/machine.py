"""What this machine offers for running code apart: looked for by trying it."""

import shutil
import subprocess
from typing import Final

_TRY_SECONDS: Final = 5.0


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
