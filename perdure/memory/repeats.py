"""Texts that only say again what is said already: "OK." after every turn, or the turn itself, read back.

They tell nothing of what they stand beside, and what stands beside them is not about them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from perdure.store.surroundings import Entry, Surroundings

LONGER: Final = 2
"""How many times as long as the text before it one that holds that word for word may be, to say nothing but that."""
OFTEN: Final = 4
"""How many times the same has to be said among the rows read; fewer may be a conversation that was stored twice."""


def repeating(read: Iterable[Surroundings]) -> set[int]:
    """The seqs of those rows, and of those round them, that echo the one before them or are said again and again."""
    lines = [[*reversed(each.before), each.entry, *each.after] for each in read]
    said = {entry.seq: (entry.scope, _said(entry)) for line in lines for entry in line}
    found = {entry.seq for line in lines for entry in _echoes(line, said)}
    often = Counter(text for seq, text in said.items() if seq not in found)
    return found.union(seq for seq, text in said.items() if often[text] >= OFTEN)


def _echoes(line: Sequence[Entry], said: dict[int, tuple[str, str]]) -> Iterable[Entry]:
    for before, entry in pairwise(line):
        first, again = said[before.seq][1], said[entry.seq][1]
        if first in again and len(again) <= LONGER * len(first):
            yield entry


def _said(entry: Entry) -> str:
    """A row's words without its marks, the last of which is its day or that it asks."""
    words = entry.words[entry.words.rfind("@") :].partition(" ")[2]
    return words.partition("? ")[2] or words
