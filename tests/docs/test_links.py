"""What the documentation points to in this repository is there."""

import re
from pathlib import Path

import pytest

from tests.docs.written import MARKDOWN
from tests.rig.server import ROOT

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")


def prose(file: Path) -> str:
    """The text of a file without its code, where brackets mean something else."""
    text = re.sub(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1\s*$", "", file.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(file: Path) -> set[str]:
    """The names under which the headings of a file can be pointed to."""
    headings = re.findall(r"^#+ +(.*?)\s*$", file.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", MARKDOWN, ids=str)
def test_links_lead_somewhere(name: Path) -> None:
    file = ROOT / name
    missing: list[str] = []
    for target in LINK.findall(prose(file)):
        if ELSEWHERE.match(target):
            continue
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        if not there.is_relative_to(ROOT) or not there.exists() or (anchor and anchor not in anchors(there)):
            missing.append(target)
    assert missing == []


def test_the_links_are_seen() -> None:
    assert LINK.findall("[a](b.md) [c](d/e.md#f 'title') ![g](<h.png>)") == ["b.md", "d/e.md#f", "h.png"]
    assert anchors(ROOT / "README.md") >= {"connect-a-model", "perdure"}
    assert len(LINK.findall(prose(ROOT / "README.md"))) > 3
