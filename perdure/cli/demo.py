"""`perdure demo`: a real server, an agent that is told something, a restart, and the agent that still knows.

Everything goes over HTTP, as a program of yours would do it; what is shown is what the server streams.
"""

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from perdure.cli.local_server import LocalServer
from perdure.domain.errors import Unavailable
from perdure.providers.offline import OFFLINE_MODEL

TOLD: Final = "Hi! My name is Ada and I live in Lisbon."
ASKED: Final = "What do you remember about me?"
FACTS: Final = ("Ada", "Lisbon")
"""What has to turn up in the answer, and in the block, for the memory to be shown."""

PERSONA: Final = "I am a friendly assistant. I note what people tell me about themselves in my human block."
HUMAN: Final = "What I know about the person I talk with:"


def run(model: str | None, keep: Path | None) -> int:
    """Show it. Returns the exit code: 0 only where the agent's block changed and its answer holds the facts.

    Raises Unavailable where the server does not start or refuses a request.
    """
    show = _Screen(Console(highlight=False))
    # Leave by way of what is to be cleaned up, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        directory = _kept(keep) if keep else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perdure-")))
        server = stack.enter_context(LocalServer(directory))
        show.step(f"Starting a server with its data in {directory}")
        _start(server, show)
        agent = _create_agent(server, model or OFFLINE_MODEL.handle)
        before = _human_block(server, agent["id"])
        show.step(f"Created agent {agent['name']} with model {agent['llm_config']['handle']}")
        show.note("Its `human` block says:", before)
        _converse(server, show, agent["id"], TOLD)
        show.step("Stopping the server, and starting it afresh on the same data")
        server.stop()
        _start(server, show)
        answer = _converse(server, show, agent["id"], ASKED)
        after = _human_block(server, agent["id"])
        show.change(before, after)
        return show.verdict(
            changed=before != after,
            missing=[fact for fact in FACTS if fact not in answer or fact not in after],
            kept=directory if keep else None,
        )


def _kept(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"The directory {directory} cannot be used: {error.strerror}. Choose another.") from error
    return directory.absolute()


def _start(server: LocalServer, show: "_Screen") -> None:
    began = time.monotonic()
    with show.waiting("waiting for the server"):
        server.start()
    show.detail(f"up at {server.url} after {time.monotonic() - began:.1f} s")


def _create_agent(server: LocalServer, model: str) -> dict[str, Any]:
    body = {
        "name": "demo",
        "model": model,
        "memory_blocks": [{"label": "persona", "value": PERSONA}, {"label": "human", "value": HUMAN}],
    }
    return server.request("POST", "/v1/agents/", body)


def _human_block(server: LocalServer, agent_id: str) -> str:
    return server.request("GET", f"/v1/agents/{agent_id}/core-memory/blocks/human")["value"]


def _converse(server: LocalServer, show: "_Screen", agent_id: str, text: str) -> str:
    """Say something, show the answer while it arrives, and return its text."""
    show.step(f"You say: {text}")
    body = {"messages": [{"role": "user", "content": text}], "stream_tokens": True}
    answer: list[str] = []
    with show.speech() as speech:
        for frame in server.stream(f"/v1/agents/{agent_id}/messages/stream", body):
            answer.append(speech.take(frame))
    return "".join(answer)


class _Screen:
    """What the demo prints: pictures on a terminal, plain lines anywhere else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        self._console.print(Text(f"\n{text}", style="bold"), soft_wrap=True)

    def detail(self, text: str) -> None:
        self._console.print(Text(f"  {text}", style="dim"), soft_wrap=True)

    def note(self, title: str, text: str) -> None:
        self._console.print(Text(f"  {title}"), soft_wrap=True)
        for line in text.splitlines():
            self._console.print(Text(f"    {line}", style="cyan"), soft_wrap=True)

    def waiting(self, text: str) -> contextlib.AbstractContextManager[object]:
        return self._console.status(text) if self._console.is_terminal else contextlib.nullcontext()

    @contextlib.contextmanager
    def speech(self) -> Generator["_Speech"]:
        speech = _Speech(self._console)
        yield speech
        speech.end()

    def change(self, before: str, after: str) -> None:
        self.step("The `human` block, before and after")
        if not self._console.is_terminal:
            self.note("before:", before)
            self.note("after:", after)
            return
        known = set(before.splitlines())
        lines = [Text(line, style="" if line in known else "bold green") for line in after.splitlines()]
        self._console.print(Panel(Text(before), title="before", expand=False))
        self._console.print(Panel(Text("\n").join(lines), title="after", expand=False))

    def verdict(self, *, changed: bool, missing: list[str], kept: Path | None) -> int:
        if kept is not None:
            self.step(f"The data is kept. Go on with it: perdure serve --data {kept}")
        if changed and not missing:
            self.step("It remembers: the block was written before the restart, and the answer after it quotes it.")
            return 0
        why = "the block did not change" if not changed else f"{' and '.join(missing)} did not come back"
        self.step(f"It does not remember: {why}. A model that does not use its memory tools fails here.")
        return 1


class _Speech:
    """One streamed answer: reasoning dim, tool calls and returns marked, text plain."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._part: object = None

    def take(self, frame: dict[str, Any]) -> str:
        """Show a frame; returns the text it adds to the answer. Raises Unavailable where the run failed."""
        match frame.get("message_type"):
            case "reasoning_message":
                self._show(frame, "reasoning  ", frame["reasoning"], "dim")
            case "tool_call_message":
                call = frame["tool_call"]
                named = f"{call['name']} " if call.get("name") else ""
                self._show(frame, "tool call  ", named + (call.get("arguments") or ""), "yellow")
            case "tool_return_message":
                self._show(frame, "returned   ", f"{frame['status']}: {_on_one_line(frame['tool_return'])}", "green")
            case "assistant_message":
                self._show(frame, "answer     ", frame["content"], "")
                return frame["content"]
            case "error_message":
                self.end()
                raise Unavailable(f"The run failed: {frame['message']} {frame.get('detail') or ''}".strip())
            case _:
                pass
        return ""

    def end(self) -> None:
        if self._part is not None:
            self._console.out("")
            self._part = None

    def _show(self, frame: dict[str, Any], label: str, text: str, style: str) -> None:
        if self._part != frame["otid"]:
            self.end()
            self._part = frame["otid"]
            self._console.out(f"  {label}", style=style, highlight=False, end="")
        self._console.out(text, style=style, highlight=False, end="")


def _on_one_line(value: object) -> str:
    return " | ".join(str(value).splitlines())
