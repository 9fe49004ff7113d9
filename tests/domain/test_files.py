"""Names and types of files, whatever was sent. Traversal and the like: users.md, attacks 13 and 14."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.files import MAX_NAME_BYTES, file_limits, form_of, numbered_name, safe_name, type_of


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system32\\x.dll", "x.dll"),
        ("/abs/olute.txt", "olute.txt"),
        ("C:\\me\\a.txt", "a.txt"),
        ("a\0b.txt", "ab.txt"),
        ("exe\u202efdp.txt", "exefdp.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        ('"><file status="open.md', "___file status=_open.md"),
        (".env", ".env"),
        ("..", ""),
        (".", ""),
        ("", ""),
        ("folder/", ""),
        (" \n\t", ""),
        ("日本語.md", "日本語.md"),
        ("\ud83d.txt", ".txt"),
    ],
)
def test_what_is_left_of_a_name(sent: str, kept: str) -> None:
    assert safe_name(sent) == kept


@given(st.text(max_size=400))
def test_a_name_is_safe_whatever_was_sent(sent: str) -> None:
    name = safe_name(sent)
    assert name not in (".", "..")
    assert not set(name) & set('/\\<>"&\0\n')
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in name)
    assert safe_name(name) == name
    if name:
        assert safe_name(numbered_name(name, 12)) == numbered_name(name, 12) != name


def test_a_taken_name_gets_a_number_before_its_ending() -> None:
    assert numbered_name("a.tar.gz", 1) == "a.tar_(1).gz"
    assert numbered_name("Makefile", 2) == "Makefile_(2)"
    assert numbered_name(".env", 1) == ".env_(1)"


@pytest.mark.parametrize(
    ("name", "sent", "form"),
    [
        ("a.TXT", None, "text"), ("a.py", "application/octet-stream", "lines"), ("a", "application/pdf", "pdf"),
        ("a.unknown", "text/x-thing; charset=utf-8", "text"), ("a.html", "text/plain", "html"), ("a.exe", None, None),
        ("a.png", "image/png", None), ("a", None, None), ("Makefile", None, "lines"), ("a.docx", "", "docx"),
    ],
)  # fmt: skip
def test_a_type_is_told_by_the_ending_or_by_what_was_sent(name: str, sent: str | None, form: str | None) -> None:
    assert form_of(name, sent) == form


def test_a_type_to_remember() -> None:
    assert type_of("a.json", "application/octet-stream") == "application/json"
    assert type_of("a.weird", "Text/Plain; charset=x") == "text/plain"


@pytest.mark.parametrize(
    ("window", "limits"),
    [
        (8_000, (3, 5_000)),
        (8_001, (5, 15_000)),
        (128_000, (10, 25_000)),
        (200_000, (10, 40_000)),
        (10**6, (15, 40_000)),
    ],
)
def test_an_agent_may_see_more_the_larger_its_window_is(window: int, limits: tuple[int, int]) -> None:
    assert file_limits(window, None, None) == limits
    assert file_limits(window, 2, 99) == (2, 99)
