"""A server of our own in another process, and the few requests the demo makes of it."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from perdure.config import SETTINGS
from perdure.domain.errors import Unavailable

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 120.0
"""How long a silent server is waited for; it pings long before that."""
_LOG_SHOWN: Final = 2_000
_HEADERS: Final = {"Content-Type": "application/json", "Connection": "close"}

_OWN_SETTINGS: Final = {name for setting in SETTINGS for name in setting.variables}


class LocalServer:
    """A server on a free loopback port with its data in `directory`. Use it in a `with`; providers stay as set."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "server.log"
        self._ready = directory / "ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> "LocalServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once it answers. Raises Unavailable, with its own words, where it does not."""
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "perdure", "serve", "--host", "127.0.0.1", "--port", "0"]
        command += ["--data", str(self._directory), "--ready-file", str(self._ready)]
        environment = {name: value for name, value in os.environ.items() if name not in _OWN_SETTINGS}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"The server did not start. It said:\n{self._said()}")
            time.sleep(0.01)
        self.url = msgspec.json.decode(self._ready.read_bytes())["url"]

    def stop(self) -> None:
        """End it as Ctrl-C would, or by force where it does not listen. Nothing where it is gone already."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._ready.unlink(missing_ok=True)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer. Raises Unavailable with the server's words for any other than 200."""
        response = self._send(method, path, body)
        with response:
            return msgspec.json.decode(response.read())

    def stream(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """The messages of an event stream, each as it arrives. Raises Unavailable where it breaks off."""
        response = self._send("POST", path, body)
        try:
            with response:
                for line in response:
                    if not line.startswith(b"data:"):
                        continue
                    data = line.removeprefix(b"data:").strip()
                    if data == b"[DONE]":
                        return
                    yield msgspec.json.decode(data)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"The stream broke off ({error}). The server said:\n{self._said()}") from error
        raise Unavailable(f"The stream ended before [DONE]. The server said:\n{self._said()}")

    def _send(self, method: str, path: str, body: Any) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=ANSWER_SECONDS)
        try:
            content = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, content, _HEADERS)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"The server does not answer ({error}). It said:\n{self._said()}") from error
        if response.status != 200:
            raise Unavailable(f"The server refused ({response.status}): {_detail(response.read())}")
        return response

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-_LOG_SHOWN:].strip() or "(nothing)"


def _detail(body: bytes) -> str:
    """The cause in an error's body, or all of it where it has another shape."""
    try:
        return msgspec.json.decode(body, type=_Refusal).detail
    except msgspec.DecodeError:
        return body.decode(errors="replace")


class _Refusal(msgspec.Struct):
    detail: str
