"""A real perdure server in its own process, on a free loopback port, with a data directory of its own."""

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.rig import http, nursery
from tests.rig.http import EventStream, Reply

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT = 30.0
"""Seconds from start to healthy."""
STOP_LIMIT = 15.0
"""Seconds from SIGTERM to gone."""
FOREIGN = (
    "LETTA_",
    "PERDURE_",
    "OPENAI_",
    "ANTHROPIC_",
    "GEMINI_",
    "GOOGLE_",
    "OLLAMA_",
    "AZURE_",
    "AWS_",
    "CLOUD_ML_",
    # Modules are compiled once, not by each process that starts.
    "PYTHONDONTWRITEBYTECODE",
)
"""Variables of the machine that must not reach a server under test."""


class Server:
    """Started by `start`, ended by `stop` or `kill`, only ever its own process; `restart` keeps the data."""

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        tools: Iterable[str] = (),
    ) -> None:
        self.data = data
        self.log_file = data.with_name(f"{data.name}.log")
        self.base_url = ""
        self.options = list(options)
        self.environment = {name: value for name, value in os.environ.items() if not foreign(name)}
        self.environment["PYTHONPATH"] = str(ROOT)
        # Scripted models fail on purpose and at once, and many tests share one of them.
        self.environment |= {"PERDURE_RETRY_SECONDS": "0", "PERDURE_BREAKER_FAILURES": "0"}
        self.environment.update(environment or {})
        if tools := ",".join(tools):
            self.environment["PERDURE_TOOLS"] = tools
        self._ready = data.with_name(f"{data.name}.ready.json")
        self._process: nursery.Started | None = None

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self, limit: float = START_LIMIT) -> "Server":
        """Returns when the server is healthy; fails with its log when it is not within `limit` seconds."""
        assert not self.running, "the server is running already"
        self._ready.unlink(missing_ok=True)
        arguments = ["serve", "--host", "127.0.0.1", "--port", "0"]
        arguments += ["--data", str(self.data), "--ready-file", str(self._ready), *self.options]
        with self.log_file.open("ab") as log:
            self._process = nursery.start(arguments, self.environment, self.data.parent, log, log)
        try:
            self.base_url = str(self._wait_ready(limit)["url"]).rstrip("/")
        except BaseException:
            self.kill()
            raise
        return self

    def terminate(self) -> None:
        """Sends SIGTERM and does not wait."""
        self.send_signal(signal.SIGTERM)

    def wait(self, limit: float = STOP_LIMIT) -> int:
        """Waits for the process to end by itself. Returns its exit code."""
        assert self._process is not None, "the server is not running"
        return self._process.wait(limit)

    def stop(self, limit: float = STOP_LIMIT) -> int:
        """Ends the server with SIGTERM and returns its exit code."""
        self.terminate()
        return self.wait(limit)

    def kill(self) -> None:
        """Ends the server with SIGKILL, as a crash would. Does nothing when it is gone already."""
        if self.running:
            self.send_signal(signal.SIGKILL)
            self.wait()

    def restart(self) -> "Server":
        """Stops the server if it runs and starts it again on the same data, most likely on another port."""
        if self.running:
            self.stop()
        return self.start()

    def request(self, method: str, path: str, json: Any = None, **options: Any) -> Reply:
        return http.request(method, self.base_url + path, json, **options)

    def get(self, path: str, **options: Any) -> Reply:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> Reply:
        return self.request("POST", path, json, **options)

    def stream(self, path: str, json: Any = None, method: str = "POST", **options: Any) -> EventStream:
        return http.stream(method, self.base_url + path, json, **options)

    def new_agent(self, **fields: Any) -> dict[str, Any]:
        """Creates an agent and returns its state."""
        reply = self.post("/v1/agents/", fields)
        assert reply.status == 200, f"{reply.status} {reply.text}\n{self.log[-4000:]}"
        return reply.json

    def send_signal(self, number: signal.Signals) -> None:
        """Sends any signal to a process that runs."""
        assert self._process is not None, "the server is not running"
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _wait_ready(self, limit: float) -> dict[str, Any]:
        assert self._process is not None
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.log[-8000:]}")
            if self._ready.exists() and (written := self._ready.read_text()):
                return json.loads(written)
            time.sleep(0.02)
        raise AssertionError(f"the server was not ready within {limit} s:\n{self.log[-8000:]}")


def foreign(name: str) -> bool:
    """Whether a variable could point a server at something outside the tests, or slow its start."""
    return name.startswith(FOREIGN) or name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL"))
