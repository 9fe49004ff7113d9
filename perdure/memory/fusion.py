"""What vectors add to what words found, without ever taking the best of it away.

Words keep their order. Vectors fill the places that words leave empty. Only where both agree on more than chance would
have it, they also get some of the last places, and of these only such as words give to what hardly fits: a small
model's idea of what is near is often wrong, and ranks fused one to one then lose what words had found (docs/adr/0015).
"""

from collections.abc import Sequence
from typing import Final

SHARE: Final = 0.3
"""The part of the places that trusted vectors may take."""
WEAK: Final = 0.3
"""What has less of the best score by words hardly fits: in `bench/recall` one in 600 was what was asked for."""
COMPARED: Final = 10
"""The best by words that are looked for among the nearest."""
LEAST_COMMON: Final = 2
BEYOND_CHANCE: Final = 3.0
"""How many they must have in common, at least, and how many times as many as chance would give."""

Hits = Sequence[tuple[int, float]]
"""Seqs with scores, best first."""


def fused(by_words: Hits, near: Hits, limit: int, total: int) -> list[tuple[int, float]]:
    """The best `limit` of both, as (seq, score of at most 1). `total` is how many there are to be found."""
    words, score = list(by_words), dict[int, float]()
    best = words[0][1] if words else 1.0
    for seq, fit in words:
        score[seq] = fit / best
    fresh = [(seq, cosine) for seq, cosine in near if seq not in score and cosine > 0]
    places = min(int(limit * SHARE), len(fresh)) if trusted(by_words, near, total) else 0
    kept = [seq for place, (seq, _) in enumerate(words[:limit]) if place < limit - places or score[seq] >= WEAK]
    added = [seq for seq, _ in fresh[: limit - len(kept)]]
    lowest = min((score[seq] for seq in kept), default=1.0)
    # Of another kind than the words' scores, a cosine only says which of the added comes first.
    cosines = dict(fresh)
    return [(seq, score[seq]) for seq in kept] + [(seq, lowest * cosines[seq]) for seq in added]


def trusted(by_words: Hits, near: Hits, total: int) -> bool:
    """Whether the nearest hold more of the best by words than chance would."""
    first = {seq for seq, _ in by_words[:COMPARED]}
    common = sum(seq in first for seq, _ in near)
    chance = len(first) * len(near) / max(total, 1)
    return common >= max(LEAST_COMMON, BEYOND_CHANCE * chance)
