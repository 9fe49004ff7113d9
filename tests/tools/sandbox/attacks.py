"""What hostile code tries, in every way this machine offers, run by the user who starts this.

`python -m tests.tools.sandbox.attacks` prints what came of each as JSON. Nothing but the sandbox stands in the way: the
secrets can be read by anyone, the victim is a process of the same user, the sockets take everyone.
"""

import asyncio
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from perdure.domain.errors import Unavailable
from perdure.tools.sandbox.job import PYTHON, Job, Limits
from perdure.tools.sandbox.running import run_in
from perdure.tools.sandbox.ways import Way, candidates

MARK = f"perdure-attack-{os.getpid()}"
HEAD = """
import json, os, signal, socket, subprocess, sys, time
bait = json.loads(sys.stdin.read())
def say(text):
    os.write(3, text.encode())
def tries(action):
    try:
        return f"BREACH: {action()!r}"
    except (OSError, RuntimeError, MemoryError, ValueError) as error:
        return f"held: {type(error).__name__}"
"""

QUICK: dict[str, str] = {
    "reads_the_database": "say(tries(lambda: open(bait['database']).read()))",
    "lists_the_data_directory": "say(tries(lambda: os.listdir(os.path.dirname(bait['database']))))",
    "reads_the_key_through_a_link": (
        "os.symlink(bait['key'], 'link'); say(tries(lambda: open('link').read()))"
    ),
    "reads_the_environment": (
        "seen = [name for name in os.environ if 'SEC' 'RET' in name]\n"
        "say(f'BREACH: {seen}' if seen else 'held')"
    ),
    "reads_another_process": (
        "ids = ('self', '1', str(os.getppid()), str(bait['victim']), str(bait['server']))\n"
        "for each in ids:\n"
        "    for name in ('environ', 'mem', 'cmdline', 'fd/0', 'root/etc/shadow', 'cwd/secret.key'):\n"
        "        try:\n"
        "            if b'SEC' b'RET' in open(f'/proc/{each}/{name}', 'rb').read(4096):\n"
        "                say(f'BREACH: {each}/{name}')\n"
        "        except OSError:\n"
        "            pass\n"
        "say('held')"
    ),
    "kills_another_process": (
        "import resource\n"
        "for each in (bait['victim'], bait['server'], os.getppid(), 1, -1):\n"
        "    try:\n"
        "        os.kill(each, signal.SIGTERM) if each > 0 else None\n"
        "    except OSError:\n"
        "        pass\n"
        "say(tries(lambda: os.kill(bait['victim'], signal.SIGKILL)))\n"
        "say(tries(lambda: resource.prlimit(bait['victim'], resource.RLIMIT_NOFILE, (1, 1))))"
    ),
    "traces_another_process": (
        "import ctypes\n"
        "attached = ctypes.CDLL(None).ptrace(16, bait['victim'], 0, 0)\n"
        "say('BREACH' if attached == 0 else 'held')"
    ),
    "uses_the_network": (
        "say(tries(lambda: socket.create_connection(('127.0.0.1', bait['port']), 2)))\n"
        "say(tries(lambda: socket.create_connection(('192.0.2.1', 80), 1)))\n"
        "def ask():\n"
        "    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    return asked.sendto(b'x', ('192.0.2.1', 53))\n"
        "say(tries(ask))"
    ),
    "uses_the_machines_sockets": (
        "def to(name):\n"
        "    return socket.socket(socket.AF_UNIX).connect(name)\n"
        "say(tries(lambda: to(bait['socket'])))\n"
        "say(tries(lambda: to('\\0' + bait['abstract'])))\n"
        "say(tries(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', bait['datagrams'])))\n"
        "say(tries(lambda: socket.socket(40, socket.SOCK_STREAM)))"
    ),
    "makes_namespaces_and_mounts": (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "done = [libc.unshare(0x10000000), libc.mount(b'none', b'/', None, 0x44000, None), libc.chroot(b'/usr')]\n"
        "say('BREACH' if 0 in done else 'held')"
    ),
    "signals_another_process_through_a_file": (
        "import fcntl\n"
        "ends = os.pipe()\n"
        "def own():\n"
        "    fcntl.fcntl(ends[0], fcntl.F_SETOWN, bait['victim'])\n"
        "    fcntl.fcntl(ends[0], 10, signal.SIGKILL)\n"
        "    fcntl.fcntl(ends[0], fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)\n"
        "    return os.write(ends[1], b'x')\n"
        "say(tries(own))"
    ),
    "reads_memory_that_others_share": (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.shmat.restype = ctypes.c_void_p\n"
        "came = libc.shmat(bait['shared'], None, 0o10000)\n"
        "say('held' if came in (None, 2**64 - 1) else 'BREACH')"
    ),
    "hides_memory_from_the_limits": (
        "import ctypes, mmap\n"
        "say(tries(lambda: mmap.mmap(-1, 1 << 20)))\n"
        "say(tries(lambda: mmap.mmap(os.open('/dev/zero', os.O_RDWR), 1 << 20)))\n"
        "libc, ends = ctypes.CDLL(None), os.pipe()\n"
        "part = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(4096)), 4096)\n"
        "say('held' if libc.vmsplice(ends[1], part, 1, 0) < 0 else 'BREACH')"
    ),
    "asks_the_scheduler_for_a_share_of_its_own": (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    os._exit(os.getsid(0) == os.getpid())\n"
        "say('held' if os.wait()[1] == 0 else 'BREACH')"
    ),
    "escapes_being_the_first_to_go": (
        "say(tries(lambda: open('/proc/self/oom_score_adj', 'w').write('0')))"
    ),
    "changes_files_without_opening_them": (
        "for change in (\n"
        "    lambda: os.chmod(bait['key'], 0o600), lambda: os.utime(bait['key'], (1, 1)),\n"
        "    lambda: os.truncate(bait['key'], 0), lambda: os.setxattr(bait['key'], 'user.x', b'x'),\n"
        "    lambda: os.rename(bait['key'], bait['key'] + '2'), lambda: os.link(bait['key'], 'mine'),\n"
        "    lambda: os.unlink(bait['key']),\n"
        "):\n"
        "    tries(change)\n"
        "say('held')"
    ),
    "writes_the_system": (
        "for name in ('/usr/bin/x', '/etc/x', '/x', sys.prefix + '/x', bait['database'], bait['launcher']):\n"
        "    say(tries(lambda: open(name, 'a').write('x')))"
    ),
}  # fmt: skip
"""By name, what each does. It says BREACH where it got through. All of these run in one job, one after the other."""

ALONE: dict[str, str] = {
    "bombs_with_forks": (
        "count = 0\n"
        "try:\n"
        "    while count < 5000:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(60)\n"
        "            os._exit(0)\n"
        "        count += 1\n"
        "except OSError:\n"
        "    say(f'held: {count}')"
    ),
    "takes_10_gb_of_memory": "say(tries(lambda: len(bytearray(10 << 30))))",
    "takes_10_gb_in_small_pieces": (
        "kept = []\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        while True:\n"
        "            kept.append(os.urandom(1 << 20) + bytes(8 << 20).replace(b'\\0', b'x'))\n"
        "time.sleep(60)"
    ),
    "takes_10_gb_of_disk": (
        "def fill():\n"
        "    for at in range(10_000):\n"
        "        with open(f'file{at}', 'wb') as file:\n"
        "            file.write(bytes(1 << 20))\n"
        "    return 'all written'\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "say(tries(fill))"
    ),
    "takes_memory_that_no_process_maps": (
        "def hoard():\n"
        "    held = [os.memfd_create('x') for _ in range(64)]\n"
        "    return [os.write(each, bytes(1 << 20)) for each in held]\n"
        "say(tries(hoard))"
    ),
    "fills_sockets": (
        "kept = []\n"
        "for _ in range(150):\n"
        "    kept += socket.socketpair()\n"
        "    kept[-1].setblocking(False)\n"
        "    kept[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)\n"
        "    tries(lambda: [kept[-1].send(bytes(1 << 16)) for _ in range(100)])\n"
        "time.sleep(0.2)\n"
        "say('held')"
    ),
    "makes_empty_files": "for at in range(100_000):\n    os.close(os.open(f'{at}', os.O_CREAT | os.O_WRONLY))",
    "ignores_signals_and_hangs": (
        "for number in range(1, 65):\n"
        "    try:\n"
        "        signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n"
        "        pass\n"
        "say('hanging')\n"
        "while True:\n"
        "    time.sleep(1)"
    ),
    "prints_without_end": "while True:\n    sys.stdout.write('x' * 65536)",
    "answers_without_end": "while True:\n    os.write(3, b'x' * 65536)",
    "stays_after_its_end": (
        "if os.fork() == 0:\n"
        "    try:\n"
        "        os.setsid()\n"
        "    except OSError:\n"
        "        pass\n"
        "    if os.fork() == 0:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        time.sleep(0.3)\n"
        "        print('written after the end', flush=True)\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "say('held')"
    ),
    "kills_its_parent": (
        "os.write(3, b'held')\n"
        "for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):\n"
        "    try:\n"
        "        os.kill(os.getppid(), number)\n"
        "    except OSError:\n"
        "        pass\n"
        "time.sleep(0.2)"
    ),
}  # fmt: skip
"""These take a job each."""

LIMITS = Limits(seconds=15, memory=192 << 20, disk=24 << 20, processes=20, output=4096, result=4096, addresses=1 << 30)
NARROW: dict[str, dict[str, Any]] = {
    "ignores_signals_and_hangs": {"seconds": 0.6},
    "makes_empty_files": {"memory": 40 << 20, "seconds": 60},
}
"""Narrower limits for those that would take too long to reach these."""


@contextmanager
def baits(folder: Path) -> Iterator[dict[str, Any]]:
    """What must stay out of reach, in a folder that anyone can read."""
    folder.chmod(0o755)
    for name in ("perdure.db", "secret.key"):
        (folder / name).write_text("SECRET")
        (folder / name).chmod(0o666)
    before = state_of(folder / "secret.key")
    victim = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], env={"SECRET_KEY": "SECRET"}, cwd=folder
    )
    libc = ctypes.CDLL(None)
    shared = libc.shmget(0, 4096, 0o1666)
    with sockets(folder) as places:
        yield {
            "shared": shared,
            "database": str(folder / "perdure.db"),
            "key": str(folder / "secret.key"),
            "victim": victim.pid,
            "server": os.getpid(),
            "launcher": str(Path(sys.modules[run_in.__module__].__file__ or "").parent / "jail" / "launch.py"),
            **places,
        }
    libc.shmctl(shared, 0, None)
    assert victim.poll() is None, "the victim was ended"
    assert state_of(folder / "secret.key") == before
    victim.kill()
    victim.wait()


@contextmanager
def sockets(folder: Path) -> Iterator[dict[str, Any]]:
    abstract = f"{MARK}-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as hidden,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        named.bind(str(folder / "socket"))
        hidden.bind("\0" + abstract)
        datagrams.bind(str(folder / "datagrams"))
        for each in ("socket", "datagrams"):
            (folder / each).chmod(0o777)
        named.listen()
        hidden.listen()
        yield {
            "port": tcp.getsockname()[1],
            "socket": str(folder / "socket"),
            "abstract": abstract,
            "datagrams": str(folder / "datagrams"),
        }


def state_of(file: Path) -> tuple[str, int, float, list[str]]:
    status = file.stat()
    return file.read_text(), status.st_mode, status.st_mtime, os.listxattr(file)


def left_running() -> list[str]:
    """Processes of attacks that are still there."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if MARK.encode() in words:
                found.append(entry.name)
    return found


async def attack(way: Way, name: str, source: str, bait: dict[str, Any]) -> dict[str, Any]:
    limits = msgspec.structs.replace(LIMITS, **NARROW.get(name, {}))
    argv = (PYTHON, "-I", "-S", "-c", HEAD + source, MARK)
    done = await run_in(way, Job(argv=argv, stdin=json.dumps(bait).encode(), limits=limits))
    return {
        "code": done.code,
        "said": done.result.decode(errors="replace")[:4000],
        "stderr": done.stderr.decode(errors="replace")[-300:],
        "stopped": done.stopped,
        "left": left_running(),
    }


async def main() -> dict[str, Any]:
    report: dict[str, Any] = {}
    quick = "\n".join(f"say('\\n{name}: ')\n{source}" for name, source in QUICK.items())
    with tempfile.TemporaryDirectory() as folder, baits(Path(folder)) as bait:
        for way in candidates():
            came = report[way.kind] = {}
            for name, source in {"quick": quick, **ALONE}.items():
                try:
                    came[name] = await attack(way, name, source, bait)
                except Unavailable as error:
                    came["refused"] = error.message
    return report


if __name__ == "__main__":
    os.environ["PERDURE_SECRET"] = "SECRET"
    print(json.dumps(asyncio.run(main())))
