"""Server-sent events as providers really send them: bytes in as they arrive, complete `data` payloads out."""

from typing import Final, Protocol

from perdure.domain.errors import ModelError

EVENT_STREAM: Final = "text/event-stream"
"""The content type of server-sent events."""
MAX_EVENT_BYTES: Final = 8 * 1024 * 1024

_NEWLINE: Final = 0x0A
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FIELDS: Final = (b":", b"data:", b"event:", b"id:", b"retry:")


class Framing(Protocol):
    """How payloads lie in the bytes of an answer. One is made for each answer."""

    def begins(self, head: bytes, content_type: str) -> bool:
        """Whether an answer that begins with `head` can be of this kind. False also for no bytes."""
        ...

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, oldest first. Raises ModelError for one that is too long or broken."""
        ...

    def finish(self) -> list[bytes]:
        """The payloads that the end of the answer completes."""
        ...


class EventParser:
    r"""Cuts a byte stream into events, wherever the reads happen to cut it.

    A blank line ends an event, with `\n`, `\r\n` or `\r` as line ends. The space after `data:` is optional, several
    data lines are joined by a newline, comments and all other fields are dropped, and so is an event without data.
    """

    __slots__ = ("_after_return", "_limit", "_pieces", "_size")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._after_return = False

    def begins(self, head: bytes, content_type: str) -> bool:
        """Whether an answer that begins with `head` can be an event stream. False also for no bytes."""
        head = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
        if content_type == EVENT_STREAM:
            return bool(head) and head[:1] not in b"{[<"
        return bool(head) and any(head.startswith(field) or field.startswith(head) for field in _FIELDS)

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, oldest first. Raises ModelError for an event over the limit (bytes)."""
        data = self._with_newlines(data)
        if not data:
            return []
        pieces = self._pieces
        if pieces:
            at_seam = data[0] == _NEWLINE and pieces[-1][-1] == _NEWLINE
            if not at_seam and b"\n\n" not in data:
                self._keep(data)
                return []
            pieces.append(data)
            data = b"".join(pieces)
            pieces.clear()
            self._size = 0
        events = data.split(b"\n\n")
        rest = events.pop()
        if rest:
            self._keep(rest)
        payloads: list[bytes] = []
        for event in events:
            # Nearly every event is a single line, and nothing has to be taken apart.
            payload = event[6:] if event.startswith(b"data: ") and b"\n" not in event else _data(event)
            if payload:
                payloads.append(payload)
        return payloads

    def finish(self) -> list[bytes]:
        """At the end of the stream: the last event, where only its blank line is missing. A cut line is dropped."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        payload = _data(rest) if rest.endswith(b"\n") else b""
        return [payload] if payload else []

    def _with_newlines(self, data: bytes) -> bytes:
        r"""`data` with every line end as `\n`. A `\r` counts at once; the `\n` that may follow it is then skipped."""
        if self._after_return:
            self._after_return = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            raise ModelError("llm_error", f"The provider sent one event of more than {self._limit} bytes.")


def _data(event: bytes) -> bytes:
    values: list[bytes] = []
    for line in event.removeprefix(_BYTE_ORDER_MARK).split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values)
