"""What `perdure doctor` says of models: each one accepted or refused with a reason, wherever it comes from."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import perdure
from tests.contract.told import user
from tests.providers.scripted import Asked, lists, run, serving
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server
from tests.rig.stores import SQLITE

KEY = "sk-canary-of-the-doctor-0123456789"
SHOWN: dict[str, Any] = {
    "good:8b": {"capabilities": ["completion", "tools"], "model_info": {}, "parameters": "num_ctx 8192"},
    "fine:8b": {"capabilities": ["completion", "tools"], "model_info": {}, "parameters": "num_ctx 8192"},
    "dumb:2b": {"capabilities": ["completion"], "model_info": {}},
    "nomic-embed-text": {"capabilities": ["embedding"], "model_info": {}},
}


def show(asked: Asked) -> Any:
    return SHOWN[asked.json["model"]]


def about_models(told: str) -> list[str]:
    return [line.partition("models")[2].strip() for line in told.splitlines() if line[9:15] == "models"]


def test_every_model_is_accepted_or_refused_and_why(tmp_path: Path) -> None:
    replies = {"/api/tags": {"models": [{"name": name} for name in SHOWN]}, "/api/show": show}

    async def go() -> str:
        async with serving(lists(replies)) as server:
            asked = {"OLLAMA_BASE_URL": server.url, "OLLAMA_API_KEY": KEY}
            done = await asyncio.to_thread(perdure, "doctor", "--data", str(tmp_path), "--port", "0", **asked)
            assert done.returncode == 0, done
            return done.stdout.replace(server.url, "URL")

    told = run(go())
    assert about_models(told) == [
        "ollama at URL/v1, with a key: 2 models",
        "ollama: accepted, 8,192 tokens: good:8b, fine:8b",
        "ollama: accepted for embeddings: nomic-embed-text",
        "ollama: refused, has no tool support: dumb:2b",
    ]
    assert KEY not in told


@pytest.mark.stores(SQLITE)
def test_providers_that_callers_added_and_those_left_alone_are_told(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    environment = {
        "PERDURE_PRIVATE_PROVIDERS": "1", "PERDURE_BREAKER_FAILURES": "1", "PERDURE_PASSWORD": "hush",
        **models.environment,
    }  # fmt: skip
    server = new_server(environment).start()
    known = {"headers": {"Authorization": "Bearer hush"}}
    added = {"name": "mine", "provider_type": "openai", "api_key": KEY, "base_url": f"{models.url}/v1"}
    assert server.post("/v1/providers/", added, **known).status == 200
    agent = server.post("/v1/agents/", {"model": script.handle}, **known).json["id"]
    script.refuse(500, "it is on fire")
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")}, **known)
    port = server.base_url.rpartition(":")[2]
    done = perdure("doctor", "--data", str(server.data), "--port", port, **environment)
    assert done.returncode == 0, done
    told = about_models(done.stdout)
    assert any("mine at" in line and "added by POST /v1/providers/" in line for line in told)
    assert any(line.startswith("mine: accepted") and script.name in line for line in told)
    [paused] = [line for line in told if f"leaves {script.name} alone" in line]
    assert paused.startswith("openai: ")
    assert "after 1 failures in a row: it is on fire" in paused
    assert KEY not in done.stdout
    server.stop()
    (server.data / "secret.key").unlink()
    done = perdure("doctor", "--data", str(server.data), "--port", "0", **environment)
    assert any(
        "mine" in line and "secret.key is not in the data directory" in line for line in about_models(done.stdout)
    )
    assert not (server.data / "secret.key").exists()


def test_a_gguf_file_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF\x03")
    done = perdure("doctor", "--data", str(tmp_path), "--port", "0", "--gguf", str(file))
    assert done.returncode == 1
    assert "pip install 'perdure[local]'" in done.stdout
