"""Background work survives the process that does it: files are read exactly once, whoever dies in the middle."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_folders import read
from tests.rig import postgres
from tests.rig.documents import multipart
from tests.rig.model import EMBEDDING, ModelServer
from tests.rig.server import Server

LONG = "".join(f"Sentence number {n} tells its own tale about something else. " for n in range(12_000)).encode()


def send(server: Server, folder: str) -> str:
    body, headers = multipart("long.txt", LONG)
    return server.post(f"/v1/folders/{folder}/upload", body=body, headers=headers).json["id"]


def half_way(server: Server, folder: str, file: str) -> dict[str, Any]:
    """The file as soon as some of it is stored, and not yet all."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = server.get(f"/v1/folders/{folder}/files/{file}").json
        assert found["processing_status"] in ("parsing", "embedding"), "it was too fast to be interrupted"
        if found["chunks_embedded"]:
            return found
        time.sleep(0.01)
    raise AssertionError(f"nothing of it was stored: {found}")


def check_whole(server: Server, folder: str, file: str) -> None:
    """All chunks are there, each once."""
    done = read(server, folder, file)
    assert (done["processing_status"], done["error_message"]) == ("completed", None)
    pieces = server.get(f"/v1/folders/{folder}/passages?limit=10000&order=asc").json
    assert [piece["metadata"]["position"] for piece in pieces] == list(range(done["total_chunks"]))
    assert done["chunks_embedded"] == done["total_chunks"] > 300
    assert pieces[-1]["text"].endswith("something else.")
    (job,) = server.get(f"/v1/jobs/?source_id={folder}").json
    assert job["status"] == "completed"


def test_a_file_is_read_exactly_once_though_the_server_is_killed_in_the_middle(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    folder = server.post("/v1/folders/", {"name": "long", "embedding": f"openai/{EMBEDDING}"}).json["id"]
    agent = server.new_agent(folder_ids=[folder], model="openai/scripted-1")["id"]
    file = send(server, folder)
    server.kill()
    server.start()
    half_way(server, folder, file)
    server.kill()
    server.start()
    check_whole(server, folder, file)
    assert [each["is_open"] for each in server.get(f"/v1/agents/{agent}/files").json["files"]] == [True]


@pytest.fixture
def two_servers(models: ModelServer, tmp_path: Path) -> Iterator[list[Server]]:
    """Two processes on one database."""
    with postgres.database() as url, contextlib.ExitStack() as stack:
        environment = {**models.environment, "PERDURE_ENCRYPTION_KEY": "one for all", "PERDURE_DATABASE_URL": url}
        environment["PERDURE_LEASE_SECONDS"] = "1"
        yield [stack.enter_context(Server(tmp_path / name, environment)) for name in ("first", "second")]


def test_another_process_goes_on_with_what_a_killed_one_was_reading(two_servers: list[Server]) -> None:
    first, second = two_servers
    folder = first.post("/v1/folders/", {"name": "long", "embedding": f"openai/{EMBEDDING}"}).json["id"]
    file = send(first, folder)
    half_way(first, folder, file)
    first.kill()
    check_whole(second, folder, file)
