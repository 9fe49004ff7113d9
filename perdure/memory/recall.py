"""Finding what answers a question among many texts: a few hundred by the index, and the best of them by their words."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, select

from perdure.memory.question import Question, asked
from perdure.memory.ranking import REACH, ranked, rarities, speaker_mark
from perdure.memory.repeats import repeating
from perdure.store import search
from perdure.store.search import SCOPE, Corpus
from perdure.store.surroundings import Surroundings, surroundings

LOOKED_UP: Final = 1_000
"""Rows that are looked up by the words of a question, those with its rarest words first."""
COMMON: Final = 4_000
"""Rows that hold a word from which on it is looked up only where there are few others: it tells little, slowly."""
LOOKED_AT: Final = 40
"""Of these, rows whose words and surroundings are read."""
SMALL: Final = 10_000
"""Rows among which more can be read in the same time, since they lie closer together."""
LOOKED_AT_IN_SMALL: Final = 100
BESIDE: Final = 2
"""Rows before and after one of them that may answer without holding a word of the question."""


def recall(
    conn: Connection,
    corpus: Corpus,
    scopes: Sequence[str],
    query: str,
    wanted: ColumnElement[bool],
    limit: int,
    *,
    narrow: bool = True,
) -> list[tuple[int, float]] | None:
    """Rows of these scopes that answer `query`, best first, as (seq, score above 0); None where it holds no word.

    Only rows that are `wanted` are found, though others may say what these are about. Where those are all of the
    scopes it is not `narrow`, and found in less time.
    """
    question = asked(query)
    if not (question.words or question.dates):
        return None
    counts = search.counts(conn, corpus, scopes, _marks(question))
    most = max(limit, LOOKED_AT_IN_SMALL if counts[SCOPE] <= SMALL else LOOKED_AT)
    likely = _likely(conn, corpus, scopes, question, counts, wanted if narrow else None)[:most]
    read = surroundings(conn, corpus, likely, BESIDE + REACH)
    repeats = repeating(read)
    candidates = _candidates(read, repeats)
    if narrow:
        allowed = _among(conn, corpus, [each.entry.seq for each in candidates], wanted)
        candidates = [each for each in candidates if each.entry.seq in allowed]
        return ranked(question, candidates, counts, repeats)[:limit]
    # Of another scope with the same sign some may have been found, too.
    found = ranked(question, [each for each in candidates if each.entry.scope in scopes], counts, repeats)[:limit]
    allowed = _among(conn, corpus, [seq for seq, _ in found], wanted)
    return [hit for hit in found if hit[0] in allowed]


def _marks(question: Question) -> list[str]:
    return [SCOPE, *question.words, *map(speaker_mark, question.words), *question.dates]


def _likely(
    conn: Connection,
    corpus: Corpus,
    scopes: Sequence[str],
    question: Question,
    counts: dict[str, int],
    wanted: ColumnElement[bool] | None,
) -> list[int]:
    """The rows that hold most of what is asked, by how rare it is; of those alike the newest."""
    rarity = rarities(counts)
    worth: dict[int, float] = {}
    # A name tells little where its bearer talks all the time, so it is looked up last.
    words = sorted((word for word in (*question.words, *question.dates) if counts[word]), key=counts.__getitem__)
    for word in words:
        if len(worth) >= (LOOKED_AT_IN_SMALL if counts[word] > COMMON else LOOKED_UP):
            break
        for seq in search.holding(conn, corpus, scopes, word, wanted, LOOKED_UP):
            worth[seq] = worth.get(seq, 0.0) + rarity[word]
    return sorted(worth, key=lambda seq: (-worth[seq], -seq))


def _candidates(read: Sequence[Surroundings], repeats: Collection[int]) -> list[Surroundings]:
    """The rows read, and their neighbours: an answer may hold no word of its question.

    What only repeats is nobody's neighbour and takes no step between two that are.
    """
    found: dict[int, Surroundings] = {}
    for each in read:
        if each.entry.seq in repeats:
            found[each.entry.seq] = Surroundings(each.entry, [], [])
            continue
        before, after = ([entry for entry in side if entry.seq not in repeats] for side in (each.before, each.after))
        line = [*reversed(before), each.entry, *after]
        middle = len(before)
        for at in range(max(0, middle - BESIDE), min(len(line), middle + BESIDE + 1)):
            seq = line[at].seq
            if seq not in found or at == middle:
                found[seq] = Surroundings(line[at], line[max(0, at - REACH) : at][::-1], line[at + 1 : at + 1 + REACH])
    return list(found.values())


def _among(conn: Connection, corpus: Corpus, seqs: Sequence[int], wanted: ColumnElement[bool]) -> set[int]:
    """Those of these rows that are wanted.

    Whether one is comes as a column: by a condition PostgreSQL may read all of an archive instead of these.
    """
    found: set[int] = set()
    key = corpus.table.c.seq
    for start in range(0, len(seqs), search.AT_ONCE):
        some = select(key, wanted.label("wanted")).where(key.in_(seqs[start : start + search.AT_ONCE]))
        found.update(row.seq for row in conn.execute(some) if row.wanted)
    return found
