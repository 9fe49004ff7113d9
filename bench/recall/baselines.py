"""What ours is held against: plain stemmed BM25, and the same with the neighbours of a turn as fields of lower weight.

SQLite's own full text does both, so that nothing of ours has a part in it.
"""

import re
import sqlite3

from bench.recall.conversations import Conversation

NEIGHBOURS = 2


def plain(conversation: Conversation, limit: int) -> list[list[int]]:
    """The best turns for each question by plain stemmed BM25."""
    return _ranked(conversation, [(0, 1.0)], limit)


def neighbours(conversation: Conversation, limit: int) -> list[list[int]]:
    """The same with the two turns before and after as fields that weigh less."""
    return _ranked(conversation, [(0, 1.0), (-1, 0.5), (1, 0.5), (-2, 0.25), (2, 0.25)], limit)


def _ranked(conversation: Conversation, fields: list[tuple[int, float]], limit: int) -> list[list[int]]:
    conn = sqlite3.connect(":memory:")
    names = ", ".join(f"f{number}" for number in range(len(fields)))
    conn.execute(f"CREATE VIRTUAL TABLE turns USING fts5({names}, tokenize = 'porter unicode61')")
    texts = [text for text, _ in conversation.turns]
    for at in range(len(texts)):
        row = [texts[at + offset] if 0 <= at + offset < len(texts) else "" for offset, _ in fields]
        conn.execute(f"INSERT INTO turns (rowid, {names}) VALUES (?{', ?' * len(fields)})", (at, *row))
    weights = ", ".join(str(weight) for _, weight in fields)
    query = f"SELECT rowid FROM turns WHERE turns MATCH ? ORDER BY bm25(turns, {weights}), rowid LIMIT ?"
    found: list[list[int]] = []
    for question in conversation.questions:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question.text))
        found.append([rowid for (rowid,) in conn.execute(query, (words, limit))])
    conn.close()
    return found
