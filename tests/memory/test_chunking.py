"""Cutting texts into pieces."""

from itertools import count, pairwise

from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.files import Form
from perdure.memory.chunking import BYTES_PER_TOKEN, OVERLAP_TOKENS, chunks

FORMS = st.sampled_from(["text", "lines", "html", "xlsx"])
PARTS = st.sampled_from(["word{} ", "Ende{}. ", "\n", "\n\n", "ü{}", "字{}字" + "{}" * 40, "\t"])
TEXTS = st.lists(PARTS, max_size=120).map(lambda parts: "".join(map(numbered, count(), parts)))
"""Texts in which hardly two places look alike."""


def numbered(at: int, part: str) -> str:
    return part.format(*range(1000 + 41 * at, 1041 + 41 * at))


@given(TEXTS, FORMS, st.integers(8, 64))
def test_pieces_are_in_order_whole_and_no_longer_than_asked(text: str, form: Form, tokens: int) -> None:
    at = 0
    for piece in chunks(text, form, tokens):
        assert piece == piece.strip() != ""
        assert len(piece.encode()) <= tokens * BYTES_PER_TOKEN
        found = text.find(piece, max(0, at - tokens * BYTES_PER_TOKEN))
        assert found >= 0
        assert not text[at:found].strip(), "something was left out"
        at = max(at, found + len(piece))
    assert not text[at:].strip()


def test_a_piece_ends_where_the_text_does_and_repeats_the_end_of_the_last() -> None:
    sentences = [f"This is sentence number {n} of the long story." for n in range(200)]
    found = chunks(" ".join(sentences), "text", 512)
    assert all(piece.endswith(".") and piece.startswith("This") for piece in found)
    for before, after in pairwise(found):
        first = after.split(". ")[0]
        assert first in before
        assert len(before) - before.index(first) <= OVERLAP_TOKENS * BYTES_PER_TOKEN


def test_code_is_cut_between_lines() -> None:
    code = "\n".join(f"value_{n} = compute({n})  # a. b. c" for n in range(400))
    assert all(line.startswith("value_") for piece in chunks(code, "lines", 100) for line in piece.split("\n"))


def test_a_megabyte_takes_no_time_to_speak_of() -> None:
    assert len(chunks("a" * 1_000_000, "lines", 512)) == len(chunks("a" * 1_000_000, "text", 512)) > 400
