"""Which texts answer a question best: BM25 over a text and what stands round it.

In a conversation an answer follows its question, and "Yes, on Friday!" has no word of either. So a text also counts
what was said round it: before it more than after it, half as much with each step away, and half as much with each hour
between, since what was written days apart does not belong together. A text that asks, or that says next to nothing, is
seldom the answer; one by the person who is asked about often is.

The figures were chosen by the conversations in `bench/recall/` (docs/adr/0014).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from perdure.memory.question import Question
from perdure.store.search import SCOPE, sign_of
from perdure.store.search_words import ASKS
from perdure.store.surroundings import Entry, Surroundings

BEFORE: Final = (0.8, 0.4, 0.2, 0.1)
AFTER: Final = (0.4, 0.2, 0.1, 0.05)
"""How much the words of the texts before and after one count with its own, the nearest first."""
REACH: Final = len(BEFORE)
HOUR: Final = 3_600_000_000
"""Microseconds in which what two texts say of each other halves."""
LEAST: Final = 0.01
"""What counts for less is left out."""

SATURATION: Final = 1.2
FLATNESS: Final = 0.5
"""BM25's k1 and b: how soon more of the same word says no more, and how much the length of a text takes away."""
SUBSTANCE: Final = 10
"""Words of which a text needs some to be an answer: with so many it counts for two thirds, never for less than half.

One that holds all the words that were asked counts in full, since it has to come before what stands beside it.
"""
ASKING: Final = 0.6
"""What a text counts for that ends in a question."""
SPEAKER: Final = 1.5
"""What it adds that a text is by a person the question names. Not more, since questions err about who said it."""
MENTION: Final = 0.5
"""How much of a name's rarity counts that only stands in a text: of two who talk, both are named all the time."""
DATE: Final = 0.5
"""How much of a date's rarity counts."""
REPEATED: Final = 0.5
"""What a text counts for that only repeats another, so that it comes after what it repeats."""


def ranked(
    question: Question,
    candidates: Sequence[Surroundings],
    counts: Mapping[str, int],
    repeating: Collection[int] = (),
) -> list[tuple[int, float]]:
    """The candidates that answer at all, best first, as (seq, score above 0); of two alike the newer one first.

    `counts` says how many rows there are in all (`SCOPE`), and how many hold each word and mark of the question;
    `repeating` are seqs of texts that say nothing of their own.
    """
    ranking = _Ranking(question, candidates, counts)
    found = [
        (seq, ranking.score(each) * (REPEATED if seq in repeating else 1))
        for each in candidates
        for seq in [each.entry.seq]
    ]
    return sorted((hit for hit in found if hit[1] > 0), key=lambda hit: (-hit[1], -hit[0]))


def rarities(counts: Mapping[str, int]) -> dict[str, float]:
    """What each word or mark tells, as in BM25: the more, the fewer rows hold it."""
    total = counts[SCOPE]
    return {word: math.log(1 + (total - min(count, total) + 0.5) / (count + 0.5)) for word, count in counts.items()}


def speaker_mark(word: str) -> str:
    """The mark of a text by somebody of that name."""
    return f":{word}"


class _Text:
    """What one text holds of what is asked: how often each word, nothing where none; its length; and its marks."""

    __slots__ = ("length", "words")

    def __init__(self, entry: Entry, words: Sequence[str], marks: Sequence[str]) -> None:
        found = [entry.words.count(word) for word in words]
        self.words = found if any(found) else ()
        self.length = entry.words.count(" ") - 1 - sum(map(entry.words.count, marks))


class _Ranking:
    """What is the same for all candidates of a question."""

    def __init__(self, question: Question, candidates: Sequence[Surroundings], counts: Mapping[str, int]) -> None:
        self._names = [word for word in question.words if counts.get(speaker_mark(word))]
        self._words = [word for word in question.words if word not in self._names]
        self._known = [counts[word] for word in self._words]
        self._dates = question.dates
        self._rarity = rarities(counts)
        entries = {each.seq: each for one in candidates for each in (one.entry, *one.before, *one.after)}
        self._signs = {scope: sign_of(scope) for scope in {entry.scope for entry in entries.values()}}
        signed = {scope: [f"{sign}{word} " for word in self._words] for scope, sign in self._signs.items()}
        marks = {scope: [f"{sign}{kind}" for kind in ":@?"] for scope, sign in self._signs.items()}
        self._texts = {seq: _Text(each, signed[each.scope], marks[each.scope]) for seq, each in entries.items()}
        self._mean = max(1.0, sum(text.length for text in self._texts.values()) / max(1, len(self._texts)))

    def score(self, candidate: Surroundings) -> float:
        entry = candidate.entry
        text = self._texts[entry.seq]
        score = self._by_words(candidate)
        score += sum(DATE * self._rarity[mark] for mark in self._dates if self._count(entry, mark))
        for name in self._names:
            spoken = self._count(entry, speaker_mark(name))
            if spoken and (score > 0 or not self._words):
                score += SPEAKER
            mentions = (self._count(entry, name) - spoken) / self._worth(text)
            score += MENTION * self._rarity[name] * _saturated(mentions)
        if score and self._count(entry, ASKS):
            score *= ASKING
        complete = text.words and all(count or not known for count, known in zip(text.words, self._known, strict=True))
        return score if complete else score * max(0.5, 1 - math.exp(-text.length / SUBSTANCE))

    def _by_words(self, candidate: Surroundings) -> float:
        own = self._texts[candidate.entry.seq]
        together = [count / self._worth(own) for count in own.words] or [0.0] * len(self._words)
        at = candidate.entry.at
        for side, weights in ((candidate.before, BEFORE), (candidate.after, AFTER)):
            for each, weight in zip(side, weights, strict=False):
                text = self._texts[each.seq]
                near = weight * 0.5 ** (abs(each.at - at) / HOUR) if text.words else 0.0
                if near >= LEAST:
                    worth = near / self._worth(text)
                    together = [sum_ + worth * count for sum_, count in zip(together, text.words, strict=True)]
        return sum(self._rarity[word] * _saturated(n) for word, n in zip(self._words, together, strict=True) if n)

    def _worth(self, text: _Text) -> float:
        return 1 - FLATNESS + FLATNESS * text.length / self._mean

    def _count(self, entry: Entry, word: str) -> int:
        return entry.words.count(f"{self._signs[entry.scope]}{word} ")


def _saturated(count: float) -> float:
    return count * (SATURATION + 1) / (count + SATURATION)
