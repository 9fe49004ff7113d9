"""The packages that tools ask for: installed once for each set of them, in a jail that has the network.

Only wheels are taken, so nothing of a package runs while it is installed.
"""

import asyncio
import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from perdure.domain.errors import Invalid, Unavailable
from perdure.tools.node import Node
from perdure.tools.sandbox.job import PYTHON, Finished, Job, Limits
from perdure.tools.sandbox.sandbox import Sandbox

INSTALL: Final = Limits(seconds=180, memory=2 << 30, disk=2 << 30, addresses=None)
"""What installing one set may take."""
PASSED_ON: Final = re.compile(
    r"PIP_\w+|(?:HTTPS?|ALL|NO)_PROXY|SSL_CERT_(?:FILE|DIR)|NODE_EXTRA_CA_CERTS|NPM_CONFIG_\w+", re.IGNORECASE
)
"""Variables of the server that say where packages come from."""
_PLACE: Final = re.compile(r"(?<![\w/.])(?:file://)?(/[^\s'\"]+)")
_RUN_PIP: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from pip._internal.cli.main import main; sys.exit(main())"
)
_PIP: Final = (
    "install", "--only-binary", ":all:", "--no-input", "--no-cache-dir", "--disable-pip-version-check",
    "--no-warn-script-location", "--quiet", "--target", ".",
)  # fmt: skip
_NPM: Final = (
    "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=1",
)  # fmt: skip


class Packages:
    """The packages of tools, in `folder`. What is there is never changed."""

    def __init__(self, folder: Path, sandbox: Sandbox, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._environment = {name: value for name, value in environment.items() if PASSED_ON.fullmatch(name)}
        self._installing: dict[str, asyncio.Lock] = {}

    async def for_python(self, requirements: Sequence[Mapping[str, Any]]) -> Path:
        """The directory to import them from. Raises Invalid where they cannot be had, Unavailable where pip is not."""
        wanted = sorted({_requirement(each) for each in requirements})
        pip = _find_pip()
        if pip is None:
            raise Unavailable("This server has no pip to install packages with. Install it: python -m ensurepip")
        argv = (PYTHON, "-I", "-S", "-c", _RUN_PIP, str(pip), *_PIP, "--", *wanted)
        shown = (pip, *self._sources(_pip_files(self._environment)))
        return await self._installed(["python", sys.version, *wanted], argv, shown)

    async def for_node(self, node: Node, requirements: Sequence[Mapping[str, Any]]) -> Path:
        """The directory that has them in its `node_modules`. Raises Invalid where they cannot be had."""
        if node.npm is None:
            raise Unavailable("This server has no npm to install packages with. Install it beside Node.")
        wanted = sorted(f"{each['name']}@{each.get('version') or 'latest'}" for each in requirements)
        argv = (node.program, node.npm, *_NPM, "--", *wanted)
        shown = (*node.shown, *self._sources(_npm_files(self._environment)))
        return await self._installed(["node", *wanted], argv, shown)

    def _sources(self, files: Sequence[str]) -> list[Path]:
        """The files that say where packages come from, and the places on this machine that they name."""
        known = [Path(each) for each in files if os.path.isabs(each) and os.access(each, os.R_OK)]
        texts = [*self._environment.values(), *(each.read_text(errors="replace") for each in known)]
        named = [Path(each) for text in texts for each in _PLACE.findall(text)]
        held = self._folder.resolve()
        return known + [each for each in named if each.exists() and not held.is_relative_to(each.resolve())]

    async def _installed(self, wanted: list[str], argv: tuple[str, ...], shown: tuple[Path, ...]) -> Path:
        name = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:32]
        place = self._folder / name
        async with self._installing.setdefault(name, asyncio.Lock()):
            if not await asyncio.to_thread(place.exists):
                await self._install(place, argv, shown)
        return place

    async def _install(self, place: Path, argv: tuple[str, ...], shown: tuple[Path, ...]) -> None:
        fresh = await asyncio.to_thread(self._make_room)
        try:
            job = Job(argv=argv, environment=self._environment, shown=shown, network=True, work=fresh, limits=INSTALL)
            done = await self._sandbox.run(job)
            if done.code or done.stopped:
                raise Invalid(_refusal(done))
            await asyncio.to_thread(_hand_over, fresh, place)
        finally:
            await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)

    def _make_room(self) -> Path:
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._folder, prefix=".new-"))


def _requirement(wanted: Mapping[str, Any]) -> str:
    version = str(wanted.get("version") or "").strip()
    return f"{wanted['name']}=={version}" if version[:1].isalnum() else f"{wanted['name']}{version}"


def _find_pip() -> Path | None:
    """What to import pip from: where it is installed, or the wheel that Python brings."""
    spec = importlib.util.find_spec("pip")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent.parent
    spec = importlib.util.find_spec("ensurepip")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "_bundled").glob("pip-*.whl"))), None)


def _npm_files(environment: Mapping[str, str]) -> list[str]:
    return [environment.get("NPM_CONFIG_USERCONFIG", str(Path.home() / ".npmrc")), "/etc/npmrc"]


def _pip_files(environment: Mapping[str, str]) -> list[str]:
    home = Path.home()
    return [
        environment.get("PIP_CONFIG_FILE", ""), "/etc/pip.conf", "/etc/xdg/pip/pip.conf", f"{sys.prefix}/pip.conf",
        str(home / ".config/pip/pip.conf"), str(home / ".pip/pip.conf"),
    ]  # fmt: skip


def _refusal(done: Finished) -> str:
    """Why a set cannot be installed, in the installer's own words."""
    if done.stopped == "time":
        return f"The packages of this tool could not be installed within {INSTALL.seconds:g} seconds."
    if done.stopped is not None:
        return f"The packages of this tool need more {done.stopped} than they may take."
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    words = [line for line in lines if "error" in line.lower()] or lines
    return f"The packages of this tool cannot be installed: {' '.join(words)[-600:] or 'no reason was given'}"


def _hand_over(folder: Path, target: Path) -> None:
    """Make what a job of another user wrote the server's, for everyone to read, and put it in its place."""
    owner = (os.geteuid(), os.getegid())
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | (0o555 if os.path.isdir(path) else 0o444))
            if owner[0] == 0:
                os.chown(path, *owner, follow_symlinks=False)
    # Another process that shares the directory may have been first.
    if not target.exists():
        folder.rename(target)
