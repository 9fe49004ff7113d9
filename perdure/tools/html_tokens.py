"""HTML cut into tags and text, in time proportional to its length whatever it is made of.

The standard library's parser takes quadratic time on pages made for it, such as one of unclosed comments.
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final

import msgspec


class Start(msgspec.Struct, frozen=True):
    """`<name …>`. Names of tags and attributes are in lower case; an attribute without a value has an empty one."""

    name: str
    attributes: dict[str, str]


class End(msgspec.Struct, frozen=True):
    """`</name>`."""

    name: str


class Text(msgspec.Struct, frozen=True):
    """Text between tags, its character references resolved."""

    text: str


_RAW: Final = {
    name: re.compile(f"</{name}(?=[\\s/>])", re.IGNORECASE) for name in ("script", "style", "textarea", "title")
}
"""Elements that hold nothing but text, with what ends them."""

_NAME: Final = re.compile(r"/?[a-zA-Z][^\s/>]*")
_STOP: Final = re.compile(r"""[>"']""")
_ATTRIBUTE: Final = re.compile(r"""([^\s=/"'>]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_HUGE: Final = re.compile(r"&#x?[0-9a-fA-F]{8,};?")


def tokens(html: str) -> Iterator[Start | End | Text]:
    """The tags and texts of `html`, in order; comments and declarations are left out, and a tag cut off at its end."""
    at = 0
    while at < len(html):
        opens = html.find("<", at)
        if opens != at:
            opens = len(html) if opens < 0 else opens
            yield Text(_resolved(html[at:opens]))
            at = opens
            continue
        name = _NAME.match(html, at + 1)
        if name is None:
            if html[at + 1 : at + 2] in ("!", "?", "/"):
                at = _after(html, "-->" if html.startswith("<!--", at) else ">", at)
            else:
                yield Text("<")
                at += 1
            continue
        word = name[0].lower()
        end = _tag_end(html, name.end())
        if end < 0:
            return
        if word.startswith("/"):
            yield End(word[1:])
        else:
            yield Start(word, _attributes(html[name.end() : end]))
        at = end + 1
        if (closing := _RAW.get(word)) is not None:
            found = closing.search(html, at)
            at, began = (found.start() if found else len(html)), at
            if at > began:
                yield Text(_resolved(html[began:at]))


def _after(html: str, mark: str, at: int) -> int:
    found = html.find(mark, at)
    return len(html) if found < 0 else found + len(mark)


def _tag_end(html: str, at: int) -> int:
    """Where the `>` of a tag stands that belongs to no quoted value; -1 where it has none."""
    while found := _STOP.search(html, at):
        if found[0] == ">":
            return found.start()
        closing = html.find(found[0], found.end())
        if closing < 0:
            return html.find(">", found.end())
        at = closing + 1
    return -1


def _attributes(text: str) -> dict[str, str]:
    return {found[1].lower(): _resolved(found[2] or found[3] or found[4] or "") for found in _ATTRIBUTE.finditer(text)}


def _resolved(text: str) -> str:
    return unescape(_HUGE.sub("\ufffd", text)) if "&" in text else text
