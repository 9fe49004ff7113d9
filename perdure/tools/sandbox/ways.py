"""The ways in which a machine can keep a job apart, and how each is begun."""

import marshal
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from perdure.tools.sandbox import view
from perdure.tools.sandbox.jail import landlock, seccomp
from perdure.tools.sandbox.job import Job

Kind = Literal["bubblewrap", "namespaces", "landlock", "open"]

_SHARED_MEMORY: Final = 16 << 20
_STRANGERS: Final = 0x7000_0000
_STRANGER_COUNT: Final = 1 << 26
"""Numbers of users that nobody gives out: each job of a server that runs as root gets one."""
_NOBODY: Final = 65_534
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs are kept apart. `name` is for people; `limits_disk` says that a full disk is the job's own."""

    kind: Kind
    name: str
    program: str = ""

    @property
    def has_own_files(self) -> bool:
        """Whether a job gets a file system of its own, which ends with it."""
        return self.kind in ("bubblewrap", "namespaces")


def begin(way: Way, job: Job, work: Path | None, *, result: int) -> tuple[list[str], bytes]:
    """The command that starts a job, and what it must read from stdin.

    `work` is the work directory where it is one of the machine's; `result` the file descriptor its result goes to.
    """
    inside = view.INSIDE if way.has_own_files else str(work)
    shown = view.shown(job)
    user = _stranger() if os.geteuid() == 0 and way.kind != "open" else None
    if work is not None and user is not None:
        os.chown(work, user, user)
    plan: dict[str, Any] = {
        "way": "entered" if way.kind == "bubblewrap" else way.kind,
        "user": user,
        "argv": list(job.argv),
        "module": view.module_of(job.argv),
        "environment": {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": inside, "TMPDIR": inside, **job.environment},
        "shown": shown if way.kind == "namespaces" else [source for source, _ in shown] + list(view.DEVICES),
        "work": inside,
        "host_work": None if work is None else str(work),
        "network": job.network,
        "disk": job.limits.disk,
        "limits": _limits(job, counts_alone=way.has_own_files or user is not None),
        "files": [(name, len(content)) for name, content in job.files.items()],
        "result": result,
        "channel": None if job.channel is None else job.channel.fileno(),
    }
    head = marshal.dumps(plan)
    said = b"".join((len(head).to_bytes(4, "big"), head, *job.files.values(), job.stdin))
    launch = list(view.command("launch"))
    return ([*_bubblewrap(way, job, work, shown), *launch] if way.kind == "bubblewrap" else launch), said


def _stranger() -> int:
    """A user that nobody is, so that what is counted by user is counted for one job."""
    with open("/proc/self/uid_map") as file:
        ranges = [[int(word) for word in line.split()] for line in file]
    if any(first <= _STRANGERS and first + count >= _STRANGERS + _STRANGER_COUNT for first, _, count in ranges):
        return _STRANGERS + random.randrange(_STRANGER_COUNT)
    return _NOBODY


def _limits(job: Job, *, counts_alone: bool) -> dict[str, int]:
    """What the kernel holds each process to, by the names of the module `resource`."""
    limits = job.limits
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": int(limits.seconds * (os.cpu_count() or 1)) + 1,
        "RLIMIT_FSIZE": limits.disk,
        "RLIMIT_NOFILE": 512,
        "RLIMIT_NPROC": limits.processes + (0 if counts_alone else _threads_of_user()),
    }
    return wanted if limits.addresses is None else wanted | {"RLIMIT_AS": limits.addresses}


def _threads_of_user() -> int:
    """Threads that this user has already, since the kernel counts them with the job's."""
    user, count = os.geteuid(), 0
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdecimal() and entry.stat().st_uid == user:
                count += len(os.listdir(f"{entry.path}/task"))
        except OSError:  # it has ended
            continue
    return count


def _bubblewrap(way: Way, job: Job, work: Path | None, shown: list[tuple[str, str]]) -> list[str]:
    command = [way.program, "--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-uts"]
    command += ["--unshare-cgroup-try", *([] if job.network else ["--unshare-net"])]
    if os.geteuid() == 0:
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    for folder in sorted({str(parent) for _, target in shown for parent in Path(target).parents[:-1]}):
        command += ["--perms", "0755", "--dir", folder]
    for source, target in shown:
        command += ["--ro-bind", source, target]
    command += ["--perms", "0755", "--dir", "/dev"]
    for device in view.DEVICES:
        command += ["--dev-bind", device, device]
    command += ["--perms", "1777", "--size", str(_SHARED_MEMORY), "--tmpfs", "/dev/shm"]
    command += ["--proc", "/proc", "--remount-ro", "/proc"]
    if work is None:
        command += ["--perms", "0777", "--size", str(job.limits.disk), "--tmpfs", view.INSIDE]
    else:
        command += ["--bind", str(work), view.INSIDE]
    if not any(target == "/tmp" or target.startswith("/tmp/") for _, target in shown):
        command += ["--symlink", view.INSIDE, "/tmp"]
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]


OPEN: Final = Way(kind="open", name="none: tools have the server's rights (PERDURE_UNSAFE_TOOLS)")


def candidates() -> list[Way]:
    """The ways that this machine may offer, best first; whether they work has to be tried."""
    if sys.platform != "linux":
        return []
    found: list[Way] = []
    if program := shutil.which("bwrap"):
        found.append(Way(kind="bubblewrap", name="bubblewrap", program=program))
    found.append(Way(kind="namespaces", name="own launcher, with namespaces"))
    if (version := landlock.version()) and seccomp.is_known_machine():
        found.append(Way(kind="landlock", name=f"own launcher, with Landlock {version} and no namespaces"))
    return found
