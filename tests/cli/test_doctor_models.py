"""What `perdure doctor` says of models: each one accepted or refused with a reason, wherever it comes from."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.commands import perdure
from tests.contract.told import user
from tests.providers.scripted import Asked, lists, plain, run, serving
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


HTML = plain(200, b"<html><title>nginx</title></html>", "text/html")
ODD: dict[str, tuple[bytes, str]] = {
    "page": (HTML, "Something else answers there, such as a page of a proxy: correct PERDURE_PROVIDER_PAGE_BASE_URL."),
    "door": (plain(401, b'{"error": "who are you?"}'), "who are you?. Set PERDURE_PROVIDER_DOOR_API_KEY."),
    "bare": (plain(404, b'{"detail": "Not Found"}'), "mostly it ends in /v1."),
    "void": (plain(200, b'{"data": []}'), "no models. Load one there, or see whether this is the right address."),
}


def test_a_server_that_is_not_what_was_meant_is_told_with_what_to_do(tmp_path: Path) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(ODD[asked.path.split("/")[1]][0])

    async def go() -> tuple[str, str]:
        async with serving(answer) as server:
            urls = {name: f"{server.url}/{name}/v1" for name in ODD}
            urls["gone"] = "http://127.0.0.1:9/v1"
            asked = {f"PERDURE_PROVIDER_{name.upper()}_BASE_URL": url for name, url in urls.items()}
            done = await asyncio.to_thread(perdure, "doctor", "--json", "--data", str(tmp_path), "--port", "0", **asked)
            assert done.returncode == 0, done
            return done.stdout, server.url

    told, url = run(go())
    found = msgspec.json.decode(told)
    assert found["can_start"] is True
    texts = {each["text"].split()[0]: each["text"] for each in found["findings"] if each["subject"] == "models"}
    for name, (_, remedy) in ODD.items():
        assert f"{url}/{name}/v1, without a key" in texts[name]
        assert texts[name].endswith(remedy)
    assert "Start it, or correct PERDURE_PROVIDER_GONE_BASE_URL." in texts["gone"]
