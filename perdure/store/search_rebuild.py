"""Building the full-text indexes anew from what they are about, a part at a time.

A migration does it, so it asks only for columns that there have always been.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from perdure.domain.messages import PARTS_DECODER, Message
from perdure.store import message_search, search
from perdure.store.message_search import MESSAGES
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
    table = messages.c
    columns = (table.seq, table.id, table.agent_id, table.role, table.parts, table.created_at)
    while rows := conn.execute(select(*columns).where(table.seq > low).order_by(table.seq).limit(BATCH)).all():
        low = rows[-1].seq
        read: list[Message] = []
        for seq, identifier, agent_id, role, parts, at in rows:
            try:
                said = PARTS_DECODER.decode(parts)
            except msgspec.MsgspecError:
                continue
            read.append(Message(id=identifier, agent_id=agent_id, role=role, parts=said, created_at=at, seq=seq))
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
