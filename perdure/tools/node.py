"""Node, for tools in TypeScript and code in JavaScript, where this machine has it."""

import functools
import shutil
from pathlib import Path
from typing import Final

import msgspec

from perdure.domain.errors import Unavailable
from perdure.tools.sandbox import view

MISSING: Final = "This server has no Node, so it cannot run {what}. Have the operator install it (nodejs.org)."


class Node(msgspec.Struct, frozen=True):
    """The program, npm's own where there is one, and what a job has to be shown of both."""

    program: str
    npm: str | None
    shown: tuple[Path, ...]

    @property
    def harness(self) -> tuple[str, ...]:
        """What runs a job."""
        return self.program, "--no-warnings", str(view.JAIL / "node_job.mjs")


def find_node(what: str) -> Node:
    """Node on the PATH. Raises Unavailable, saying that `what` cannot be run."""
    found = _found()
    if found is None:
        raise Unavailable(MISSING.format(what=what))
    return found


@functools.cache
def _found() -> Node | None:
    program = shutil.which("node")
    if program is None:
        return None
    npm = shutil.which("npm")
    real = Path(program).resolve()
    return Node(str(real), None if npm is None else str(Path(npm).resolve()), (real.parent.parent,))
