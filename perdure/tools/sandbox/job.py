"""A job for the sandbox, and what comes of it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from socket import socket
from typing import Final, Literal

import msgspec

PYTHON: Final = os.path.realpath(sys.executable)
"""The interpreter inside: the server's own. Give it `-I -S`, and paths to import from by hand."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a job may take, all its processes together.

    `seconds` by the clock; `memory` and `disk` in bytes; `output` is bytes kept of stdout and stderr each, `result`
    those of its result. `addresses` is the address space of one process, in bytes, None for any: programs that reserve
    far more than they use need that.
    """

    seconds: float = 180.0
    memory: int = 1 << 30
    disk: int = 256 << 20
    processes: int = 64
    output: int = 1 << 20
    result: int = 16 << 20
    addresses: int | None = 4 << 30


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A program to run apart.

    It starts in an empty directory that only it sees, with `files` in it by their relative names, reads `stdin`, sees
    `environment` and nothing of the server's, and of the machine the system's programs, `PYTHON` and the paths `shown`,
    all read-only; where the server runs as root, only what anyone may read. What it writes to file descriptor 3 is
    its result. `channel` is a connected socket that it finds as file descriptor 4; without `network` it is its only
    way out. `work` is a directory of the server's to work in, instead of one that vanishes.
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    files: Mapping[str, bytes] = {}
    environment: Mapping[str, str] = {}
    shown: tuple[Path, ...] = ()
    network: bool = False
    channel: socket | None = None
    work: Path | None = None
    limits: Limits = Limits()


Stopped = Literal["time", "memory", "disk", "output"]
"""The limit that a job was ended for."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended, with no process of it left.

    `code` is the exit code of its program, 128 and the signal's number where one ended it. `stopped` says which limit
    was passed. `cut` says that it wrote more than was kept.
    """

    code: int
    result: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    stopped: Stopped | None = None
    cut: bool = False
    seconds: float = 0.0
