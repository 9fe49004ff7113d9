"""What an agent sees of an open file: numbered lines, as many as its limit lets in."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from perdure.domain.errors import Invalid
from perdure.domain.files import Form

LINE_CHARS: Final = 1_000
"""A line longer than this is shown as several, so that every part of a file can be reached by the number of a line."""

_SENTENCE: Final = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+(?=\S)")
_RECORDS: Final[frozenset[Form]] = frozenset({"lines", "xlsx"})


class View(msgspec.Struct, frozen=True):
    """Lines `start` to `end` of a file, counted from 1, both included; with none, `end` lies before `start`."""

    text: str
    start: int
    end: int


def lines_of(text: str, form: Form) -> list[str]:
    """The lines of a file as agents count them: those of code and data, the sentences of everything else."""
    return [piece for line in text.splitlines() for piece in _pieces(line, sentences=form not in _RECORDS)]


def view(lines: Sequence[str], limit: int, offset: int = 0, length: int | None = None) -> View:
    """At most `limit` characters of a file, from the line after the first `offset`, at most `length` lines.

    Raises Invalid where the file ends before that.
    """
    if offset and offset >= len(lines):
        raise Invalid(
            f"offset is {offset}, and the file has {len(lines)} lines. Use an offset from 0 to {len(lines) - 1}."
        )
    wanted = lines[offset : None if length is None else offset + length]
    shown: list[str] = []
    room = limit
    for number, line in enumerate(wanted, offset + 1):
        numbered = f"{number}: {line}"
        if room < len(numbered) + 1:
            if not shown:  # a limit smaller than a line still shows something
                shown.append(numbered[:room])
            break
        shown.append(numbered)
        room -= len(numbered) + 1
    end = offset + len(shown)
    parts = [_header(lines, offset, end), *shown]
    if len(shown) < len(wanted):
        parts.append(
            f"[Cut here: no more than {limit} characters of a file are shown. Line {end + 1} has offset {end}.]"
        )
    return View("\n".join(parts), offset + 1, end)


def _header(lines: Sequence[str], offset: int, end: int) -> str:
    if not lines:
        return "[Viewing an empty file]"
    if end - offset == len(lines):
        return f"[Viewing all of the file: lines 1 to {end}]"
    return f"[Viewing lines {offset + 1} to {end} of {len(lines)}]"


def _pieces(line: str, *, sentences: bool) -> Iterator[str]:
    for sentence in _SENTENCE.split(line) if sentences else (line,):
        if len(sentence) <= LINE_CHARS:
            yield sentence
        else:
            yield from (sentence[at : at + LINE_CHARS] for at in range(0, len(sentence), LINE_CHARS))
