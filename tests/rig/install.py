"""Fetches what the tests drive but perdure does not depend on: official SDKs, other people's mock models, an engine.

Each set has its own folder under `.cache/sdks`, is installed once, and is shared by parallel workers through a lock.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"
LIMIT = 900
"""Seconds an installation may take."""

NODE_REMEDY = "is needed to test the npm clients: install Node.js 20 or newer, which brings npm, and run again"


@contextmanager
def locked(name: str) -> Generator[None]:
    """Holds the lock `name` among all test processes of this machine."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once(folder: Path, recipe: str, build: Callable[[Path], None]) -> Path:
    """Builds `folder` unless an earlier run finished it by the same recipe. Returns the folder."""
    done = folder / ".installed"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.name):
        if not (done.is_file() and done.read_text() == recipe):
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            done.write_text(recipe)
    return folder


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of a virtual environment of its own that holds `requirements`."""

    def build(folder: Path) -> None:
        run([sys.executable, "-m", "venv", str(folder)])
        run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements])

    recipe = f"{sys.version} {' '.join(requirements)}"
    return once(CACHE / "sdks" / name, recipe, build) / "bin" / "python"


def npm_with(name: str, *packages: str) -> Path:
    """A folder whose `node_modules` holds `packages`."""
    npm = program("npm")

    def build(folder: Path) -> None:
        folder.mkdir()
        (folder / "package.json").write_text('{"private": true}\n')
        run([npm, "install", "--no-audit", "--no-fund", "--omit=dev", "--no-package-lock", *packages], folder)

    return once(CACHE / "sdks" / name, " ".join(packages), build)


def program(name: str) -> str:
    """The path of `node` or `npm`. A machine without them fails the tests; it does not skip them."""
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} {NODE_REMEDY}")
    return found


def run(command: list[str], folder: Path | None = None) -> None:
    """Runs an installer; a failure shows what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
