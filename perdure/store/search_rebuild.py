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
from perdure.store.chunk_search import CHUNKS
from perdure.store.message_search import MESSAGES
from perdure.store.passage_search import PASSAGES
from perdure.store.search import Corpus
from perdure.store.tables import messages

BATCH: Final = 1_000
"""Rows read at a time."""


def rebuild(conn: Connection) -> None:
    """Make the indexes of messages and passages anew.

    Messages that cannot be read are left out; `perdure check` tells of them.
    """
    for corpus in (MESSAGES, PASSAGES):
        search.drop(conn, corpus)
        search.create(conn, corpus)
    for batch in _messages(conn):
        for _, own in groupby(batch, lambda message: message.agent_id):
            message_search.index(conn, [(message.seq, message) for message in own])
    _fill(conn, PASSAGES)


def rebuild_chunks(conn: Connection) -> None:
    """Make the index of the pieces of files anew, which there are since 0006."""
    search.drop(conn, CHUNKS)
    search.create(conn, CHUNKS)
    _fill(conn, CHUNKS)


def _messages(conn: Connection) -> Iterator[list[Message]]:
    low = -1
    table = messages.c
    columns = (table.seq, table.id, table.agent_id, table.role, table.parts, table.created_at, table.name)
    while rows := conn.execute(select(*columns).where(table.seq > low).order_by(table.seq).limit(BATCH)).all():
        low = rows[-1].seq
        read: list[Message] = []
        for seq, identifier, agent_id, role, parts, at, name in rows:
            try:
                said = PARTS_DECODER.decode(parts)
            except msgspec.MsgspecError:
                continue
            read.append(
                Message(id=identifier, agent_id=agent_id, role=role, parts=said, created_at=at, seq=seq, name=name)
            )
        yield read


def _fill(conn: Connection, corpus: Corpus) -> None:
    """Index the rows of a table that has its texts in a column."""
    low, own = -1, corpus.table.c
    columns = (corpus.scope.label("scope"), own.seq, own.text, own.created_at)
    while rows := conn.execute(select(*columns).where(own.seq > low).order_by(own.seq).limit(BATCH)).all():
        low = rows[-1].seq
        for scope, some in groupby(rows, lambda row: row.scope):
            search.add(conn, corpus, scope, [(row.seq, row.text, row.created_at) for row in some])
