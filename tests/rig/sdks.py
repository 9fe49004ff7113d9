"""The four official SDKs, installed by the tests themselves, each driven through one long-lived process.

`Sdk.at(url)` gives a `Client` that speaks one vocabulary for all four (`create_agent`, `stream`, `list_messages`, …),
which the workers map to each SDK's methods, and reports what the SDK made of every answer: class, keys, values.
OpenAI's own SDK is driven in the same way, with a vocabulary of its own.
"""

import json
import queue
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any

from tests.rig.install import npm_with, program, python_with

WORKERS = Path(__file__).resolve().parent / "workers"
LIMIT = 60.0
"""Seconds without any answer from an SDK after which a command fails."""

PY0, PY1, JS0, JS1 = "py-0.1.324", "py-1.12.1", "js-0.1.211", "js-1.12.1"
OPENAI = "openai-3.54.0"
NAMES = (PY0, PY1, JS0, JS1)
"""Language and version of the SDKs under test."""


@dataclass(frozen=True)
class Decoded:
    """Something an SDK decoded. `keys` are as its user sees them, `fields` are spelled as on the wire."""

    cls: str
    keys: tuple[str, ...]
    fields: Any
    nested: dict[str, str] = field(default_factory=dict)
    """The classes of those attributes that are objects (Python only)."""

    @property
    def type(self) -> str:
        return self.fields["message_type"]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def get(self, name: str) -> Any:
        return self.fields.get(name)


class SdkError(Exception):
    """What an SDK raised. `bases` are the classes it can be caught by."""

    def __init__(self, report: dict[str, Any], before: list[Decoded]) -> None:
        super().__init__(f"{report['class']} {report['status']}: {report['text']} {report['body']}")
        self.cls: str = report["class"]
        self.bases: list[str] = report["bases"]
        self.status: int | None = report["status"]
        self.body: Any = report["body"]
        self.text: str = report["text"]
        self.before = before
        """What was decoded before it was raised."""


class Sdk:
    """One SDK in its worker process. Made by `start`, ended by `stop`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.language, _, self.version = name.partition("-")
        self.generation = int(self.version.partition(".")[0])
        self._ids = count(1)
        self._lock = threading.Lock()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 closed by stop
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "Sdk":
        """Installs the SDK where that was not yet done, and starts its worker."""
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, name=f"reader of {self.name}", daemon=True)
        self._reader.start()
        return self

    def stop(self) -> None:
        if (process := self._process) and process.stdin and process.stdout:
            process.kill()
            process.wait(LIMIT)
            self._reader.join(LIMIT)
            process.stdin.close()
            process.stdout.close()
        self._errors.close()

    def at(self, url: str) -> "Client":
        """A client of this SDK for the server at `url`."""
        return Client(self, url)

    def run_example(self, source: str) -> list[Decoded]:
        """Runs a documented npm example as a module of its own and returns what its `response` yields."""
        command = [program("node"), "--input-type=module", "--eval", source + SHOW_RESPONSE]
        done = subprocess.run(
            command, cwd=self._folder(), capture_output=True, timeout=LIMIT, check=False, encoding="utf-8"
        )
        assert done.returncode == 0, f"the example failed:\n{done.stdout}\n{done.stderr}"
        return [self._decoded(report) for report in map(json.loads, done.stdout.splitlines())]

    def ask(self, url: str, op: str, args: dict[str, Any]) -> Iterator[Decoded]:
        """Sends one command and yields each item as the SDK yields it. Raises SdkError for what the SDK raises."""
        with self._lock:
            number = next(self._ids)
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"id": number, "op": op, "url": url, "args": args}) + "\n")
            self._process.stdin.flush()
            seen: list[Decoded] = []
            while "end" not in (answer := self._answer(number)):
                if "error" in answer:
                    raise SdkError(answer["error"], seen)
                seen.append(self._decoded(answer["item"]))
                yield seen[-1]

    def _answer(self, number: int) -> dict[str, Any]:
        """The next answer to command `number`; those to a command given up on are passed over."""
        while True:
            try:
                line = self._lines.get(timeout=LIMIT)
            except queue.Empty:
                raise AssertionError(f"{self.name} gave no answer in {LIMIT} s:\n{self._said()}") from None
            if not line:
                raise AssertionError(f"the worker of {self.name} has ended:\n{self._said()}")
            answer = json.loads(line)
            if answer["id"] == number:
                return answer

    def _read(self) -> None:
        """Carries the worker's lines into the queue, an empty one when it ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-4000:]

    def _decoded(self, report: dict[str, Any]) -> Decoded:
        fields = snake(report["fields"]) if self.name == JS0 else report["fields"]
        return Decoded(report["class"], tuple(report["keys"]), fields, report["nested"])

    def _command(self) -> list[str]:
        worker = WORKERS / f"{self.language}_v{self.generation}"
        if self.language != "js":
            return [str(python_with(self.name, requirement(self.name))), f"{worker}.py"]
        return [program("node"), f"{worker}.mjs", str(self._folder())]

    def _folder(self) -> Path:
        return npm_with(self.name, f"@letta-ai/letta-client@{self.version}")


@dataclass(frozen=True)
class Client:
    """An SDK bound to one server."""

    sdk: Sdk
    url: str

    def each(self, op: str, **args: Any) -> Iterator[Decoded]:
        """The items of an operation, each as soon as the SDK has decoded it."""
        return self.sdk.ask(self.url, op, args)

    def all(self, op: str, **args: Any) -> list[Decoded]:
        """The items of an operation after its end."""
        return list(self.each(op, **args))

    def one(self, op: str, **args: Any) -> Decoded:
        """The item of an operation that gives exactly one."""
        items = self.all(op, **args)
        assert len(items) == 1, f"{op} gave {len(items)} items"
        return items[0]


SHOW_RESPONSE = """
for await (const item of response)
  console.log(JSON.stringify({ class: item.constructor.name, keys: Object.keys(item), fields: item, nested: {} }));
"""


def requirement(name: str) -> str:
    """What pip is asked for to have a Python SDK of this name."""
    language, _, version = name.partition("-")
    return f"{'letta-client' if language == 'py' else language}=={version}"


def snake(value: Any) -> Any:
    """The value with camelCase keys spelled as on the wire."""
    if isinstance(value, list):
        return [snake(each) for each in value]
    if isinstance(value, dict):
        return {re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", name): snake(each) for name, each in value.items()}
    return value
