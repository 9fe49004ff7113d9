"""A consistent copy of a SQLite file, which a server may be writing meanwhile."""

import os
import sqlite3
from pathlib import Path


def copy(source: Path, target: Path) -> None:
    """Copy a data file to `target`: one file, whole or not there at all, which only its owner can read.

    What was there is replaced. Raises OSError and sqlite3.Error; then `target` is as it was.
    """
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    # Made before anything is in it, so that nobody else can read what comes.
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        _copy(source, part)
        _sync(part)
        part.replace(target)
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """The same for a small file of another kind."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(source.read_bytes())
        _sync(part)
        part.replace(target)
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    reader, writer = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True), sqlite3.connect(target)
    try:
        # In one step, so that it is one moment: writers go on meanwhile, in the write-ahead log.
        reader.backup(writer)
        # A copy is to be one file, and not to make others where it is looked at.
        writer.execute("PRAGMA journal_mode = DELETE")
    finally:
        reader.close()
        writer.close()


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
