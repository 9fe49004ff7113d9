"""What can be seen of a data directory from outside, without opening it for good or changing anything."""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from perdure.domain.errors import Unavailable
from perdure.store.database import Unit
from perdure.store.migrate import revision

DATA_FILE: Final = "perdure.db"

T = TypeVar("T")


class DataFile(msgspec.Struct, frozen=True, kw_only=True):
    """A data directory's file. `size` is in bytes, None where there is no file yet; `holder` is the server using it.

    `schema` is the migration it is at, None where it is empty; `problem` says why it cannot be used.
    """

    path: Path
    size: int | None = None
    holder: int | None = None
    schema: str | None = None
    problem: str | None = None


def look_into(directory: Path) -> DataFile:
    """What stands in a data directory. Raises nothing; what is wrong is in `problem`."""
    path = directory / DATA_FILE
    try:
        if not path.exists():
            return DataFile(path=path, problem=_cannot_be_made(directory))
        size, holder = path.stat().st_size, _holder(directory / "perdure.lock")
        if not os.access(path, os.R_OK | os.W_OK):
            return DataFile(path=path, size=size, holder=holder, problem="it cannot be read and written by this user")
    except OSError as error:
        return DataFile(path=path, problem=error.strerror)
    try:
        return DataFile(path=path, size=size, holder=holder, schema=_examine(path, revision) if size else None)
    except (sqlite3.Error, DBAPIError) as error:
        return DataFile(path=path, size=size, holder=holder, problem=f"it cannot be read ({_cause(error)})")
    except Unavailable as error:
        return DataFile(path=path, size=size, holder=holder, problem=error.message)


def examine(path: Path, unit: Unit[T]) -> T:
    """Run a unit that only reads on one moment of a data file, which a server may be using, without changing anything.

    Raises Unavailable where the file cannot be read.
    """
    try:
        return _examine(path, unit)
    except (sqlite3.Error, DBAPIError) as error:
        raise Unavailable(
            f"The data file {path} cannot be read ({_cause(error)}). If it is damaged, restore a backup."
        ) from error


def _cause(error: sqlite3.Error | DBAPIError) -> object:
    """What SQLite itself said."""
    return error.orig if isinstance(error, DBAPIError) else error


def _examine(path: Path, unit: Unit[T]) -> T:
    engine = create_engine("sqlite://", creator=_reader(path), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql("BEGIN")
        return unit(conn)


def _cannot_be_made(directory: Path) -> str | None:
    """Why a file cannot be made in `directory`, which need not exist yet."""
    nearest = next(place for place in (directory, *directory.parents) if place.exists())
    if not nearest.is_dir():
        return f"{nearest} is not a directory"
    return None if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written to by this user"


def _holder(lock: Path) -> int | None:
    """The process that holds the lock, if one does."""
    try:
        file = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as opened:
        pid = opened.read(32).strip()
        # Asking for the lock could turn away a server that starts at this moment, so only a living process is asked of.
        if not (pid.isdigit() and _lives(int(pid))):
            return None
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(pid)
    return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reader(path: Path) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
