"""A web page as text that a model can read: headings, paragraphs, lists, links, tables and code; no menus, no scripts.

A page is anybody's word: it may be nested without end, never close what it opens, or hide text from people. Nothing
here recurses, each tag costs the same wherever it stands, and what people would not see is left out.
"""

import re
from collections import Counter
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import urljoin

from perdure.tools.html_tokens import End, Start, Text, tokens

_NEVER: Final = frozenset({
    "audio", "canvas", "dialog", "head", "iframe", "math", "noscript", "object", "script", "select", "style", "svg",
    "template", "textarea", "video",
})  # fmt: skip
_AROUND: Final = frozenset({"aside", "button", "footer", "form", "nav"})
"""What stands beside a page's own text. Left out, unless nothing else is there."""
_VOID: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
})  # fmt: skip
_BLOCKS: Final = frozenset({
    "address", "article", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li", "main", "ol", "p", "pre",
    "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_MAIN: Final = frozenset(("article", "main"))
_HIDDEN: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACE: Final = re.compile(r"[ \t\n\r\f]+")
ENOUGH: Final = 200
"""Characters of a page's main part below which it is not taken for the whole of what matters."""
MAX_INDENT: Final = 8
MAX_TOKENS: Final = 100_000
"""Tags and texts that are read of a page; what comes after them is left out."""


class Markdown(NamedTuple):
    """A page's title, empty where it has none, and its text."""

    title: str
    text: str


def to_markdown(html: str, url: str) -> Markdown:
    """The page `html` that lay at `url`, with its links made whole. Takes time in proportion to its length."""
    for left_out in (_NEVER | _AROUND, _NEVER):
        page = _Page(url, left_out)
        for token in islice(tokens(html), MAX_TOKENS):
            page.take(token)
        page.end()
        text = page.text()
        if text:
            break
    return Markdown(page.title(), text)


class _Page:
    """Reads a page from its tags as they come."""

    def __init__(self, url: str, left_out: frozenset[str]) -> None:
        self._url = url
        self._left_out = left_out
        self._open: list[str] = []
        self._counts = Counter[str]()
        self._unseen_from = 0
        """How deep the outermost open element lies that is left out; 0 where there is none."""
        self._title: list[str] = []
        self._blocks: list[tuple[bool, str]] = []
        self._line: list[str] = []
        self._mark = ""
        self._link: tuple[int, str] | None = None
        self._lists: list[int | None] = []
        self._row: list[str] | None = None
        self._first_row = False

    def title(self) -> str:
        return _tidy("".join(self._title))

    def text(self) -> str:
        """The blocks of the main part where it is more than a few words, else all."""
        main = "\n".join(block for is_main, block in self._blocks if is_main)
        every = main if len(main) >= ENOUGH else "\n".join(block for _, block in self._blocks)
        return re.sub(r"\n{3,}", "\n\n", every).strip()

    def end(self) -> None:
        """What was begun is over."""
        self._flush()

    def take(self, token: Start | End | Text) -> None:
        match token:
            case Start():
                self._start(token.name, token.attributes)
            case End():
                self._end(token.name)
            case Text():
                self._say(token.text)

    def _start(self, tag: str, values: dict[str, str]) -> None:
        if tag in _VOID:
            if not self._unseen_from:
                self._void(tag, values)
            elif tag == "base":
                self._url = urljoin(self._url, values.get("href", ""))
            return
        if tag in ("p", "li", "dt", "dd", "tr", "td", "th", "option") and self._open[-1:] == [tag]:
            self._end(tag)
        self._open.append(tag)
        self._counts[tag] += 1
        if self._unseen_from:
            return
        if tag in self._left_out or _is_hidden(values):
            self._unseen_from = len(self._open)
            return
        self._begin(tag, values)

    def _end(self, tag: str) -> None:
        if not self._counts[tag]:
            return
        last = ""
        while last != tag:
            last = self._open.pop()
            self._counts[last] -= 1
            if not self._unseen_from:
                self._finish(last)
            elif len(self._open) < self._unseen_from:
                self._unseen_from = 0

    def _say(self, text: str) -> None:
        if self._open[-1:] == ["title"] and not self._counts["svg"]:
            self._title.append(text)
        elif not self._unseen_from:
            self._line.append(text if self._counts["pre"] else _SPACE.sub(" ", text))

    def _void(self, tag: str, values: dict[str, str]) -> None:
        match tag:
            case "br":
                self._line.append("\n")
            case "hr":
                self._flush()
                self._put("---")
            case "img" if alt := _tidy(values.get("alt", "")):
                self._line.append(f"[image: {alt}]")
            case _:
                return

    def _begin(self, tag: str, values: dict[str, str]) -> None:
        if tag in _BLOCKS:
            self._flush()
        match tag:
            case "a":
                self._end_link()
                self._link = len(self._line), values.get("href", "")
            case "ul" | "ol":
                self._lists.append(0 if tag == "ol" else None)
            case "li":
                self._mark = self._item()
            case "table":
                self._first_row = True
            case "tr":
                self._row = []
            case "code" if not self._counts["pre"]:
                self._line.append("`")
            case _ if tag in _HEADINGS:
                self._mark = _HEADINGS[tag]
            case _:
                return

    def _finish(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
        elif tag == "code" and not self._counts["pre"]:
            self._line.append("`")
        elif tag == "pre":
            self._fence()
        elif tag in _BLOCKS:
            self._flush()
        if tag in ("ul", "ol") and self._lists:
            self._lists.pop()
            if not self._lists:
                self._put("")
        elif tag == "tr":
            self._end_row()
        elif tag in ("p", "table", "blockquote", *_HEADINGS) and self._row is None:
            self._put("")

    def _end_link(self) -> None:
        if self._link is None:
            return
        (began, target), self._link = self._link, None
        raw = "".join(self._line[began:])
        del self._line[began:]
        said, address = _tidy(raw), _address(self._url, target)
        if said and address:
            before, after = (" " if end.isspace() else "" for end in (raw[0], raw[-1]))
            raw = f"{before}[{said}]({address}){after}"
        self._line.append(raw)

    def _item(self) -> str:
        depth = min(max(len(self._lists) - 1, 0), MAX_INDENT)
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        return "  " * depth + ("- " if number is None else f"{number + 1}. ")

    def _fence(self) -> None:
        code = "".join(self._line).strip("\n")
        self._line, self._link = [], None
        if code.strip():
            self._put(f"\n```\n{code}\n```\n")

    def _end_row(self) -> None:
        cells, self._row = self._row or [], None
        if any(cells):
            self._put(f"| {' | '.join(cells)} |")
            if self._first_row and len(cells) > 1:
                self._put(f"|{' --- |' * len(cells)}")
            self._first_row = False

    def _flush(self) -> None:
        """The line is over: into a cell of a table, or as a block of its own."""
        self._end_link()
        lines = [_tidy(line) for line in "".join(self._line).split("\n")]
        self._line = []
        text = "\n".join(line for line in lines if line)
        if not text:
            return
        if self._row is not None:
            self._row.append(text.replace("\n", " ").replace("|", "\\|"))
            return
        quoted = "> " if self._counts["blockquote"] else ""
        self._put(quoted + self._mark + text)
        self._mark = ""

    def _put(self, block: str) -> None:
        self._blocks.append((any(self._counts[tag] for tag in _MAIN), block))


def _is_hidden(values: dict[str, str]) -> bool:
    return (
        "hidden" in values or values.get("aria-hidden") == "true" or _HIDDEN.search(values.get("style", "")) is not None
    )


def _address(base: str, target: str) -> str:
    """Where a link leads; empty where no page lies there."""
    if not target.strip() or target.startswith("#"):
        return ""
    try:
        address = urljoin(base, target.strip())
    except ValueError:
        return ""
    return re.sub(r"[\s()]", "", address) if address.startswith(("http://", "https://")) else ""


def _tidy(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
