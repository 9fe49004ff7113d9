"""What a query asks for: the words that carry it, and the days it names."""

import re
from typing import Final

import msgspec

from perdure.store.search_words import query_words, words_of

MAX_WORDS: Final = 64
"""Words of a query that are looked up; each one costs a pass over the rows that hold it."""

_COMMON_WORDS: Final = """
a about after again all also although am an and any are as at away be because been before being both but by can could
did do does doing done during each either else ever every few for from further get gets getting got had has have having
he her here hers herself him himself his how i if in into is it its itself just let like many me more most much my
myself no nor not of off on once one only or other others our ours ourselves out over own per please same shall she
should since so some such tell than that the their theirs them themselves then there these they thing things this those
through to too under until up upon us very was we were what when where which while who whom whose why will with within
without would yes yet you your yours yourself yourselves happen happened kind sort type
ll ve re don t s d m
"""
COMMON: Final = frozenset(words_of(_COMMON_WORDS))
"""Words of English that hold a question together and say nothing of what it is about."""

_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_DAY: Final = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR: Final = r"\b\.?(?:,?(?: of)? (?P<year>\d{4})\b)?"
_MONTH: Final = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS)
_DATES: Final = (
    re.compile(rf"\b{_DAY}(?: of)? (?P<month>{_MONTH}){_YEAR}", re.IGNORECASE),
    re.compile(rf"\b(?P<month>{_MONTH})\b\.? {_DAY}{_YEAR}", re.IGNORECASE),
    re.compile(r"\b(?P<year>\d{4})-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?\b"),
    re.compile(rf"\b(?P<month>{_MONTH}){_YEAR}", re.IGNORECASE),
    re.compile(r"\b(?P<year>(?:19|20)\d{2})\b"),
)


class Question(msgspec.Struct, frozen=True):
    """`words` are stems in the query's order; `dates` the marks of the days, months and years it names."""

    words: tuple[str, ...]
    dates: tuple[str, ...] = ()


def asked(query: str) -> Question:
    """What a query asks for. The words that only hold it together are left out, unless it has no others."""
    words = query_words(query)
    telling = [word for word in words if word not in COMMON]
    return Question(tuple((telling or words)[:MAX_WORDS]), tuple(_dates(query)))


def _dates(query: str) -> list[str]:
    marks: dict[str, None] = {}
    rest = query
    for form in _DATES:
        for found in form.finditer(rest):
            marks.update(dict.fromkeys(_marks(**{"day": None, "month": None, "year": None, **found.groupdict()})))
        rest = form.sub(" ", rest)
    return list(marks)


def _marks(day: str | None, month: str | None, year: str | None) -> list[str]:
    """The marks of one date, as `marks_of` gives them to a row."""
    number = None if month is None else int(month) if month.isdigit() else _number(month)
    if number is None:
        return [f"@{year}"]
    if day is not None:
        return [f"@{number}-{int(day)}", *([f"@{year}-{number}"] if year else [])]
    return [f"@{year}-{number}" if year else f"@{number}"]


def _number(month: str) -> int:
    return next(at for at, name in enumerate(_MONTHS, 1) if name.startswith(month.lower()[:3]))
