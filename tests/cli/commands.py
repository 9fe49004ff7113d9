"""Commands as a person runs them: real processes, their words and their exit codes."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rig import nursery
from tests.rig.server import ROOT, foreign

LIMIT = 60.0
"""Seconds a command may take."""


def clean_environment(**environment: str) -> dict[str, str]:
    """This machine's environment without its own settings, and with these."""
    clean = {name: value for name, value in os.environ.items() if not foreign(name)}
    return clean | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | environment


HUMBLE = """
import ctypes, os, sys
for right in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, out of the bounding set
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command for which permissions hold, even where it is root who runs it."""


def perdure(*arguments: str, humble: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, away from this machine's own settings; a `humble` one cannot do what only root can."""
    clean = clean_environment(**environment)
    if humble:
        command = [sys.executable, "-c", HUMBLE, sys.executable, "-m", "perdure", *arguments]
        return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=LIMIT, check=False)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = nursery.start(arguments, clean, Path.cwd(), output, errors)
        try:
            code = process.wait(LIMIT)
        finally:
            process.send_signal(signal.SIGKILL)
        said = [file.seek(0) or file.read().decode() for file in (output, errors)]
    return subprocess.CompletedProcess(list(arguments), code, *said)


def refused(*arguments: str, humble: bool = False, **environment: str) -> str:
    """The one line with which a command is refused."""
    done = perdure(*arguments, humble=humble, **environment)
    assert done.returncode == 1, done
    assert done.stderr.startswith("perdure: "), done
    assert done.stderr.count("\n") == 1, done
    assert done.stdout == "", done
    return done.stderr
