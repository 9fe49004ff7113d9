"""A real PgBouncer before the shared PostgreSQL, which lends a connection for one transaction only."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from tests.rig import postgres
from tests.rig.process import Process

PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
"""Debian puts it where only root looks."""
REMEDY = "pgbouncer is needed to test the server behind it: `apt-get install pgbouncer` as root, and run again"
CONNECTIONS = 4
"""To PostgreSQL; fewer than two servers open."""
SETTINGS = """\
[databases]
* = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {connections}
"""


@contextlib.contextmanager
def before(url: str) -> Iterator[str]:
    """The URL that leads to the database of `url` through a pooler."""
    program = shutil.which("pgbouncer", path=PLACES)
    if program is None:
        raise RuntimeError(REMEDY)
    # Not the test's own folder: it does not run as root, and may not look into that.
    folder = postgres.HOME / f"pgbouncer-{os.getpid()}"
    folder.mkdir()
    own_port = postgres.free_port()
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "settings").write_text(
        SETTINGS.format(port=postgres.shared().port, own_port=own_port, users=folder / "users", connections=CONNECTIONS)
    )
    process = Process([program, str(folder / "settings")], folder / "log", **postgres.as_other())
    try:
        process.line_with("process up")
        yield url.replace(f":{postgres.shared().port}/", f":{own_port}/")
    finally:
        process.end()
        shutil.rmtree(folder)
