"""Reading a call's arguments while they stream.

Older agents speak through a tool: what they say is a string inside JSON that is still being written. This takes the
fragments as they come and gives the text of the fields that are watched, unescaped, and the rest as it stands.
"""

import json
from collections.abc import Collection
from enum import Enum, auto
from typing import Final, NamedTuple

_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Piece(NamedTuple):
    """Text of the watched field `field`, or raw JSON where that is None."""

    field: str | None
    text: str


class _At(Enum):
    """Where in the object the scanner stands."""

    START = auto()
    KEY_OR_END = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    TEXT = auto()
    OTHER = auto()
    AFTER = auto()
    OUTSIDE = auto()


class StreamedArguments:
    """Splits the JSON object of a call's arguments.

    `watched` top-level fields with string values come out as text and, unless they are `cut`, stay in the raw JSON as
    well. A field to be cut that holds anything but a string is left out. What is not a JSON object comes out as it is.
    """

    def __init__(self, watched: Collection[str], cut: Collection[str] = ()) -> None:
        self._watched = frozenset(watched)
        self._cut = frozenset(cut)
        self._at = _At.START
        self._out: list[Piece] = []
        self._held = ""
        """Raw text of a member whose key is not known yet, or that may turn out to be cut."""
        self._key = ""
        self._comma = False
        """Whether a comma is owed before the next member that is not cut."""
        self._depth = 0
        self._quoted = False
        self._escape = ""
        self._surrogate = ""

    def feed(self, fragment: str) -> list[Piece]:
        """What this fragment adds; neighbours of one field are joined."""
        for character in fragment:
            self._take(character)
        out, self._out = self._out, []
        return _joined(out)

    def _take(self, character: str) -> None:
        match self._at:
            case _At.TEXT:
                self._in_text(character)
            case _At.OTHER:
                self._in_other(character)
            case _At.KEY:
                self._in_key(character)
            case _At.OUTSIDE:
                self._out.append(Piece(None, character))
            case _:
                self._between(character)

    def _between(self, character: str) -> None:
        """Outside of keys and values."""
        if self._at is _At.START and not character.isspace():
            self._out.append(Piece(None, character))
            self._at = _At.KEY_OR_END if character == "{" else _At.OUTSIDE
        elif self._at is _At.KEY_OR_END and character == '"':
            self._held, self._key, self._at = self._held + '"', "", _At.KEY
        elif self._at is _At.COLON and character == ":":
            self._held, self._at = self._held + ":", _At.VALUE
        elif self._at is _At.VALUE and not character.isspace():
            self._begin_value(character)
        elif self._at is _At.AFTER and character == ",":
            self._at = _At.KEY_OR_END
        elif self._at in (_At.AFTER, _At.KEY_OR_END) and character == "}":
            self._release()
            self._out.append(Piece(None, "}"))
            self._at = _At.OUTSIDE
        else:
            self._held += character

    def _in_key(self, character: str) -> None:
        self._held += character
        if character == '"' and not self._escape:
            self._at = _At.COLON
            return
        self._escape = "\\" if character == "\\" and not self._escape else ""
        self._key += character

    def _begin_value(self, character: str) -> None:
        is_text = character == '"' and self._key in self._watched
        if self._key in self._cut:
            self._held = ""
        else:
            if self._comma:
                self._out.append(Piece(None, ","))
            elif self._cut:
                # What followed the field that was cut would stand here as if it led the object.
                self._held = self._held.lstrip()
            self._comma = True
            self._release()
            self._out.append(Piece(None, character))
        self._at = _At.TEXT if is_text else _At.OTHER
        self._escape = self._surrogate = ""
        self._quoted = character == '"'
        self._depth = 1 if character in "[{" else 0

    def _in_text(self, character: str) -> None:
        """Inside the string of a watched field."""
        if self._key not in self._cut:
            self._out.append(Piece(None, character))
        if self._escape:
            self._in_escape(character)
        elif character == "\\":
            self._escape = "\\"
        elif character == '"':
            self._show("")
            self._at = _At.AFTER
        else:
            self._show(character)

    def _in_escape(self, character: str) -> None:
        self._escape += character
        if self._escape[1] != "u":
            self._show(_ESCAPES.get(character, character))
            self._escape = ""
        elif len(self._escape) == 6:
            try:
                code = int(self._escape[2:], 16)
            except ValueError:
                code = 0xFFFD
            self._escape = ""
            self._show_unit(code)

    def _show_unit(self, code: int) -> None:
        """A UTF-16 unit: halves of a pair are joined, lone ones become U+FFFD."""
        if 0xD800 <= code < 0xDC00:
            self._show("")
            self._surrogate = chr(code)
        elif 0xDC00 <= code < 0xE000 and self._surrogate:
            joined = 0x10000 + ((ord(self._surrogate) - 0xD800) << 10) + (code - 0xDC00)
            self._surrogate = ""
            self._show(chr(joined))
        else:
            self._show("\ufffd" if code == 0 or 0xDC00 <= code < 0xE000 else chr(code))

    def _show(self, text: str) -> None:
        if self._surrogate:
            text, self._surrogate = "\ufffd" + text, ""
        if text:
            self._out.append(Piece(self._key, text))

    def _in_other(self, character: str) -> None:
        """Inside any other value, to its end."""
        ends = self._depth == 0 and not self._quoted and character in ",}"
        if not ends and self._key not in self._cut:
            self._out.append(Piece(None, character))
        if self._quoted:
            if self._escape:
                self._escape = ""
            elif character == "\\":
                self._escape = "\\"
            elif character == '"':
                self._quoted = False
                self._at = _At.AFTER if self._depth == 0 else _At.OTHER
            return
        if ends:
            self._at = _At.AFTER
            self._between(character)
            return
        self._quoted = character == '"'
        self._depth += (character in "[{") - (character in "]}")
        if self._depth == 0 and character in "]}":
            self._at = _At.AFTER

    def _release(self) -> None:
        if self._held:
            self._out.append(Piece(None, self._held))
            self._held = ""


def field_text(arguments: str, field: str) -> str:
    """The text of one field, as far as the arguments hold it: they may have been cut off."""
    return "".join(piece.text for piece in StreamedArguments((field,)).feed(arguments) if piece.field == field)


def without_field(arguments: str, field: str) -> str:
    """The arguments without one field."""
    return "".join(piece.text for piece in StreamedArguments((field,), (field,)).feed(arguments) if piece.field is None)


def with_field(arguments: str, field: str, text: str) -> str:
    """The arguments with one more field in front, as if it had never been cut. What is no object stays as it is."""
    opening, rest = arguments[: arguments.find("{") + 1], arguments[arguments.find("{") + 1 :].lstrip()
    if opening.strip() != "{":
        return arguments
    member = f"{_quoted(field)}: {_quoted(text)}"
    return f"{{{member}{rest}" if rest.startswith("}") else f"{{{member}, {rest}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _joined(pieces: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].field == piece.field:
            joined[-1] = Piece(piece.field, joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined
