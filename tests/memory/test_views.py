"""What an agent sees of an open file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.errors import Invalid
from perdure.memory.views import LINE_CHARS, lines_of, view

NOTE_CHARS = 200
"""Room for the lines that say what is shown."""


def test_code_has_its_lines_and_prose_its_sentences() -> None:
    text = "One. Two! Three?\n\nv1.2 is e.g. fine"
    assert lines_of(text, "lines") == ["One. Two! Three?", "", "v1.2 is e.g. fine"]
    assert lines_of(text, "text") == ["One.", "Two!", "Three?", "", "v1.2 is e.g.", "fine"]


def test_a_line_without_end_can_be_read_to_its_end() -> None:
    lines = lines_of("x" * 2_500, "lines")
    assert [len(line) for line in lines] == [LINE_CHARS, LINE_CHARS, 500]


def test_a_view_says_what_it_shows_and_how_to_see_more() -> None:
    lines = [f"line {n}" for n in range(1, 101)]
    whole = view(lines, 10_000)
    assert whole.text.startswith("[Viewing all of the file: lines 1 to 100]\n1: line 1\n2: line 2\n")
    part = view(lines, 10_000, 10, 2)
    assert part.text == "[Viewing lines 11 to 12 of 100]\n11: line 11\n12: line 12"
    cut = view(lines, 30)
    assert (cut.start, cut.end) == (1, 3)
    assert cut.text.endswith("Line 4 has offset 3.]")
    assert view([], 100).text == "[Viewing an empty file]"
    with pytest.raises(Invalid, match="offset from 0 to 99"):
        view(lines, 30, 100)


@given(st.lists(st.text(max_size=50)), st.integers(1, 400), st.integers(0, 5), st.none() | st.integers(1, 5))
def test_a_view_keeps_to_its_limit(lines: list[str], limit: int, offset: int, length: int | None) -> None:
    if offset >= len(lines):
        offset = 0
    shown = view(lines, limit, offset, length)
    assert len(shown.text) <= limit + NOTE_CHARS
    assert shown.start == offset + 1
    assert shown.end - offset <= (length or len(lines))
    assert shown.end > offset or not lines
