"""Waking other processes: a line of text, heard by all of them once the transaction that sends it is committed.

A wake-up only saves waiting: whoever listens also looks by itself now and then.
"""

from typing import Final

from sqlalchemy import Connection, func, select

CHANNEL: Final = "perdure"


def notify(conn: Connection, text: str) -> None:
    """Send a line of at most 7,900 bytes. A database that only one process uses has nobody to tell."""
    if conn.dialect.name == "postgresql":
        conn.execute(select(func.pg_notify(CHANNEL, text)))
