"""The commands that work: serve, demo and doctor."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from perdure import __version__
from perdure.store.sqlite_file import look_into
from tests.cli.commands import perdure, refused
from tests.rig.server import ROOT, Server


def test_version_and_help() -> None:
    assert perdure("--version").stdout == f"perdure {__version__}\n"
    text = perdure("--help").stdout
    assert all(command in text for command in ("serve", "demo", "doctor"))


def test_the_command_line_loads_nothing_it_does_not_need() -> None:
    heavy = "{'fastapi', 'aiohttp', 'sqlalchemy', 'rich', 'structlog', 'uvicorn'}"
    code = f"import sys, perdure.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_serve_says_where_it_is_and_ends_on_sigterm(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        assert server.get("/v1/health/").status == 200
        assert server.stop() == 0
        assert f"Perdure listens on {server.base_url}" in server.log
        assert str(tmp_path / "data" / "perdure.db") in server.log
        assert f'Letta(base_url="{server.base_url}")' in server.log
        assert "only perdure/offline" in server.log


def test_an_agent_moves_by_the_command_line(tmp_path: Path) -> None:
    with Server(tmp_path / "data", {"PERDURE_PASSWORD": "hush"}) as server:
        bearer = {"Authorization": "Bearer hush"}
        body = json.dumps({"model": "perdure/offline", "name": "Ada", "tools": []}).encode()
        made = server.request("POST", "/v1/agents/", body=body, headers=bearer | {"Content-Type": "application/json"})
        file, agent = str(tmp_path / "ada.af"), made.json["id"]
        host, port = server.base_url.removeprefix("http://").split(":")
        here: dict[str, Any] = {"PERDURE_HOST": host, "PERDURE_PORT": port, "PERDURE_PASSWORD": "hush"}
        assert perdure("export", agent, file, **here).stdout == ""
        done = perdure("import", file, "--url", server.base_url, PERDURE_PASSWORD="hush")
        found = server.request("GET", f"/v1/agents/{done.stdout.strip()}", headers=bearer)
        assert (found.json["name"], done.stderr) == ("Ada_copy", "")
        assert "is there already" in refused("export", agent, file, **here)
        assert "not found" in refused("export", "agent-00000000-0000-4000-8000-000000000000", **here)
        assert "cannot be read" in refused("import", f"{file}x", **here)
    assert "No server answers" in refused("import", file, **here)


def test_serve_names_the_models_it_found(models_environment: Mapping[str, str], tmp_path: Path) -> None:
    with Server(tmp_path / "data", models_environment) as server:
        server.get("/v1/models/")
        server.stop()
        assert "Models   " in server.log
        assert "only perdure/offline" not in server.log


@pytest.fixture
def models_environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    return request.getfixturevalue("models").environment


def newer(directory: Path) -> None:
    """Leaves a data file of a version to come."""
    database = sqlite3.connect(directory / "perdure.db")
    database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.commit()
    database.close()


def test_the_demo_shows_a_memory_that_outlives_its_server(tmp_path: Path) -> None:
    # Settings of the machine must not reach the demo's server: this password would lock it out.
    done = perdure("demo", "--keep", str(tmp_path / "kept"), PERDURE_PASSWORD="hush", PERDURE_PORT="1")
    assert done.returncode == 0, done
    told, asked = done.stdout.split("starting it afresh")
    assert "tool call  memory_insert" in told
    assert "Name: Ada" in asked.partition("answer")[2]
    assert asked.index("before:") < asked.index("after:")
    assert "\x1b" not in done.stdout
    file = look_into(tmp_path / "kept")
    assert file.size
    assert file.holder is None
    assert not (tmp_path / "kept" / "ready.json").exists()


def test_the_demo_cleans_up_and_fails_in_words(tmp_path: Path) -> None:
    done = perdure("demo", "--model", "nobody/knows", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_finds_a_machine_fit_to_serve(tmp_path: Path, free_port: int) -> None:
    done = perdure("doctor", "--data", str(tmp_path / "data"), "--port", str(free_port))
    assert done.returncode == 0, done
    subjects = {line.split()[1] for line in done.stdout.splitlines()[:-1]}
    assert subjects == {"python", "data", "address", "tools", "models", "sandbox", "node"}
    assert "OPENAI_API_KEY" in done.stdout
    assert done.stdout.endswith("can start.\n")
    assert not (tmp_path / "data").exists()


def test_the_doctor_finds_a_running_server(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        port = server.base_url.rpartition(":")[2]
        done = perdure("doctor", "--data", str(server.data), "--port", port)
        assert done.returncode == 0, done
        assert f"process {server.pid}" in done.stdout
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        assert f"process {server.pid}" not in perdure("doctor", "--data", str(server.data), "--port", port).stdout


def test_the_doctor_says_what_keeps_a_server_from_starting(tmp_path: Path, held_port: int) -> None:
    newer(tmp_path)
    done = perdure("doctor", "--data", str(tmp_path), "--port", str(held_port), PERDURE_TOOLS="no_such_module:tool")
    assert done.returncode == 1
    problems = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("problem")]
    assert problems == ["data", "address", "tools"]
    bad = perdure("doctor", PERDURE_SYNC="never")
    assert bad.returncode == 1
    assert "PERDURE_SYNC is 'never'" in bad.stdout


def test_the_doctor_says_why_a_provider_is_out(tmp_path: Path, free_port: int) -> None:
    address = f"http://127.0.0.1:{free_port}/v1"
    done = perdure("doctor", "--data", str(tmp_path), "--port", "0", OPENAI_BASE_URL=address, OPENAI_API_KEY="hush")
    assert done.returncode == 0, done
    [line] = [line for line in done.stdout.splitlines() if " openai at " in line]
    assert address in line
    assert "with a key" in line
    assert "could not be asked" in line
    assert "hush" not in done.stdout
