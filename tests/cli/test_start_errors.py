"""A server that cannot start says why, in one line that tells what to do, and leaves what it found as it was."""

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.cli.commands import perdure, refused
from tests.rig.server import ROOT, Server

SCHEMA = ROOT / "tests" / "fixtures" / "schema-0001.sql"


def serve(data: Path, *arguments: str, humble: bool = False, **environment: str) -> str:
    """The line with which a start on `data` is refused."""
    return refused("serve", "--port", "0", "--data", str(data), *arguments, humble=humble, **environment)


def database(directory: Path, *statements: str, schema: bool = True) -> Path:
    """A data file made by these statements, after those of the first release unless without its `schema`."""
    directory.mkdir(exist_ok=True)
    file = directory / "perdure.db"
    with contextlib.closing(sqlite3.connect(file)) as conn:
        conn.executescript((SCHEMA.read_text() if schema else "") + ";\n".join(statements))
    return file


def seen(file: Path) -> tuple[bytes, int, int]:
    """What must be the same afterwards: content, permissions, time of change."""
    status = file.stat()
    return file.read_bytes(), stat.S_IMODE(status.st_mode), status.st_mtime_ns


def refused_untouched(file: Path) -> str:
    """The line of refusal, where the file beside it stays as it is and nothing but the lock comes to lie there."""
    before = seen(file)
    line = serve(file.parent)
    assert seen(file) == before
    assert {path.name for path in file.parent.iterdir()} <= {file.name, "perdure.lock"}
    assert str(file) in line or str(file.parent) in line or "--data" in line
    return line


# ---- somebody else is there


def test_a_port_in_use(tmp_path: Path, held_port: int) -> None:
    line = refused("serve", "--port", str(held_port), "--data", str(tmp_path / "data"))
    assert f"port {held_port}" in line
    assert "--port" in line
    assert not (tmp_path / "data").exists()


def test_an_address_that_is_not_of_this_machine(tmp_path: Path) -> None:
    line = refused("serve", "--host", "192.0.2.1", "--port", "0", "--data", str(tmp_path), PERDURE_PASSWORD="hush")
    assert "192.0.2.1" in line
    assert "--host" in line


def test_a_host_that_is_no_address(tmp_path: Path) -> None:
    line = serve(tmp_path, "--host", "no-such-host.invalid", PERDURE_PASSWORD="hush")
    assert "no-such-host.invalid" in line
    assert "--host" in line


def test_a_second_server_on_the_same_data(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        agent = server.new_agent()["id"]
        line = serve(server.data)
        assert f"process {server.pid}" in line
        assert "--data" in line
        assert server.get(f"/v1/agents/{agent}").status == 200
        server.kill()
        assert server.start().get(f"/v1/agents/{agent}").status == 200


# ---- the data file


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "perdure.db"
    file.write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    assert "cannot be read" in refused_untouched(file)


def test_a_database_that_was_cut_off(tmp_path: Path) -> None:
    file = database(tmp_path)
    file.write_bytes(file.read_bytes()[:5000])
    assert "restore a backup" in refused_untouched(file)


def test_a_database_that_was_written_over(tmp_path: Path) -> None:
    file = database(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    assert "restore a backup" in refused_untouched(file)


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "perdure.db").mkdir()
    assert str(tmp_path / "perdure.db") in serve(tmp_path)
    assert list((tmp_path / "perdure.db").iterdir()) == []


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    assert "--data" in serve(tmp_path / "data")
    assert "--data" in serve(tmp_path / "data" / "below")
    assert (tmp_path / "data").read_text() == "mine"


def test_data_of_a_newer_version(tmp_path: Path) -> None:
    file = database(tmp_path, "UPDATE alembic_version SET version_num = '9999'", "PRAGMA journal_mode = WAL")
    file.chmod(0o600)
    line = refused_untouched(file)
    assert "newer version" in line
    assert "9999" in line


def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    file = database(tmp_path, "CREATE TABLE customers (name)", "INSERT INTO customers VALUES ('Ada')", schema=False)
    assert "not Perdure's" in refused_untouched(file)


def test_data_that_may_not_be_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    file = database(data)
    file.chmod(0o444)
    before = seen(file)
    assert "read-only" in serve(data, humble=True)
    (data / "perdure.lock").unlink()
    data.chmod(0o555)
    for place in (data, data / "below"):
        line = serve(place, humble=True)
        assert str(place) in line
        assert "permissions" in line
    assert seen(file) == before


def test_data_that_may_not_be_read(tmp_path: Path) -> None:
    file = database(tmp_path)
    file.chmod(0)
    line = serve(tmp_path, humble=True)
    assert str(file) in line
    assert stat.S_IMODE(file.stat().st_mode) == 0


def test_a_key_that_is_none(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.stop()
    key = tmp_path / "data" / "secret.key"
    key.write_text("not a key")
    line = serve(tmp_path / "data")
    assert "secret.key" in line
    assert key.read_text() == "not a key"


# ---- settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PERDURE_PORT", "many"),
        ("PERDURE_PORT", "-1"),
        ("PERDURE_SYNC", "never"),
        ("PERDURE_BUSY", "drop"),
        ("PERDURE_MAX_BODY", "much"),
        ("PERDURE_LOG_LEVEL", "loud"),
        ("PERDURE_TOOLS", "no_such_module:tool"),
        ("PERDURE_TOOLS", "nonsense"),
        ("LETTA_PG_URI", "mysql://x/y"),
    ],
)
def test_a_setting_that_will_not_do(tmp_path: Path, variable: str, value: str) -> None:
    port = () if variable == "PERDURE_PORT" else ("--port", "0")
    line = refused("serve", *port, "--data", str(tmp_path / "data"), **{variable: value})
    assert value.split(":")[0] in line or variable in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_others_can_reach_without_a_password(tmp_path: Path, host: str) -> None:
    line = serve(tmp_path / "data", "--host", host)
    assert "PERDURE_PASSWORD" in line
    assert "--insecure" in line
    assert not (tmp_path / "data").exists()


def test_a_flag_there_is_not() -> None:
    done = perdure("serve", "--fast")
    assert done.returncode == 2
    assert "--fast" in done.stderr
    assert "Traceback" not in done.stderr
