"""What a job sees of the machine: the system's programs and libraries, the interpreter, and what it was shown."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import perdure
from perdure.tools.sandbox.job import PYTHON, Job

JAIL: Final = Path(__file__).parent / "jail"
"""The code that runs inside before a job does."""

INSIDE: Final = "/perdure-job"
"""The work directory where the job has a file system of its own. It hides what the machine has there, so nothing of
what a job is shown may lie below it."""

_PACKAGE: Final = "perdure.tools.sandbox.jail"
_ROOT: Final = Path(perdure.__file__).parent.parent

_SYSTEM: Final = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/alternatives", "/etc/ld.so.cache",
    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
)  # fmt: skip
_NETWORK: Final = (
    "/etc/gai.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted",
    "/etc/protocols", "/etc/resolv.conf", "/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
)  # fmt: skip
DEVICES: Final = tuple(f"/dev/{name}" for name in ("null", "full", "random", "urandom"))
"""Not /dev/zero: mapped, it is memory that counts for no process."""


def command(module: str) -> tuple[str, ...]:
    """What runs `main` of a module of `JAIL` in a fresh interpreter that knows the standard library alone."""
    source = f"import sys; sys.path.append({str(_ROOT)!r}); from {_PACKAGE}.{module} import main; main()"
    return PYTHON, "-I", "-S", "-c", source


def module_of(argv: tuple[str, ...]) -> str | None:
    """The module that a command of `command` runs: the launcher can become it without another interpreter."""
    module = argv[-1].partition(f"from {_PACKAGE}.")[2].partition(" ")[0]
    return f"{_PACKAGE}.{module}" if module and argv == command(module) else None


def shown(job: Job) -> list[tuple[str, str]]:
    """What is shown, each as where it lies and where the job sees it; nothing twice."""
    return _outermost([*always(), *(str(path) for path in job.shown), *(_NETWORK if job.network else ())])


def always() -> list[str]:
    """What every job is shown."""
    return [*_SYSTEM, sys.base_prefix, sys.base_exec_prefix, str(Path(PYTHON).parent), str(JAIL)]


def _outermost(paths: Iterable[str]) -> list[tuple[str, str]]:
    kept: list[str] = []
    for path in sorted({os.path.normpath(path) for path in paths if os.path.exists(path)}):
        if not any(path == outer or path.startswith(f"{outer}/") for outer in kept):
            kept.append(path)
    return [(os.path.realpath(path), path) for path in kept]
