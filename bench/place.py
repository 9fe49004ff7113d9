"""What is measured: real servers and a model, each in a process of its own, and the PostgreSQL they may share."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench import model
from tests.rig import postgres

START_LIMIT = 60.0


class Served:
    """A running server: its address, its processes, and the seconds it took to be ready."""

    def __init__(self, url: str, process: psutil.Process, took: float) -> None:
        self.url = url
        self.took = took
        self.process = process

    def cpu(self) -> float:
        """Seconds of CPU used so far, by its workers too."""
        alive = (self.process, *self.process.children())
        return sum(times.user + times.system for times in (each.cpu_times() for each in alive))


def cpu(servers: Iterable[Served]) -> float:
    """Seconds of CPU that several servers have used."""
    return sum(each.cpu() for each in servers)


@contextmanager
def server(environment: dict[str, str], *options: str) -> Generator[Served]:
    """A real server on a free port with a new data directory."""
    with tempfile.TemporaryDirectory() as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "log"
        command = [str(Path(sys.executable).with_name("perdure")), "serve", "--port", "0", "--data", f"{folder}/data"]
        own = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
        began = time.monotonic()
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*command, "--ready-file", str(ready), *options], env={**own, **environment}, stdout=said, stderr=said
            )
        try:
            while not ready.exists():
                assert process.poll() is None, f"the server ended:\n{log.read_text()}"
                assert time.monotonic() - began < START_LIMIT, "the server was not ready in time"
                time.sleep(0.005)
            took = time.monotonic() - began
            yield Served(json.loads(ready.read_text())["url"], psutil.Process(process.pid), took)
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def paced_model() -> Generator[str]:
    """The model in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=model.serve, args=(port,), daemon=True)
    process.start()
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join(10)


@contextmanager
def cluster() -> Generator[postgres.Cluster]:
    """A PostgreSQL of the benchmark's own, with that server's usual care."""
    with tempfile.TemporaryDirectory() as folder:
        started = postgres.Cluster(postgres.place_for(Path(folder) / "bench"), {}).start()
        try:
            yield started
        finally:
            started.remove()


def asks(model_url: str) -> dict[str, str]:
    """What makes a server ask the model, in OpenAI's chat."""
    return {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": f"{model_url}/v1"}
