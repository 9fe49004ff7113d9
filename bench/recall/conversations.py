"""The conversations in the text files beside this one.

A file holds dated sessions (`== 2025-01-12 18:30`) of turns (`Name: text`), turns that answer a question marked
(`[j1] Name: text`), and after them the questions (`? text | j1 m2`).
"""

import re
from pathlib import Path

import msgspec

FIRST_HALF = ("elena_marcus", "mara_jonas")
"""The conversations by which the ranking's figures were chosen."""
SECOND_HALF = ("priya_tom", "sofia_daniel")
"""Those that were only looked at beside them."""
TURN_SECONDS = 40
_TURN = re.compile(r"(?:\[(\w+)\] )?(.+)")


class Question(msgspec.Struct, frozen=True):
    """A question, and the numbers of the turns that answer it."""

    text: str
    evidence: tuple[int, ...]


class Conversation(msgspec.Struct, frozen=True):
    """Turns of two speakers, each with its time in ISO 8601."""

    name: str
    turns: tuple[tuple[str, str], ...]
    questions: tuple[Question, ...]


def read(name: str) -> Conversation:
    """One of the conversations."""
    turns: list[tuple[str, str]] = []
    questions: list[Question] = []
    marked: dict[str, int] = {}
    began, count = "", 0
    for line in Path(__file__).with_name(f"{name}.txt").read_text().splitlines():
        if line.startswith("== "):
            began, count = line[3:].replace(" ", "T"), 0
        elif line.startswith("? "):
            text, _, marks = line[2:].rpartition(" | ")
            questions.append(Question(text, tuple(marked[mark] for mark in marks.split())))
        elif found := _TURN.fullmatch(line):
            if found[1]:
                marked[found[1]] = len(turns)
            hour, minute = map(int, began[11:].split(":"))
            seconds = hour * 3600 + minute * 60 + count * TURN_SECONDS
            clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            turns.append((found[2], f"{began[:10]}T{clock}Z"))
            count += 1
    return Conversation(name, tuple(turns), tuple(questions))


def recall(conversation: Conversation, answers: list[list[int]]) -> float:
    """The share of the evidence turns among the answers to each question, on average; answers are numbers of turns."""
    shares = [
        sum(turn in found for turn in question.evidence) / len(question.evidence)
        for question, found in zip(conversation.questions, answers, strict=True)
    ]
    return sum(shares) / len(shares)
