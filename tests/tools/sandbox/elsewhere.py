"""Runs a module of ours as another user, with Python and our code where that user can reach them.

`python -m tests.tools.sandbox.elsewhere USER MODULE` needs root. Python may lie in root's home, which other users, and
the jails of a server that runs as root, cannot enter; so it is mounted a second time, for this process alone.
"""

import os
import sys
import sysconfig
from pathlib import Path

from perdure.tools.sandbox.jail import system
from perdure.tools.sandbox.job import PYTHON

PLACE = "/mnt"
ROOT = Path(__file__).resolve().parents[3]


def main(user: int, module: str) -> None:
    """Does not return."""
    system.unshare(system.NEW_MOUNTS)
    system.mount("none", "/", flags=system.MOUNT_PRIVATE | system.MOUNT_RECURSIVE)
    system.mount("none", PLACE, "tmpfs", options="mode=755")
    for name, source in (("python", sys.base_prefix), ("site", sysconfig.get_path("purelib")), ("source", str(ROOT))):
        os.mkdir(f"{PLACE}/{name}")
        system.mount(source, f"{PLACE}/{name}", flags=system.MOUNT_BIND | system.MOUNT_RECURSIVE)
    os.chdir(f"{PLACE}/source")
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    python = f"{PLACE}/python/{Path(PYTHON).relative_to(sys.base_prefix)}"
    environment = {**os.environ, "PYTHONPATH": f"{PLACE}/source:{PLACE}/site", "PYTHONDONTWRITEBYTECODE": "1"}
    os.execve(python, [python, "-m", module], environment)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
