"""Looking for patterns in files, patterns without end included: users.md, attack 12 (regex DoS)."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from perdure.domain.errors import Invalid
from perdure.tools.grep import search as grep
from perdure.tools.grep.search import MOST, PAGE, Matches

FILES = {"docs/a.txt": ["alpha", "Needle 1", "omega"], "docs/b.txt": [f"needle {n}" for n in range(2, 60)]}


async def texts(files: dict[str, Sequence[str]]) -> AsyncIterator[tuple[str, Sequence[str]]]:
    for name, lines in files.items():
        yield name, lines


def search(pattern: str, files: dict[str, Sequence[str]] | None = None, first: int = 0, context: int = 0) -> Matches:
    return asyncio.run(grep.search(pattern, texts(FILES if files is None else files), first=first, context=context))


def test_matches_come_in_pages_with_what_stands_around_them() -> None:
    found = search("needle", context=1)
    assert (found.total, found.more, len(found.shown)) == (59, False, PAGE)
    first = found.shown[0]
    assert (first.file, first.line, first.start, first.lines) == ("docs/a.txt", 2, 1, ["alpha", "Needle 1", "omega"])
    assert found.shown[1].start == 1
    assert found.shown[1].lines == ["needle 2", "needle 3"]
    assert search("needle", first=40).shown[-1].lines == ["needle 59"]
    assert search("needle", first=60).shown == ()
    assert search("nothing like it").total == 0


def test_no_more_are_counted_than_anyone_would_read() -> None:
    found = search(".", {"big": ["x"] * (MOST + 5), "never read": ["y"] * 1_000_000})
    assert (found.total, found.more) == (MOST, True)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?P<a>x)(?P<a>y)", "*", "a{99999999999999999999}"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid, match="pattern"):
        search(pattern)


def test_a_pattern_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grep, "SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(Invalid, match="simpler pattern"):
        search("(a+)+$", {"trap": ["a" * 60 + "!"]})
    assert time.monotonic() - began < 10


def test_giving_up_ends_the_search_at_once() -> None:
    async def go() -> None:
        task = asyncio.create_task(grep.search("(a+)+$", texts({"trap": ["a" * 60 + "!"]}), first=0, context=0))
        await asyncio.wait((task,), timeout=0.5)
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(go())
