"""A file system, processes, a network and a user of its own: what the kernel calls namespaces."""

from __future__ import annotations

import os
import signal

from perdure.tools.sandbox.jail import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_USER = 1000
"""Who the job is to itself, where it is no other than the server's user outside."""
_DEVICES = ("null", "full", "random", "urandom")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_ROOT = "/sys"
"""Where the new root is put together: a place of which nothing is shown."""
_KINDS = (
    system.NEW_MOUNTS | system.NEW_PROCESSES | system.NEW_IPC | system.NEW_HOST_NAME | system.NEW_CGROUP
)  # fmt: skip


def enter(plan: dict[str, Any]) -> None:
    """Come back in a process whose namespaces hold nothing but the job's. They end, with all in them, as it ends.

    Root needs no user namespace, and changes to another user once this is done.
    """
    kinds = _KINDS | (0 if plan["network"] else system.NEW_NETWORK)
    system.end_with_parent(signal.SIGKILL)
    if plan["user"] is None:
        user, group = os.getuid(), os.getgid()
        system.unshare(kinds | system.NEW_USER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{_USER} {user} 1")
        _write("/proc/self/gid_map", f"{_USER} {group} 1")
    else:
        system.unshare(kinds)
    if first := os.fork():
        end_as(first)
    system.end_with_parent(signal.SIGKILL)
    _make_files(plan)
    if job := os.fork():
        system.hide_memory()
        system.drop_privileges()
        end_as(job)


def end_as(child: int) -> NoReturn:
    """Wait for what ends before and with a child, and end as it does."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _make_files(plan: dict[str, Any]) -> None:
    """A root of its own, with what is shown, read-only, and a work directory that holds so much and no more."""
    flags = system.MOUNT_NO_SUID | system.MOUNT_NO_DEVICES
    system.mount("none", "/", flags=system.MOUNT_PRIVATE | system.MOUNT_RECURSIVE)
    root = _ROOT
    system.mount("perdure", root, "tmpfs", flags, "size=1m,mode=755")
    for source, target in plan["shown"]:
        _show(source, root + target)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name, target in _LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")
    _make(f"{root}/dev/shm")
    system.mount("perdure", f"{root}/dev/shm", "tmpfs", flags, "size=16m,mode=1777")
    work = root + plan["work"]
    if plan["host_work"] is None:
        _make(work)
        system.mount("perdure", work, "tmpfs", flags, f"size={plan['disk']},mode=700")
    else:
        _bind(plan["host_work"], work)
    if not os.path.lexists(f"{root}/tmp"):
        os.symlink(plan["work"], f"{root}/tmp")
    _make(f"{root}/proc")
    try:
        # Read-only, or a job could take itself out of being the first that goes when memory runs out.
        kept = flags | system.MOUNT_NO_PROGRAMS | system.MOUNT_READ_ONLY
        system.mount("proc", f"{root}/proc", "proc", kept, "subset=pid")
    except OSError:  # where the machine's own is masked; nearly nothing misses it
        pass
    os.chdir(root)
    system.root_here()
    system.mount("none", "/", flags=system.MOUNT_BIND | system.MOUNT_AGAIN | system.MOUNT_READ_ONLY | flags)


def _show(source: str, target: str) -> None:
    if os.path.lexists(target):
        return
    if os.path.islink(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(source), target)
        return
    _bind(source, target)
    system.protect_mounts(target)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        _make(target)
    else:
        _make(os.path.dirname(target))
        with open(target, "a"):
            pass
    system.mount(source, target, flags=system.MOUNT_BIND | system.MOUNT_RECURSIVE)


def _make(folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
