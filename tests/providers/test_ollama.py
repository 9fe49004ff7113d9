"""Ollama cuts what does not fit the window it gave a model, and says nothing. So the window is looked at before."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from perdure.domain.errors import ContextOverflow
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.providers.base import ModelRequest
from tests.contract.told import user
from tests.providers.cataloguing import cataloguing
from tests.providers.chat import STOP, chunk, message
from tests.providers.scripted import Asked, events, plain, run, serving, streams
from tests.rig.server import Server
from tests.rig.stores import SQLITE

TRAINED = 131_072
GIVEN = 4_096
SHOWN = {
    "capabilities": ["completion", "tools"],
    "model_info": {"general.architecture": "llama", "llama.context_length": TRAINED},
}
LONG = "There is a lot to say about tea. " * 450
"""Far more than 4,096 tokens, by any measure."""


class Ollama:
    """As one behaves that gives a model `GIVEN` tokens once it is loaded; plays an answer for each request."""

    def __init__(self, *names: str, tells_windows: bool = True) -> None:
        self.names = names
        self.running: set[str] = set()
        self.tells_windows = tells_windows
        self.reports: int | None = None
        """Tokens that it says the prompt had."""
        self.prompts: list[int] = []
        """Bytes of the prompts that were answered."""

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/v1/chat/completions":
            self.running.add(asked.json["model"])
            self.prompts.append(sum(len(str(each["content"])) for each in asked.json["messages"]))
            words = chunk({"content": f"answer {len(self.prompts)}"})
            usage = {"usage": {"prompt_tokens": self.reports, "completion_tokens": 2}} if self.reports else {}
            return await streams(*events(words, {**STOP, **usage}, "[DONE]"))(asked, writer)
        writer.write(plain(200, json.dumps(self._reply(asked)).encode()))
        return None

    def _reply(self, asked: Asked) -> Any:
        if asked.path == "/api/tags":
            return {"models": [{"name": name} for name in self.names]}
        if asked.path == "/api/generate":
            self.running.add(asked.json["model"])
        if asked.path == "/api/ps":
            window = {"context_length": GIVEN} if self.tells_windows else {}
            return {"models": [{"name": name, **window} for name in self.names if name in self.running]}
        return SHOWN if asked.path == "/api/show" else {"done": True, "done_reason": "load"}


def sent(ollama: Ollama, text: str, name: str = "llama3.1:8b") -> list[str]:
    """The paths that were asked for one request, after the list of models. Raises what the request raises."""

    async def go() -> list[str]:
        async with serving(ollama) as server, cataloguing({"OLLAMA_BASE_URL": server.url}) as catalog:
            model = await catalog.resolve(TENANT, f"ollama/{name}")
            if not ollama.running:
                assert model.context_window == TRAINED
            server.asked.clear()
            async for _ in catalog.stream(TENANT, ModelRequest(model=model, messages=[message("user", text)])):
                pass
            return [asked.path for asked in server.asked]

    return run(go())


def test_a_prompt_that_would_be_cut_is_not_sent() -> None:
    ollama = Ollama("llama3.1:8b")
    with pytest.raises(ContextOverflow) as raised:
        sent(ollama, LONG)
    assert raised.value.limit == GIVEN
    assert "a window of 4,096 tokens" in raised.value.detail
    assert "OLLAMA_CONTEXT_LENGTH" in raised.value.detail
    assert ollama.prompts == []


def test_what_fits_is_sent_and_a_model_that_is_loaded_is_not_loaded_again() -> None:
    ollama = Ollama("llama3.1:8b")
    assert sent(ollama, "hi") == ["/api/ps", "/api/generate", "/api/ps", "/v1/chat/completions"]
    assert sent(ollama, "hi") == ["/api/ps", "/v1/chat/completions"]


def test_a_prompt_that_was_cut_all_the_same_is_not_taken_for_a_short_one(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    """Text that is more tokens than its size lets expect."""
    ollama = Ollama("llama3.1:8b")
    ollama.reports = GIVEN // 2 + 2
    assert sent(ollama, LONG[: GIVEN * 5 // 2])[-1] == "/v1/chat/completions"
    [warning] = [line for line in logged() if line["event"] == "prompt_was_cut"]
    assert (warning["window"], warning["kept"]) == (GIVEN, GIVEN // 2 + 2)


def test_a_model_in_the_cloud_and_an_ollama_that_does_not_tell_are_taken_at_their_word() -> None:
    assert sent(Ollama("gpt-oss:120b-cloud"), LONG, "gpt-oss:120b-cloud") == ["/v1/chat/completions"]
    old = Ollama("llama3.1:8b", tells_windows=False)
    assert sent(old, LONG)[-1] == "/v1/chat/completions"


@pytest.mark.stores(SQLITE)
def test_an_agent_whose_window_is_larger_than_what_ollama_gives_compacts_and_goes_on(
    new_server: Callable[..., Server],
) -> None:
    ollama = Ollama("llama3.1:8b")

    def talk(url: str) -> list[dict[str, Any]]:
        server = new_server({"OLLAMA_BASE_URL": url}).start()
        agent = server.new_agent(model="ollama/llama3.1:8b", include_base_tools=False)
        assert agent["llm_config"]["context_window"] == 128_000
        replies = [
            server.post(f"/v1/agents/{agent['id']}/messages", {"messages": user(f"{turn}: {LONG[:6000]}")}).json
            for turn in range(4)
        ]
        server.stop()
        return replies

    async def go() -> list[dict[str, Any]]:
        async with serving(ollama) as there:
            return await asyncio.to_thread(talk, there.url)

    replies = run(go())
    assert [reply["stop_reason"]["stop_reason"] for reply in replies] == ["end_turn"] * 4, msgspec.json.encode(replies)
    assert len(ollama.prompts) > 4, "summaries were asked for"
    assert max(ollama.prompts) < GIVEN * 4, "nothing was sent that would have been cut"
