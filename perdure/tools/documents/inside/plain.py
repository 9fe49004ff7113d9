"""Text in whatever encoding, and HTML."""

import codecs
import re
from html.parser import HTMLParser
from typing import Final

from perdure.tools.documents.inside.bounds import Refused, Text

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ODD: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Characters that no text holds, but for a stray one."""
MOST_ODD: Final = 0.01
MOST_BROKEN: Final = 0.02
"""Shares of a text that may be odd, or broken for UTF-8, before it is taken for something else."""

_BLOCKS: Final = """
address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li
main nav ol option p pre section table tbody tfoot thead tr ul
"""
_HIDDEN: Final = "script style template noscript svg head"
_HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}


def text(data: bytes) -> str:
    """The text that these bytes are. Raises Refused where they are none."""
    found = _decoded(data).replace("\r\n", "\n").replace("\r", "\n")
    if len(_ODD.findall(found)) > MOST_ODD * len(found):
        raise Refused("It holds binary data and no text. Send it with the ending that says what it is.")
    return found


def html(data: bytes) -> str:
    """What a reader of this page sees, without its layout."""
    page = _Page()
    page.feed(text(data))
    page.close()
    lines = (re.sub(r"[ \t\f\v\xa0]+", " ", line).strip() for line in str(page.text).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _decoded(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    if (wide := _wide(data)) is not None:
        return data.decode(wide, "replace")
    mended = data.decode(errors="replace")
    if mended.count("\ufffd") <= MOST_BROKEN * len(mended):
        return mended
    return data.decode("cp1252", "replace")


def _wide(data: bytes) -> str | None:
    """UTF-16 that does not say so: every other byte of Latin text is zero."""
    head = data[:4096]
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) >= 4 and head[start::2].count(0) > 0.7 * (len(head) // 2):
            return encoding
    return None


class _Page(HTMLParser):
    _blocks = frozenset(_BLOCKS.split())
    _hides = frozenset(_HIDDEN.split())

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = Text()
        self._hidden = 0
        self._kept = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in self._hides:
            self._hidden += 1
        elif tag == "title":
            self._kept += 1
        elif tag in self._blocks:
            self.text.add("\n" + _HEADINGS.get(tag, "- " if tag == "li" else ""))
        elif tag in ("td", "th"):
            self.text.add("\t")
        elif tag == "pre":
            self.text.add("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hides:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "title":
            self._kept = max(0, self._kept - 1)
            self.text.add("\n\n")
        elif tag in self._blocks:
            self.text.add("\n\n" if tag in _HEADINGS or tag == "p" else "\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden or self._kept:
            self.text.add(data)
