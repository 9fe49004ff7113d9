"""A process the tests need beside the server: started, waited for by what it says, ended by its own id."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LIMIT = 60.0
"""Seconds a process may take to say what it is waited for, or to end."""


class Process:
    """A running command; all it says goes to `log_file`. Its standard input stays open until `end`.

    `options` are those of `subprocess.Popen`, such as who it runs as.
    """

    def __init__(
        self, command: Sequence[str], log_file: Path, environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self.log_file = log_file
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, **options
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def line_with(self, text: str, limit: float = LIMIT) -> str:
        """The first line that holds `text`. Fails when the process ends without it or `limit` seconds pass."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            for line in self.log.splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line
            if ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"process {self._process.pid} did not say {text!r}:\n{self.log[-8000:]}")

    def stop(self) -> int:
        """Ends the process with SIGTERM, as a person would, and returns its exit code."""
        self._process.terminate()
        return self._process.wait(LIMIT)

    def end(self) -> None:
        """Ends the process. Safe to call twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(LIMIT)
        if self._process.stdin is not None:
            self._process.stdin.close()
