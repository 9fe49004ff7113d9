"""Backups of a data directory: made while a server uses it, looked through, and put back.

A directory gets all that a server needs, the key of its secrets included; a file (`….db`) gets the database alone, so
that it can lie where the key must not.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from perdure.domain.errors import Unavailable
from perdure.domain.ids import now
from perdure.store.migrate import HEAD, check_known, revision
from perdure.store.secrets import KEY_FILE, find_vault, unreadable
from perdure.store.sqlite_copy import copy, copy_file
from perdure.store.sqlite_file import DATA_FILE, examine
from perdure.store.sqlite_lock import take_lock

REPLACED: Final = "replaced"
"""What stands in the name of data that a restore has put aside."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. `size` is in bytes; `key` is the file with its key, None where that is not in it."""

    database: Path
    size: int
    schema: str
    key: Path | None


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did: where the data is now, what was put aside for it, and how many secrets cannot be opened."""

    database: Path
    schema: str
    put_aside: tuple[Path, ...]
    sealed: int


def back_up(directory: Path, place: Path, *, force: bool) -> Backup:
    """Copy the data in `directory` to `place`, and look whether the copy is sound.

    Raises Unavailable where there is nothing to copy, where something is in the way and not to be replaced by `force`,
    and where the copy is not whole.
    """
    source = directory / DATA_FILE
    schema = _schema_of(source, "There is no data to back up")
    database, key = _within(place)
    if database.absolute() == source.absolute():
        raise Unavailable(f"{place} is the data itself. Choose another place.")
    if database.exists() and not force:
        raise Unavailable(f"{database} is there already. Choose another place, or replace it with --force.")
    own_key = directory / KEY_FILE
    try:
        database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy(source, database)
        if key is not None and own_key.exists():
            copy_file(own_key, key)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"The backup could not be written to {place} ({error}).") from error
    _refuse_damaged(database)
    return Backup(
        database=database, size=database.stat().st_size, schema=schema,
        key=key if key is not None and key.exists() else None,
    )  # fmt: skip


def restore(directory: Path, place: Path, passphrase: str | None, *, force: bool) -> Restored:
    """Put the backup at `place` into `directory`. What is there is put aside where `force` is said.

    Raises Unavailable where the backup is not whole or of a newer version, where a server uses the directory, and where
    data is in the way.
    """
    database, key = _within(place)
    schema = _schema_of(database, "There is no backup to restore")
    check_known(schema)
    _refuse_damaged(database)
    lock = take_lock(directory)
    try:
        target = directory / DATA_FILE
        if target.exists() and not force:
            raise Unavailable(
                f"{directory} holds data already. Choose another --data directory, or say --force to put it aside."
            )
        aside = _put_aside(directory, key)
        copy(database, target)
        if key is not None and key.exists():
            copy_file(key, directory / KEY_FILE)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"The backup could not be put into {directory} ({error}).") from error
    finally:
        os.close(lock)
    vault = find_vault(directory, passphrase)
    sealed = examine(target, lambda conn: unreadable(conn, vault)) if schema == HEAD else []
    return Restored(database=target, schema=schema, put_aside=aside, sealed=len(sealed))


def _schema_of(path: Path, otherwise: str) -> str:
    """The migration that a data file is at. Raises Unavailable where it is none of ours."""
    schema = examine(path, revision) if path.is_file() else None
    if schema is None:
        raise Unavailable(f"{otherwise}: {path} {'is empty' if path.is_file() else 'is not there'}.")
    return schema


def _within(place: Path) -> tuple[Path, Path | None]:
    """The database file of a backup and its key file, which one that is a single file does not have."""
    if place.is_file() or (place.suffix == ".db" and not place.is_dir()):
        return place, None
    return place / DATA_FILE, place / KEY_FILE


def _refuse_damaged(database: Path) -> None:
    """Raises Unavailable where SQLite finds something wrong with a file."""
    try:
        with sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True) as conn:
            found = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
        conn.close()
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise Unavailable(
            f"{database} is damaged ({found}). `perdure check` says more of the data it was made from; keep the older "
            "backups."
        )


def _put_aside(directory: Path, key: Path | None) -> tuple[Path, ...]:
    """Give the data that is there another name, and its key where another one comes in its place."""
    mark = f"{REPLACED}-{now()}"
    target, own_key = directory / DATA_FILE, directory / KEY_FILE
    aside: list[Path] = []
    if target.exists():
        _join_log(target)
        kept = target.with_name(f"{target.stem}.{mark}{target.suffix}")
        os.link(target, kept)
        for ending in ("-wal", "-shm"):
            if (rest := target.with_name(target.name + ending)).exists():
                rest.replace(kept.with_name(kept.name + ending))
        aside.append(kept)
    if key is not None and key.exists() and own_key.exists() and own_key.read_bytes() != key.read_bytes():
        kept = own_key.with_name(f"{own_key.stem}.{mark}{own_key.suffix}")
        os.link(own_key, kept)
        aside.append(kept)
    return tuple(aside)


def _join_log(database: Path) -> None:
    """Take what a killed server left in the write-ahead log into the file, unless the file is past that."""
    try:
        conn = sqlite3.connect(database)
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        conn.close()
    except sqlite3.Error:
        return
