"""What to write where a conversation is to be summed up: what people said in it, word for word."""

import re
from collections.abc import Iterable
from typing import Final

from perdure.providers.offline.answers import clipped
from perdure.providers.offline.reading import Situation

MAX_LINES: Final = 40
MAX_LINE: Final = 160
"""Characters of one line."""

_TRANSCRIPT: Final = "<transcript>"
_HIDDEN: Final = "[This is an automated system message hidden from the user]"
_ENTRY: Final = re.compile(r"\[(?P<head>[^\]\n]+)\]\n(?P<said>.*?)(?=\n\n\[|\n</transcript>|\Z)", re.DOTALL)
_NOT_SAID: Final = ("assistant", "system")
_INTRO: Final = "What was said so far:"


def is_to_sum_up(text: str) -> bool:
    """Whether a request asks for a summary, of a transcript or of the conversation itself."""
    return text.startswith(_TRANSCRIPT) or _HIDDEN in text


def summary_of(situation: Situation) -> str:
    """The newest things people said, and before them what an earlier summary holds."""
    if _HIDDEN in situation.text:
        return _written(clipped(said, MAX_LINE) for said in situation.earlier)
    lines: list[str] = []
    for entry in _ENTRY.finditer(situation.text):
        head, said = entry["head"], entry["said"]
        if head == "earlier summary":
            lines += [line.removeprefix("- ") for line in said.splitlines() if line.strip() and line != _INTRO]
        elif ", " in head and not head.startswith(_NOT_SAID) and " returned, " not in head:
            lines.append(clipped(said, MAX_LINE))
    return _written(lines)


def _written(lines: Iterable[str]) -> str:
    kept = list(dict.fromkeys(lines))[-MAX_LINES:]
    return "\n".join([_INTRO, *(f"- {line}" for line in kept)]) if kept else "Nothing was said so far."
