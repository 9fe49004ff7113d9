"""Servers that start fast: forked from a process that has loaded the program once, instead of each loading it anew.

A child is a process of its own that runs `perdure` with its own arguments, environment and folder, and can be killed
like any other. What only the interpreter reads at its start cannot be given to it; where that is wanted, it is loaded.
"""

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

WORKER = Path(__file__).parent / "workers" / "nursery.py"
LIMIT = 60.0
"""Seconds until the program is loaded, or a child is there."""
OF_THE_INTERPRETER = ("PYTHON", "LD_", "MALLOC_")


def start(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, output: IO[bytes], errors: IO[bytes]
) -> "Started":
    """A process that runs `perdure` with these arguments."""
    if _of_the_interpreter(environment) == _of_the_interpreter(_nursery().environment):
        wanted = {"arguments": arguments, "environment": environment, "folder": str(folder)}
        return _nursery().fork(wanted, output, errors)
    command = [sys.executable, "-m", "perdure", *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
    )


def _of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(OF_THE_INTERPRETER)}


class Child:
    """A forked process, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, told: socket.socket) -> None:
        self.returncode: int | None = None
        self._told = told
        """Where the nursery says the process's id, and in the end its exit code."""
        self._lock = threading.Lock()
        told.settimeout(LIMIT)
        self.pid = int(told.recv(100))
        told.setblocking(False)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if self.returncode is None:
                self.returncode = int(self._told.recv(100))
                self._told.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code, once there is one."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("perdure", timeout)
            time.sleep(0.002)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class _Nursery:
    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self.environment = {**os.environ, "PYTHONPATH": root}
        # Compiled once, not by each process that starts.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, str(WORKER), str(theirs.fileno())]
            self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 closed with it
            self._process = subprocess.Popen(
                command, env=self.environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=self._said, stderr=self._said,
            )  # fmt: skip
        atexit.register(self.close)

    def fork(self, wanted: dict[str, Any], output: IO[bytes], errors: IO[bytes]) -> Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                files = [output.fileno(), errors.fileno(), theirs.fileno()]
                socket.send_fds(self._asked, [json.dumps(wanted).encode()], files)
            return Child(ours)
        except (OSError, ValueError) as error:
            self._said.seek(0)
            raise AssertionError(f"the nursery of servers is gone:\n{self._said.read()}") from error

    def close(self) -> None:
        self._asked.close()
        self._process.wait(LIMIT)
        self._said.close()


Started = Child | subprocess.Popen[bytes]


@functools.cache
def _nursery() -> _Nursery:
    """That of this process."""
    return _Nursery()
