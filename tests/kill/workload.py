"""Keeps agents busy through whatever happens to their server, and notes what it was told.

What a message asks for stands in its text, `<kind> <number>`, so the model can answer by what it is shown, whichever
process asks and however often.
"""

import contextlib
import http.client
import itertools
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from perdure.config import Settings, read_settings
from perdure.runs.sleeptime import REMINDER
from tests.kill.points import ARMED, AT, EFFECTS, JOT
from tests.kill.stamps import NAME as STAMPS
from tests.kill.stamps import stamps
from tests.rig import postgres
from tests.rig.answers import Answer, Pause, Piece, Refusal, call, parallel, reasoning, text
from tests.rig.documents import multipart
from tests.rig.http import Frame
from tests.rig.model import Asked, ModelServer, Script, text_of
from tests.rig.server import Server

KINDS: Final = ("say", "mark", "repeat", "insert", "both", "ask", "slow", "jot", "stamp", "tell")
SAID: Final = re.compile(rf"\b(?:{'|'.join(KINDS)}) (\d+)")
"""A message in a transcript."""
TELL: Final = "send_message_to_agent_and_wait_for_reply"
FREQUENCY: Final = 2
"""Turns after which a companion works."""
FILE: Final = b"".join(b"Sentence number %d tells its own tale about something else. " % n for n in range(5_000))
"""What is put into folders: two batches of chunks."""
DATABASE: Final = "PERDURE_DATABASE_URL"
TOOLS: Final = tuple(f"tests.kill.points:{name}" for name in ("mark", "ask", "repeat"))
GONE: Final = (OSError, http.client.HTTPException, AssertionError)
"""What a client of a server that is killed meets; the assertion is of a stream that is none, or was cut in a frame."""

_numbers = itertools.count(1)


@dataclass
class Sent:
    """A message and what came back: the run it started, and the frames that were read."""

    number: int
    kind: str
    agent: str
    run_id: str | None = None
    """Known once the first frame has come, which says that the message is kept."""
    frames: list[Frame] = field(default_factory=list)


@dataclass
class Notes:
    """All that clients were told."""

    sent: list[Sent] = field(default_factory=list)
    edits: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Values given to blocks by hand: (the block, whether that was confirmed)."""
    files: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Files sent, by name: (the folder, the file's id where that was confirmed)."""
    cut: Counter[str] = field(default_factory=Counter)
    """Requests that the server did not live to answer to their end, by kind."""


class Home:
    """A server on data of its own, a model that does as it is told, and some agents. Use `made`."""

    def __init__(self, server: Server, script: Script, folder: Path) -> None:
        self.server = server
        self.script = script
        self.effects, self.armed = folder / "effects", folder / "armed"
        self.notes = Notes()
        self.agents: list[str] = []
        self.blocks: dict[str, str] = {}
        """By agent, the block that people edit."""
        self.folders: dict[str, str] = {}
        """By agent, the folder of its files."""
        self.companions: dict[str, str] = {}
        """By agent, the one that looks after its memory."""
        self._tools = ["mark", "ask", "repeat", "jot", TELL]
        script.otherwise(lambda asked: answer(asked, self.agents[-1]))
        self.effects.touch()
        server.environment |= {EFFECTS: str(self.effects), ARMED: str(self.armed)}

    def start(self, trap: str | None = None) -> None:
        """Starts the server, to be killed at `trap`."""
        self.server.environment.pop(AT, None)
        self.server.environment |= {AT: trap} if trap else {}
        self.server.start()

    @property
    def settings(self) -> Settings:
        """Those of the server."""
        return read_settings(self.server.environment, data=self.server.data)

    def populate(self, count: int) -> None:
        """Makes agents, each with a block that it may write, one that people do, and a folder."""
        assert self.server.request("PUT", "/v1/tools/", {"source_code": JOT}).status == 200
        for _ in range(count):
            folder = self.server.post("/v1/folders/", {"name": f"files {next(_numbers)}"}).json["id"]
            made = self.server.new_agent(
                model=self.script.handle, tools=self._tools, include_base_tool_rules=False,
                folder_ids=[folder],
                memory_blocks=[{"label": "notes", "value": "-", "limit": 100_000}, {"label": "wall", "value": "0"}],
                tool_rules=[{"type": "requires_approval", "tool_name": "ask"}],
                model_settings={"provider_type": "openai", "parallel_tool_calls": True},
            )  # fmt: skip
            self.agents.append(made["id"])
            self.folders[made["id"]] = folder
            self.blocks[made["id"]] = next(block["id"] for block in made["blocks"] if block["label"] == "wall")

    def watch(self, agent: str) -> None:
        """Gives an agent a companion, which notes after some turns which was the last."""
        path = f"/v1/agents/{agent}"
        group = self.server.request("PATCH", path, {"enable_sleeptime": True}).json["managed_group"]
        config = {"manager_type": "sleeptime", "sleeptime_agent_frequency": FREQUENCY}
        done = self.server.request("PATCH", f"/v1/groups/{group['id']}", {"manager_config": config})
        assert done.status == 200, done.text
        (self.companions[agent],) = group["agent_ids"]

    def reach_stamps(self) -> None:
        """Gives agents that are made from now on the tool of an MCP server."""
        if "stamp" in self._tools:
            return
        config = {"server_name": STAMPS, "type": "streamable_http", "server_url": stamps().url}
        assert self.server.request("PUT", "/v1/tools/mcp/servers", config).status == 200
        made = self.server.post(f"/v1/tools/mcp/servers/{STAMPS}/stamp", {})
        assert made.status == 200, made.text
        self._tools.append("stamp")

    @property
    def marks(self) -> Counter[str]:
        """What tools have left outside the database."""
        left = [self.effects, stamps().effects] if "stamp" in self._tools else [self.effects]
        return Counter(line for file in left for line in file.read_text().splitlines())

    def send(self, agent: str, kind: str, **options: Any) -> Sent:
        """Sends a message and reads what comes, to the end or until the server is gone."""
        sent = Sent(next(_numbers), kind, agent)
        self.notes.sent.append(sent)
        body = {"messages": [{"role": "user", "content": f"{kind} {sent.number}"}], "stream_tokens": True, **options}
        self._read(sent, f"/v1/agents/{agent}/messages/stream", body)
        return sent

    def decide(self, agent: str, approve: bool) -> None:
        """Answers what an agent asks for, if it does."""
        with self._noted("decision"):
            found = self.server.get(f"/v1/agents/{agent}")
            pending = found.json["pending_approval"] if found.status == 200 else None
            if pending is None:
                return
            decisions = [
                {"type": "approval", "tool_call_id": each["tool_call_id"], "approve": approve}
                for each in pending["tool_calls"]
            ]
            sent = Sent(0, "decision", agent)
            self.notes.sent.append(sent)
            messages = [{"type": "approval", "approvals": decisions}]
            self._read(sent, f"/v1/agents/{agent}/messages/stream", {"messages": messages, "stream_tokens": True})

    def cancel(self, agent: str) -> None:
        """Cancels what an agent does."""
        with self._noted("cancel"):
            self.server.post(f"/v1/agents/{agent}/messages/cancel", {})

    def compact(self, agent: str) -> None:
        """Has an agent's history summed up."""
        with self._noted("compaction"):
            self.server.post(f"/v1/agents/{agent}/summarize", {"compaction_settings": {"mode": "all"}})

    def edit(self, agent: str) -> None:
        """Gives the block that people write a new value."""
        value = f"edit {next(_numbers)}"
        self.notes.edits[value] = (self.blocks[agent], False)
        with self._noted("edit"):
            done = self.server.request("PATCH", f"/v1/blocks/{self.blocks[agent]}", {"value": value})
            self.notes.edits[value] = (self.blocks[agent], done.status == 200)

    def upload(self, agent: str, content: bytes) -> None:
        """Puts a file into an agent's folder, which is read in the background."""
        folder, name = self.folders[agent], f"file {next(_numbers)}.txt"
        self.notes.files[name] = (folder, None)
        body, headers = multipart(name, content)
        with self._noted("upload"):
            sent = self.server.post(f"/v1/folders/{folder}/upload", body=body, headers=headers)
            if sent.status == 200:
                self.notes.files[name] = (folder, sent.json["id"])

    def bustle(self, agent: str, dice: random.Random, until: threading.Event) -> None:
        """Does this and that with an agent until told to stop."""
        while not until.is_set() and self.server.running:
            what = dice.choice([*KINDS, *KINDS, "cancel", "edit", "decide", "decide", "crowd", "compact", "upload"])
            if what == "cancel":
                self.cancel(agent)
            elif what == "edit":
                self.edit(agent)
            elif what == "compact":
                self.compact(agent)
            elif what == "upload":
                self.upload(agent, FILE[:20_000])
            elif what == "decide":
                self.decide(agent, approve=dice.random() < 0.7)
            elif what == "crowd":
                crowd = [threading.Thread(target=self.send, args=(agent, "say")) for _ in range(3)]
                for each in crowd:
                    each.start()
                for each in crowd:
                    each.join()
            else:
                self.send(agent, what, background=dice.random() < 0.3)

    def _read(self, sent: Sent, path: str, body: dict[str, Any]) -> None:
        with self._noted(sent.kind), self.server.stream(path, body) as stream:
            for frame in stream:
                sent.frames.append(frame)
                if sent.run_id is None:
                    sent.run_id = frame.json["run_id"]

    @contextlib.contextmanager
    def _noted(self, kind: str) -> Iterator[None]:
        """Something asked of the server, which may be gone before it has answered."""
        try:
            yield
        except ConnectionRefusedError:
            pass  # it never came
        except GONE:
            self.notes.cut[kind] += 1

    def forget(self) -> None:
        """Deletes the agents, and all that is known of them."""
        for agent in self.agents:
            assert self.server.request("DELETE", f"/v1/agents/{agent}").status == 200
            assert self.server.request("DELETE", f"/v1/folders/{self.folders[agent]}").status == 200
        self.agents.clear()
        self.companions.clear()
        self.notes = Notes()
        self.script.asked.clear()
        self.effects.write_text("")


STORES: Final = ("sqlite", "postgres")
LEASE: Final = "0.5"
"""Seconds after which a killed server is found dead where others might go on with its runs."""


@contextlib.contextmanager
def made(folder: Path, models: ModelServer, store: str) -> Iterator[Home]:
    """A home in `folder` on a database of its own; its server is ended with it."""
    with contextlib.ExitStack() as stack:
        environment = {**models.environment, "PERDURE_PRIVATE_MCP": "1"}
        if store == "postgres":
            environment |= {DATABASE: stack.enter_context(postgres.database()), "PERDURE_LEASE_SECONDS": LEASE}
        server = Server(folder / "data", environment, tools=TOOLS)
        stack.callback(server.kill)
        yield Home(server, models.script(), folder)


def answer(asked: Asked, other: str) -> Answer | Refusal:
    """What the model does with what it is shown: the calls a message asks for, and a last word.

    `other` is the agent that is told something where a message asks for that.
    """
    last = next(message for message in reversed(asked.messages) if message["role"] in ("user", "tool", "system"))
    kind, _, number = text_of(last).partition(" ")
    if last["role"] == "user" and text_of(last).startswith(REMINDER):
        return _tend(text_of(last))
    if last["role"] == "tool" or kind not in KINDS:
        return Answer((text("That", " is", " done."),))
    arguments = {"number": number}
    note = call("memory_insert", {"label": "notes", "new_string": f"<{number}>"})
    pieces: dict[str, tuple[Piece, ...]] = {
        "say": (reasoning("Hm", "."), text("I", " heard", f" {number}.")),
        "slow": (text("Wait"), *itertools.chain(*((Pause(0.02), text(" on")) for _ in range(20)))),
        "mark": (text("I mark."), call("mark", arguments)),
        "repeat": (call("repeat", arguments),),
        "ask": (call("ask", arguments),),
        "insert": (note,),
        "jot": (call("jot", arguments),),
        "stamp": (call("stamp", arguments),),
        "tell": (call(TELL, {"message": f"number {number}", "other_agent_id": other}),),
        "both": (parallel(call("mark", arguments), note),),
    }
    return Answer(pieces[kind])


def _tend(transcript: str) -> Answer | Refusal:
    """What a companion does with what it is told: it notes the last message, and now and then cannot work at all."""
    numbers = SAID.findall(transcript)
    if not numbers:
        return Answer((text("Nothing", " new."),))
    number = numbers[-1]
    if int(number) % 7 == 0:
        return Refusal(400)
    return Answer((call("memory_insert", {"label": "notes", "new_string": f"<after {number}>"}),))


def scenario(home: Home) -> None:
    """A bit of everything, in order. After the server is gone the rest comes to nothing."""
    agent = home.agents[0]
    home.armed.touch()
    for kind in ("mark", "insert", "both", "repeat"):
        home.send(agent, kind)
    home.compact(agent)
    home.send(agent, "ask")
    home.decide(agent, approve=True)
    home.edit(agent)
    slow = threading.Thread(target=home.send, args=(agent, "slow"))
    queued = threading.Thread(target=home.send, args=(agent, "say"))
    slow.start()
    with contextlib.suppress(*GONE):
        _wait_running(home, agent)
    queued.start()
    slow.join()
    queued.join()
    cancelled = threading.Thread(target=home.send, args=(agent, "slow"))
    cancelled.start()
    with contextlib.suppress(*GONE):
        _wait_running(home, agent)
    home.cancel(agent)
    cancelled.join()
    home.send(agent, "ask")
    home.cancel(agent)


def background(home: Home) -> None:
    """A tool that runs apart, and a file that is read in the background."""
    agent = home.agents[0]
    home.armed.touch()
    home.send(agent, "jot")
    home.upload(agent, FILE)
    with contextlib.suppress(*GONE):
        while home.server.get("/v1/jobs/active").json:
            time.sleep(0.01)
    home.send(agent, "jot")


def elsewhere(home: Home) -> None:
    """A tool of an MCP server."""
    home.reach_stamps()
    home.populate(1)
    home.armed.touch()
    for _ in range(2):
        home.send(home.agents[-1], "stamp")


def companions(home: Home) -> None:
    """Turns after every second of which a companion works, in peace once and then while its agent does."""
    agent = home.agents[0]
    home.watch(agent)
    home.armed.touch()
    home.send(agent, "insert")
    home.send(agent, "slow")
    with contextlib.suppress(*GONE):
        while home.server.get("/v1/runs/?active=true").json:
            time.sleep(0.01)
    for kind in ("say", "both", "say"):
        home.send(agent, kind)


def talk(home: Home) -> None:
    """An agent that says something to another and waits for the answer."""
    home.populate(1)
    home.armed.touch()
    for _ in range(2):
        home.send(home.agents[0], "tell")


def _wait_running(home: Home, agent: str) -> None:
    """Waits for a run of the agent to be under way, or for none to come of it."""
    for _ in range(400):
        found = home.server.get(f"/v1/runs/?agent_id={agent}&active=true").json
        if any(json.loads(json.dumps(run))["status"] == "running" for run in found) or not home.server.running:
            return
