"""What a document may hold before it is refused, and the words of the refusal."""

from typing import Final

TEXT_BYTES: Final = 50_000_000
"""UTF-8 of the text that is got out of one document."""
UNPACKED_BYTES: Final = 200_000_000
"""What the parts of a packed document may grow to, all together."""
PARTS: Final = 20_000
PAGES: Final = 20_000


class Refused(Exception):
    """A document that is not read, and why, in words for whoever sent it."""


class Text:
    """The text of a document, gathered bit by bit."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0

    def add(self, part: str) -> None:
        """Raises Refused where it becomes too much."""
        self._size += len(part)
        if self._size > TEXT_BYTES:
            raise too_much_text()
        self._parts.append(part)

    def __str__(self) -> str:
        return "".join(self._parts)


def too_much_text() -> Refused:
    return Refused(f"It holds more than {TEXT_BYTES // 1_000_000} MB of text. Send it in parts.")
