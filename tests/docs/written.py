"""The Markdown of this repository, its fenced blocks, and what they are run with."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rig.install import npm_with, program, python_with
from tests.rig.sdks import JS1, requirement
from tests.rig.server import ROOT, foreign

ADDRESS = "http://localhost:8283"
"""What stands in the documentation for the server's address."""
LIMIT = 60.0
"""Seconds a block may take."""

MARKDOWN = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
)

_FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<tag>.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is that of its first fence."""

    file: Path
    line: int
    tag: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.tag}"


def blocks(file: Path) -> Iterator[Block]:
    """The fenced blocks of a file, in order. Fails for one that is not closed."""
    fence, tag, began, lines = "", "", 0, list[str]()
    for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
        found = _FENCE.match(line)
        if not fence:
            if found:
                fence, tag, began, lines = found["fence"], found["tag"].strip(), number, []
        elif line.strip() == fence:
            yield Block(file, began, tag, "\n".join(lines) + "\n")
            fence = ""
        else:
            lines.append(line)
    assert not fence, f"{file}:{began}: the block is not closed"


BLOCKS = [block for file in MARKDOWN for block in blocks(file)]


def environment(home: Path, **more: str) -> dict[str, str]:
    """This machine's environment as a newcomer has it, at home in `home`, with no provider set."""
    own = {name: value for name, value in os.environ.items() if not foreign(name)}
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "XDG_DATA_HOME"):
        own.pop(name, None)
    # The Python that runs the tests is the one under test.
    path = f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{own['PATH']}"
    return {**own, "HOME": str(home), "PATH": path, "COLUMNS": "100", **more}


def run(command: Sequence[str | Path], folder: Path, limit: float = LIMIT, **more: str) -> str:
    """Runs a command at home in `folder` and returns what it prints. Fails where it does."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment(folder, **more), stdin=subprocess.DEVNULL,
        capture_output=True, timeout=limit, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def python(sdk: str) -> Path:
    """The interpreter that has this SDK, and nothing of ours."""
    return python_with(sdk, requirement(sdk))


def run_module(source: str) -> str:
    """Runs an ES module where npm's letta-client 1.x is installed, and returns what it prints."""
    folder = npm_with(JS1, f"@letta-ai/letta-client@{JS1.partition('-')[2]}")
    return run([program("node"), "--input-type=module", "--eval", source], folder)
