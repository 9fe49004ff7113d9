"""Cutting a text into pieces that search can find: along its meaning as far as that goes, each overlapping the last.

Sizes are in tokens as bytes estimate them, so that no tokenizer is needed and none is ever wrong for a model.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from perdure.domain.files import Form

BYTES_PER_TOKEN: Final = 4
OVERLAP_TOKENS: Final = 50
"""What a piece repeats of the one before it, so that nothing is lost between two."""

_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_LINE: Final = re.compile(r"\n")
_SENTENCE: Final = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+")
_WORD: Final = re.compile(r"\s+")
_PROSE: Final = (_PARAGRAPH, _LINE, _SENTENCE, _WORD)
_RECORDS: Final = (_LINE, _WORD)
"""Where texts may be cut, the best places first. In code and data a line is the unit."""


def chunks(text: str, form: Form, tokens: int) -> list[str]:
    """The pieces of a text, in order, of about `tokens` each. Together they hold all of it but blank space."""
    most = tokens * BYTES_PER_TOKEN
    overlap = min(OVERLAP_TOKENS * BYTES_PER_TOKEN, most // 4)
    places = _RECORDS if form in ("lines", "xlsx") else _PROSE
    return [piece for start, end in _joined(text, _units(text, 0, len(text), most, places), most, overlap)
            if (piece := text[start:end].strip())]  # fmt: skip


def _units(text: str, start: int, end: int, most: int, places: Sequence[re.Pattern[str]]) -> Iterator[tuple[int, int]]:
    """Spans from `start` to `end`, without gaps, none longer than `most` bytes."""
    if _size(text, start, end) <= most:
        if end > start:
            yield start, end
        return
    if not places:
        step = max(1, most // 4)  # no character has more than four bytes
        yield from ((at, min(at + step, end)) for at in range(start, end, step))
        return
    at = start
    for found in places[0].finditer(text, start, end):
        yield from _units(text, at, found.end(), most, places[1:])
        at = found.end()
    yield from _units(text, at, end, most, places[1:])


def _joined(text: str, units: Iterator[tuple[int, int]], most: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Neighbouring spans put together up to `most` bytes, each beginning with the end of the one before."""
    held: list[tuple[int, int, int]] = []
    size = 0
    for start, end in units:
        length = _size(text, start, end)
        if held and size + length > most:
            yield held[0][0], held[-1][1]
            while held and (size > overlap or size + length > most):
                size -= held.pop(0)[2]
        held.append((start, end, length))
        size += length
    if held:
        yield held[0][0], held[-1][1]


def _size(text: str, start: int, end: int) -> int:
    piece = text[start:end]
    return len(piece) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
