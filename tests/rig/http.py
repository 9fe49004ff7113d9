"""A plain HTTP client and a strict reader of event streams, independent of any SDK and of perdure itself."""

import http.client
import json as jsonlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LIMIT = 30.0
"""Seconds without a byte after which a request fails."""


@dataclass(frozen=True)
class Reply:
    """A complete answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)


@dataclass(frozen=True)
class Frame:
    """One event of a stream. `at` is seconds from request to arrival; `raw` its bytes with the blank line."""

    at: float
    raw: bytes
    event: str | None
    data: str | None
    comment: str | None

    @property
    def json(self) -> dict[str, Any]:
        assert self.data is not None, f"no data in {self.raw!r}"
        return jsonlib.loads(self.data)

    @property
    def kind(self) -> str:
        """The `message_type`, `[DONE]`, or `comment`."""
        if self.data is None:
            return "comment"
        return self.data if self.data == "[DONE]" else self.json["message_type"]


class EventStream:
    """An open event stream: iterate it, or `read` it to its end. Use it as a context manager; leaving hangs up."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, began: float
    ) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.frames: list[Frame] = []
        """Those read so far."""
        self.ended_at: float | None = None
        self._connection, self._response, self._began = connection, response, began
        self._left = b""

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._next()) is not None:
            self.frames.append(frame)
            yield frame

    def read(self) -> list[Frame]:
        """All frames from the first, after the stream has ended."""
        for _ in self:
            pass
        return self.frames

    def until(self, kind: str) -> Frame:
        """Reads on up to and including the next frame of this kind."""
        for frame in self:
            if frame.kind == kind:
                return frame
        raise AssertionError(f"the stream ended without {kind}: {[frame.kind for frame in self.frames]}")

    def _next(self) -> Frame | None:
        while b"\n\n" not in self._left:
            more = self._response.read1(1 << 16)
            if not more:
                self.ended_at = time.monotonic() - self._began
                assert not self._left, f"the stream ended inside a frame: {self._left!r}"
                return None
            self._left += more
        raw, _, self._left = self._left.partition(b"\n\n")
        return parse(raw + b"\n\n", time.monotonic() - self._began)


def parse(raw: bytes, at: float = 0.0) -> Frame:
    """Reads one frame, strictly: only `event:`, `data:` and comment lines, each at most once, no carriage returns."""
    found: dict[str, str] = {}
    for line in raw.decode().removesuffix("\n\n").split("\n"):
        name, _, value = line.partition(":")
        name = name or "comment"
        assert name in ("event", "data", "comment"), f"a line no client expects: {line!r}"
        assert name not in found, f"two {name} lines in one frame: {raw!r}"
        assert "\r" not in line, f"a carriage return: {line!r}"
        found[name] = value.removeprefix(" ")
    return Frame(at, raw, found.get("event"), found.get("data"), found.get("comment"))


def request(
    method: str,
    url: str,
    json: Any = None,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> Reply:
    """Sends one request and reads the whole answer, whatever its status. `limit` is seconds without a byte."""
    connection, response = _send(method, url, json, body, headers, limit)
    try:
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())
    finally:
        response.close()
        connection.close()


def stream(
    method: str,
    url: str,
    json: Any = None,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> EventStream:
    """Opens an event stream. Fails with the answer's text if it is not one."""
    began = time.monotonic()
    connection, response = _send(method, url, json, body, headers, limit)
    if response.status != 200 or "text/event-stream" not in response.headers.get("content-type", ""):
        try:
            said = response.read()
        finally:
            response.close()
            connection.close()
        raise AssertionError(f"{method} {url} gave {response.status} and no event stream: {said[:2000]!r}")
    return EventStream(connection, response, began)


def raw(url: str, sent: bytes, limit: float = LIMIT) -> bytes:
    """Writes bytes to the server and reads until it hangs up."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=limit) as sock:
        sock.sendall(sent)
        received = b""
        while more := sock.recv(1 << 16):
            received += more
    return received


def _send(
    method: str, url: str, json: Any, body: bytes | None, headers: Mapping[str, str] | None, limit: float
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=limit)
    sent = dict(headers or {})
    if json is not None:
        body = jsonlib.dumps(json).encode()
        sent.setdefault("Content-Type", "application/json")
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body, sent)
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise
