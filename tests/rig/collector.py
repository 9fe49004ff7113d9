"""An OTLP collector: takes spans over HTTP as any collector does, and hands them to a test."""

import struct
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.rig.install import CACHE, once, run

ROOT = Path(__file__).resolve().parents[2]


def extra(name: str) -> Path:
    """A folder with what an extra of the package brings, to be put on a server's PYTHONPATH."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][name]

    def build(folder: Path) -> None:
        run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *wanted])

    return once(CACHE / "sdks" / f"extra-{name}", f"{sys.version} {' '.join(wanted)}", build)


@dataclass
class Span:
    """One span as it was sent. `failed` says that its status is an error."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    attributes: dict[str, Any]
    failed: bool
    raw: bytes = field(repr=False)


class Collector:
    """Listens on a loopback port. `hang` lets it take requests and never answer."""

    def __init__(self, *, hang: bool = False) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        collector, leave = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces", self.path
                if hang:
                    leave.wait()
                    return
                collector._take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._leave = leave
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def named(self, start: str) -> list[Span]:
        """The spans whose name begins like this, in the order in which they ended."""
        return [span for span in self.spans if span.name.startswith(start)]

    def _take(self, body: bytes) -> None:
        for _, resource_spans in fields(body):
            for number, part in fields(resource_spans):
                if number == 1:
                    self.resource = attributes(part, 1)
                elif number == 2:
                    self.spans += [span(raw) for each, raw in fields(part) if each == 2]


def span(raw: bytes) -> Span:
    """A span of opentelemetry-proto 1.x, field by field."""
    found = dict(fields(raw))
    return Span(
        trace_id=found[1].hex(), span_id=found[2].hex(), parent_id=found.get(4, b"").hex(), name=found[5].decode(),
        kind=found.get(6, 0), attributes=attributes(raw, 9), failed=dict(fields(found.get(15, b""))).get(3) == 2,
        raw=raw,
    )  # fmt: skip


def attributes(message: bytes, number: int) -> dict[str, Any]:
    """The KeyValues of a message."""
    pairs = [dict(fields(raw)) for each, raw in fields(message) if each == number]
    return {pair[1].decode(): value(pair[2]) for pair in pairs}


def value(raw: bytes) -> Any:
    """An AnyValue."""
    for number, content in fields(raw):
        match number:
            case 1:
                return content.decode()
            case 2:
                return bool(content)
            case 4:
                return struct.unpack("<d", content)[0]
            case 5:
                return [value(each) for _, each in fields(content)]
            case _:
                return content
    return None


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: numbers as they are, all else as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                content, at = _varint(message, at)
            case 1:
                content, at = message[at : at + 8], at + 8
            case 2:
                size, at = _varint(message, at)
                content, at = message[at : at + size], at + size
            case 5:
                content, at = message[at : at + 4], at + 4
            case kind:
                raise AssertionError(f"no protobuf field is of kind {kind}")
        yield key >> 3, content


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
