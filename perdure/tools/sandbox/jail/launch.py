"""The way into a jail: read the plan of a job, shut everything else out, and become the job.

Three ways: `namespaces` (a file system, processes and a network of its own), `landlock` (files by permission, the rest
by refusing system calls), and `entered`, where bubblewrap has made the namespaces. `open` shuts out nothing.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import resource
import signal

from perdure.tools.sandbox.jail import landlock, namespaces, seccomp, system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESULT = 3
"""The file descriptor a job writes its result to."""
CHANNEL = 4
"""The file descriptor of the socket a job was given, where it was."""
REFUSED = 125
"""The exit code where the jail could not be made; stderr says why."""
NOT_FOUND = 127

_NICE = 10
_MOST_DESCRIPTORS = 4096
_FIRST_TO_GO = "1000"
"""What the kernel ends when memory runs out."""


def main() -> None:
    """Never returns. Reads `length, plan, files, what the job reads` from stdin, where the last part stays."""
    plan = marshal.loads(_read(int.from_bytes(_read(4), "big")))
    try:
        enter(plan)
    except OSError as error:
        os.write(2, f"{error}\n".encode())
        os._exit(REFUSED)
    os.write(RESULT, b"\1")
    if plan["module"] is not None:
        os.environ.clear()
        os.environ.update(plan["environment"])
        # Another interpreter would take as long to start as this one did.
        __import__(plan["module"], fromlist=["main"]).main()
        os._exit(0)
    try:
        os.execvpe(plan["argv"][0], plan["argv"], plan["environment"])
    except OSError as error:
        os.write(2, f"{plan['argv'][0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND)


def enter(plan: dict[str, Any]) -> None:
    """Come back in the job's own process, in its jail and its work directory. Raises OSError where that cannot be."""
    _take_descriptors(plan)
    way, user = plan["way"], plan["user"]
    if way == "namespaces":
        namespaces.enter(plan)
    elif way != "entered":
        _lead_group()
    _limit(plan)
    if user is not None:
        if way == "namespaces" and plan["host_work"] is None:
            os.chown(plan["work"], user, user)
        _become(user)
    os.chdir(plan["work"])
    for name, size in plan["files"]:
        _lay(name, size)
    if way == "open":
        return
    system.drop_privileges()
    if way == "landlock":
        landlock.restrict(plan["shown"], (plan["work"], "/dev/null"), network=plan["network"])
    if seccomp.is_known_machine():
        seccomp.refuse_calls(shared=way == "landlock", network=plan["network"])


def _read(size: int) -> bytes:
    """Exactly so many bytes of stdin, and none of what follows them."""
    parts: list[bytes] = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            os._exit(REFUSED)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _take_descriptors(plan: dict[str, Any]) -> None:
    """Put the result's and the socket's file descriptors where the job looks for them."""
    given = [each for each in (plan["result"], plan["channel"]) if each is not None]
    apart = [fcntl.fcntl(each, fcntl.F_DUPFD, CHANNEL + 1) for each in given]
    for at, each in enumerate(apart):
        os.dup2(each, RESULT + at)
    os.closerange(RESULT + len(given), _MOST_DESCRIPTORS)


def _lead_group() -> None:
    """Leave the job to a child that leads a process group, and end all of the group with it.

    Whoever sends SIGTERM, the kernel included once the server is gone, ends the group at once.
    """
    system.adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if not child:
        system.end_with_parent(signal.SIGKILL)
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return

    def end(_number: int, _frame: object) -> None:
        _end_group(child)

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    system.end_with_parent(signal.SIGTERM)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    _end_group(child)
    namespaces.end_as(child)


def _end_group(leader: int) -> None:
    # Until the leader has made its group, it is all there is.
    for end in (os.kill, os.killpg):
        try:
            end(leader, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _limit(plan: dict[str, Any]) -> None:
    os.nice(_NICE)
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(_FIRST_TO_GO)
    except OSError:
        pass
    for name, most in plan["limits"].items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (most, most))


def _become(user: int) -> None:
    """Change to a user that owns nothing but the work directory."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    system.hide_memory(False)
    system.end_with_parent(signal.SIGKILL)


def _lay(name: str, size: int) -> None:
    folder = os.path.dirname(name)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(name, "wb") as file:
        file.write(_read(size))
