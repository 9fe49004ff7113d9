"""Building the full-text indexes anew from what they are about, a part at a time."""

from collections.abc import Iterator
from itertools import groupby
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from perdure.domain.messages import Message
from perdure.store import message_search, search
from perdure.store.message_search import MESSAGES
from perdure.store.messages import COLUMNS, from_row
from perdure.store.passage_search import PASSAGES
from perdure.store.tables import messages, passages

BATCH: Final = 1_000
"""Rows read at a time."""


def rebuild(conn: Connection) -> None:
    """Make all indexes anew. Messages that cannot be read are left out; `perdure check` tells of them."""
    for corpus in (MESSAGES, PASSAGES):
        search.drop(conn, corpus)
        search.create(conn, corpus)
    for batch in _messages(conn):
        for _, own in groupby(batch, lambda message: message.agent_id):
            message_search.index(conn, [(message.seq, message) for message in own])
    for archive_id, rows in _passages(conn):
        search.add(conn, PASSAGES, archive_id, rows)


def _messages(conn: Connection) -> Iterator[list[Message]]:
    low = -1
    while rows := conn.execute(
        select(*COLUMNS).where(messages.c.seq > low).order_by(messages.c.seq).limit(BATCH)
    ).all():
        low = rows[-1].seq
        read: list[Message] = []
        for row in rows:
            try:
                read.append(from_row(row))
            except msgspec.MsgspecError:
                continue
        yield read


def _passages(conn: Connection) -> Iterator[tuple[str, list[tuple[int, str, int]]]]:
    low = -1
    columns = (passages.c.archive_id, passages.c.seq, passages.c.text, passages.c.created_at)
    while rows := conn.execute(
        select(*columns).where(passages.c.seq > low).order_by(passages.c.seq).limit(BATCH)
    ).all():
        low = rows[-1].seq
        for archive_id, own in groupby(rows, lambda row: row.archive_id):
            yield archive_id, [(row.seq, row.text, row.created_at) for row in own]
