"""What counts as a word, in the texts that are searched and in queries: the same on every database.

Beside the words of a text a row is indexed by what a question may mean it by: who says it (`:anna`) and when it was
said (`@2026`, `@2026-5`, `@5` for any May, `@5-7` for any 7 May; UTC); and `?` where it ends by asking something. No
text can pass for one of these, since words are letters and digits only.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from perdure.store.search_stems import stem

LONGEST: Final = 40
"""Characters of a word that count, so that no index is asked to hold a whole file in one."""
INDEXED_CHARS: Final = 100_000
"""Characters of one text that are indexed, so that a huge one does not hold up the writes of others."""

# A run of letters is taken for one word, and these scripts put no spaces between words.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
ASKS: Final = "?"
_QUESTION_MARKS: Final = ("?", "\uff1f", "\u061f")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ACCENTS: Final = re.compile("[\u0300-\u036f]")
_APOSTROPHES: Final = "'\u2018\u2019\u02bc"
_ORDINAL: Final = re.compile(r"(\d+)(?:st|nd|rd|th)")
_MONTHS: Final = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DAYS: Final = "mon|tue|wed|thu|fri|sat|sun"
_WHEN: Final = rf"(?:[^\s\d]{{0,4}}\d\S*|\W?(?:am|pm|on|at|utc|(?:{_MONTHS}|{_DAYS})[a-z]{{0,6}})\W?|[^\w\s])"
_SAID: Final = "said|says|asked|asks|wrote|replied|answered"
_SPEAKER: Final = re.compile(
    rf"""(?xi)
    \s* (?:[\[(][^\])\n]{{1,60}}[\])]\s*)? (?:{_WHEN}\s+){{0,9}}?
    [*_<]{{0,3}} ([^\W\d_][\w.\-]*(?:[ ][^\W\d_][\w.\-]*){{0,2}}?) [*_>]{{0,3}}
    (?:[ ][\[(][^\])\n]{{1,40}}[\])])? (?::[*_]{{0,2}}|[ ](?:{_SAID})[:,])\s
    """
)
"""`Anna: …` or `Anna Lee said, "…"` at the start of a text, perhaps after when that was."""
_NAMED: Final = re.compile(r"""(?i)\b(?:speaker|author)\b["']?\s*[:=]\s*["']?([^\W\d_][\w.\-]*)""")
_HEAD: Final = 160
"""Characters at the start of a text in which it may be said whose it is."""


class _Letters(dict[int, int]):
    """Maps letters, digits, their marks and apostrophes to themselves, all other characters to a space."""

    def __missing__(self, code: int) -> int:
        char = chr(code)
        mapped = code if unicodedata.category(char)[0] in "LNM" else 32
        if char in _APOSTROPHES:
            mapped = ord("'")
        if code < 0x10000:  # so that it never grows large
            self[code] = mapped
        return mapped


_LETTERS: Final = _Letters()


def words_of(text: str) -> list[str]:
    """The words of a text in order, as stems in small letters and without accents.

    A run of an unspaced script becomes its characters and its pairs of neighbours, since nothing tells where its words
    end.
    """
    return [stem(word) for word in _words(text[:INDEXED_CHARS])]


def query_words(query: str) -> list[str]:
    """The same for a query, each once: of an unspaced run the pairs alone, as they say more than the characters."""
    return list(dict.fromkeys(stem(word) for word in _words(query[:INDEXED_CHARS], pairs_only=True)))


def marks_of(text: str, at: int) -> list[str]:
    """What a text is indexed by beside its words; `at` is when it was said, in microseconds UTC."""
    moment = _EPOCH + timedelta(microseconds=at)
    year, month, day = moment.year, moment.month, moment.day
    dates = [f"@{year}", f"@{year}-{month}", f"@{month}", f"@{month}-{day}"]
    return [*speaker_of(text), *dates, *([ASKS] if text.rstrip().endswith(_QUESTION_MARKS) else [])]


def speaker_of(text: str) -> list[str]:
    """Who a text says it is by, as a mark for each word of the name."""
    head = text[:_HEAD]
    found = _NAMED.search(head) or _SPEAKER.match(head)
    return [f":{word}" for word in words_of(found[1])] if found else []


def _words(text: str, *, pairs_only: bool = False) -> Iterator[str]:
    small = text.casefold()
    if not small.isascii():
        small = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", small))).casefold()
    for chunk in small.translate(_LETTERS).split():
        for word in _uncontracted(chunk) if "'" in chunk else (chunk,):
            if word.isascii():
                ordinal = _ORDINAL.fullmatch(word) if word[0].isdigit() else None
                yield ordinal[1] if ordinal else word[:LONGEST]
            else:
                yield from _runs(word, pairs_only)


def _uncontracted(chunk: str) -> list[str]:
    """`anna's` is about Anna, `didn't` says did, `we'll` says we; any other apostrophe stands between words."""
    for ending in ("n't", "'s", "'ll", "'ve", "'re", "'d", "'m"):
        if chunk.endswith(ending) and len(chunk) > len(ending):
            chunk = chunk.removesuffix(ending)
            break
    return [word for word in chunk.split("'") if word]


def _runs(word: str, pairs_only: bool) -> Iterator[str]:
    """A word cut where its script changes between spaced and unspaced."""
    start = 0
    for found in re.finditer(f"(?:{_UNSPACED.pattern})+", word):
        if found.start() > start:
            yield word[start : found.start()][:LONGEST]
        run = found[0]
        if not pairs_only or len(run) == 1:
            yield from run
        yield from (run[at : at + 2] for at in range(len(run) - 1))
        start = found.end()
    # What has marks and no letter is no word.
    if start < len(word) and any(char.isalnum() for char in word[start:]):
        yield word[start:][:LONGEST]
