"""Two model servers no one here wrote, and the scripted one for what they cannot do, behind perdure in each dialect.

A `Scene` is what the model does, in the words of each of the three; `Stage.play` has it done in one column of the
matrix (who answers, and in which dialect) and gives the turn that came of it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.rig.aimock import MODEL, AiMock
from tests.rig.answers import Piece
from tests.rig.http import Frame
from tests.rig.llmock import LlMock
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

DIALECTS = ("openai_chat", "openai_responses", "anthropic", "gemini")
AIMOCK, LLMOCK, SCRIPTED = "aimock", "llmock", "scripted"
COLUMNS = [(who, dialect) for who in (AIMOCK, LLMOCK) for dialect in DIALECTS]
HANDLES = {
    "openai_chat": f"openai/{MODEL}", "openai_responses": f"responses/{MODEL}",
    "anthropic": "anthropic/claude-3-5-sonnet-20241022", "gemini": "google_ai/gemini-2.5-pro",
}  # fmt: skip
PATHS = {
    "openai_chat": "/v1/chat/completions", "openai_responses": "/v1/responses",
    "anthropic": "/anthropic/v1/messages", "gemini": "/gemini/v1beta/models/*",
}  # fmt: skip
"""Where llmock is asked in each dialect."""


class Scene(NamedTuple):
    """What the model does: a fixture of aimock for each step, behaviours of llmock, the pieces of each scripted answer.

    An empty one says that it cannot be done there; then the scripted server does it.
    """

    aimock: Sequence[dict[str, Any]] = ()
    llmock: Sequence[dict[str, Any]] = ()
    scripted: Sequence[Sequence[Piece]] = ()


class Turn(NamedTuple):
    """A turn in one column: the agent whose turn it was, its server, and the frames."""

    server: Server
    agent: str
    frames: list[Frame]

    @property
    def kinds(self) -> list[str]:
        """The types of its frames, a run of one type counted once."""
        kinds = [frame.kind for frame in self.frames]
        return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]

    def pieces(self, kind: str) -> list[str]:
        """What each frame of a type says."""
        return [_text(frame.json) for frame in self.frames if frame.kind == kind]

    def said(self, kind: str = "assistant_message") -> str:
        return "".join(self.pieces(kind))

    @property
    def error(self) -> str | None:
        """The type of the error that it ended with. Its ending has to be right."""
        kinds = [frame.kind for frame in self.frames]
        failed = kinds[-2] == "error_message"
        ending = ["stop_reason", "usage_statistics", *(["error_message"] if failed else []), "[DONE]"]
        assert kinds[-len(ending) :] == ending
        return self.frames[-2].json["error_type"] if failed else None

    def history(self, kind: str = "assistant_message") -> str:
        """What is stored of a type."""
        items = self.server.get(f"/v1/agents/{self.agent}/messages?limit=1000").json
        return "".join(_text(item) for item in items if item["message_type"] == kind)


class Stage:
    """The three servers of models, and a perdure in front of each, started when it is first played on."""

    def __init__(
        self, folder: Path, models: ModelServer, scenes: dict[str, Scene], start: Callable[[Any], Any]
    ) -> None:
        """`start` enters a context manager that is left with the test's module."""
        self._folder = folder
        self._models = models
        self._scenes = scenes
        self._start = start
        self._servers: dict[str, Server] = {}
        self._scripts: list[Script] = []
        fixtures = [_named(name, step) for name, scene in scenes.items() for step in scene.aimock]
        self.aimock: AiMock = start(AiMock(folder, fixtures))
        self.llmock: LlMock = start(LlMock(folder))

    def play(self, who: str, dialect: str, name: str, content: Any = None, **settings: str) -> Turn:
        """A turn of a new agent: what others were asked before must not reach the model.

        `settings` are for a perdure of their own in front. llmock is then not reset before, since there are others.
        """
        scene = self._scenes[name]
        handle = HANDLES[dialect]
        if not (scene.aimock if who == AIMOCK else scene.llmock):
            who = SCRIPTED
            handle = self._script(dialect, scene).handle
        elif who == LLMOCK:
            if not settings:
                self.llmock.reset()
            only = {"match": {"path": PATHS[dialect], **({"stream": True} if dialect == "anthropic" else {})}}
            self.llmock.behave(*({**only, **each} for each in scene.llmock))
        server = self.server(who, **settings)
        memory = [{"label": "human", "value": "-"}]
        model = {"provider_type": "openai", "parallel_tool_calls": True}
        agent = server.new_agent(model=handle, memory_blocks=memory, model_settings=model)["id"]
        return take_turn(server, agent, f"{name}!" if content is None else content)

    def server(self, who: str, **settings: str) -> Server:
        """The perdure in front of one of them."""
        key = f"{who}-{len(settings)}"
        if key not in self._servers:
            self._servers[key] = self._start(Server(self._folder / key, self._environment(who) | settings))
        return self._servers[key]

    def faults(self) -> list[str]:
        """What a provider would have refused of all that the scripted models were sent."""
        return [fault for script in self._scripts for fault in script.violations]

    def _script(self, dialect: str, scene: Scene) -> Script:
        script = scripted(self._models, dialect)
        for pieces in scene.scripted:
            script.answer(*pieces)
        self._scripts.append(script)
        return script

    def _environment(self, who: str) -> dict[str, str]:
        if who == SCRIPTED:
            return scripted_environment(self._models)
        url = self.aimock.url if who == AIMOCK else self.llmock.url
        claude, gemini = (url, url) if who == AIMOCK else (f"{url}/anthropic", f"{url}/gemini/v1beta")
        return {
            "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{url}/v1", **responses_at(f"{url}/v1"),
            "ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": claude,
            "GEMINI_API_KEY": "none", "GEMINI_BASE_URL": gemini,
        }  # fmt: skip


def take_turn(server: Server, agent: str, content: Any = "hi") -> Turn:
    """A turn of an agent, streamed token by token."""
    body = {"messages": [{"role": "user", "content": content}], "stream_tokens": True, "include_pings": False}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return Turn(server, agent, stream.read())


def scripted(models: ModelServer, dialect: str) -> Script:
    """A scripted model that is asked in this dialect."""
    make = {"anthropic": models.claude, "gemini": models.gemini}
    script = make.get(dialect, models.script)()
    if dialect == "openai_responses":
        script.handle = f"responses/{script.name}"
    return script


def scripted_environment(models: ModelServer) -> dict[str, str]:
    """What a server needs in its environment to ask the scripted models in each dialect."""
    return {
        **models.environment, **models.claude_environment, **models.gemini_environment,
        **responses_at(f"{models.url}/v1"),
    }  # fmt: skip


def responses_at(url: str) -> dict[str, str]:
    """A provider `responses` that is asked in Responses."""
    return {"PERDURE_PROVIDER_RESPONSES_BASE_URL": url, "PERDURE_PROVIDER_RESPONSES_DIALECT": "openai_responses"}


def _named(name: str, step: dict[str, Any]) -> dict[str, Any]:
    match = {"userMessage": f"{name}!", **step.get("match", {})}
    return {**step, "match": match}


def _text(item: dict[str, Any]) -> str:
    """What a frame or a stored message says."""
    match item["message_type"]:
        case "reasoning_message":
            return item["reasoning"]
        case "assistant_message":
            return item["content"]
        case "tool_call_message":
            calls = item["tool_calls"]
            return "".join(each.get("arguments") or "" for each in (calls if isinstance(calls, list) else [calls]))
        case _:
            return ""
