"""One process alone has a data directory: the lock that says so."""

import fcntl
import os
from pathlib import Path

from perdure.domain.errors import Unavailable


def take_lock(directory: Path) -> int:
    """Hold `directory`, which is made where it is not there, for this process; closing the file lets go of it.

    Raises Unavailable, with what to do, where the directory cannot be used or another process has it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "perdure.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(
            f"The data directory {directory} cannot be used: {error.strerror}. "
            "Choose another with --data, or mend its permissions."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise Unavailable(
            f"Another Perdure server (process {holder}) is using {directory / 'perdure.db'}. "
            "Stop it, or choose another --data directory."
        ) from error
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
