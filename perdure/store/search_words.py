"""What counts as a word, in the texts that are searched and in queries: the same on every database."""

import re
import unicodedata
from typing import Final

MAX_TERMS: Final = 64
"""Terms of a query that are looked up; each one costs a pass over the rows that hold it."""

# A run of letters is taken for one word, and these scripts put no spaces between words.
_UNSPACED: Final = re.compile(
    "([\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])"
)
_ACCENTS: Final = re.compile("[\u0300-\u036f]")


class _Letters(dict[int, int]):
    """Maps letters, digits and their marks to themselves, all other characters to a space."""

    def __missing__(self, code: int) -> int:
        mapped = code if unicodedata.category(chr(code))[0] in "LNM" else 32
        if code < 0x10000:  # so that it never grows large
            self[code] = mapped
        return mapped


_LETTERS: Final = _Letters()


def spaced(text: str) -> str:
    """The text with spaces round each character of an unspaced script."""
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)


def folded(text: str) -> str:
    """The words of a text and nothing else: in small letters, without accents, with spaces between them."""
    small = text.casefold()
    if not small.isascii():
        small = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", small)))
    return spaced(small).translate(_LETTERS)


def terms_of(query: str) -> list[str]:
    """The words of a query as the index holds them: letters, digits and their marks, so nothing that is syntax.

    A run of an unspaced script becomes its pairs of neighbours, since nothing tells where its words end.
    """
    terms: dict[str, None] = {}
    for chunk in query.translate(_LETTERS).split():
        for run, group in _runs(chunk):
            if run:
                pairs = [" ".join(group[at : at + 2]) for at in range(max(1, len(group) - 1))]
                terms.update(dict.fromkeys(pairs))
            elif any(unicodedata.category(char)[0] in "LN" for char in group):
                terms[group.casefold()] = None
        if len(terms) >= MAX_TERMS:
            break
    return list(terms)[:MAX_TERMS]


def _runs(chunk: str) -> list[tuple[bool, str]]:
    """A word cut where its script changes, as (is unspaced, characters)."""
    runs: list[tuple[bool, str]] = []
    for char in chunk:
        unspaced = _UNSPACED.match(char) is not None
        if runs and runs[-1][0] == unspaced:
            runs[-1] = (unspaced, runs[-1][1] + char)
        else:
            runs.append((unspaced, char))
    return runs
