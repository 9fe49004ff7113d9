"""Prompts counted by whoever will read them, before they are sent for real."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.messages import Message
from perdure.providers.base import ModelRequest, UsageDelta
from perdure.providers.estimate import size_of
from perdure.providers.google_auth import METADATA_NAME, METADATA_PATH
from tests.providers.cataloguing import cataloguing
from tests.providers.chat import ADD, HELLO, SYSTEM, call, message, returned
from tests.providers.scripted import Asked, lists, run, serving
from tests.rig.engine import MODEL, Engine

TALK: list[Message] = [SYSTEM, HELLO, message("assistant", call("1")), returned("1")]


def counted(handle: str, replies: dict[str, Any], **environment: str) -> tuple[int, Asked]:
    """The count, and the last thing that was asked for."""

    async def go() -> tuple[int, Asked]:
        async with serving(lists(replies)) as server:
            at = {
                name: value.replace("URL", server.url).replace("HOST", server.url.removeprefix("http://"))
                for name, value in environment.items()
            }
            async with cataloguing(at) as catalog:
                model = await catalog.resolve(TENANT, handle)
                request = ModelRequest(model=model, messages=TALK, tools=[ADD])
                return await catalog.count(TENANT, request), server.asked[-1]

    return run(go())


def test_anthropic_counts_what_it_would_read() -> None:
    replies = {"/v1/messages/count_tokens": {"input_tokens": 2095}}
    tokens, asked = counted("anthropic/claude-haiku-4-5", replies, ANTHROPIC_BASE_URL="URL", ANTHROPIC_API_KEY="k")
    assert tokens == 2095
    assert asked.path == "/v1/messages/count_tokens"
    assert asked.headers["x-api-key"] == "k"
    assert asked.json["model"] == "claude-haiku-4-5"
    assert asked.json["tools"][0]["name"] == "add"
    assert len(asked.json["messages"]) == 3
    # What belongs to the answer is refused there.
    assert {"max_tokens", "stream", "temperature"}.isdisjoint(asked.json)


def test_gemini_counts_a_whole_request() -> None:
    path = "/v1beta/models/gemini-3-flash:countTokens"
    tokens, asked = counted(
        "google_ai/gemini-3-flash", {path: {"totalTokens": 31}}, GEMINI_BASE_URL="URL", GEMINI_API_KEY="k"
    )
    assert (tokens, asked.path) == (31, path)
    sent = asked.json["generateContentRequest"]
    assert sent["model"] == "models/gemini-3-flash"
    assert {"contents", "tools", "systemInstruction"} <= sent.keys()


def test_vllm_counts_with_its_own_tokenizer() -> None:
    replies = {"/v1/models": {"data": [{"id": "m", "max_model_len": 4096}]}, "/tokenize": {"count": 17, "tokens": []}}
    tokens, asked = counted("vllm/m", replies, VLLM_API_BASE="URL")
    assert (tokens, asked.path, asked.json.keys()) == (17, "/tokenize", {"model", "messages", "tools"})


def test_bedrock_counts_a_request_as_it_would_be_sent() -> None:
    path = "/model/us.anthropic.claude-opus-5/count-tokens"
    account = {"AWS_REGION": "us-east-1", "AWS_BEARER_TOKEN_BEDROCK": "k"}
    tokens, asked = counted(
        "bedrock/us.anthropic.claude-opus-5", {path: {"inputTokens": 17}}, ANTHROPIC_BEDROCK_BASE_URL="URL", **account
    )
    assert tokens == 17
    body = json.loads(base64.b64decode(asked.json["input"]["invokeModel"]["body"]))
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert {"messages", "system", "tools", "max_tokens"} <= body.keys()


def test_vertex_counts_for_claude_and_for_gemini() -> None:
    place = {"GOOGLE_CLOUD_LOCATION": "global", "GOOGLE_CLOUD_PROJECT": "p", "ANTHROPIC_VERTEX_PROJECT_ID": "p"}
    place |= {METADATA_NAME: "HOST"}
    at = "/v1beta1/projects/p/locations/global/publishers"
    paths = {
        f"{at}/anthropic/models/count-tokens:rawPredict": {"input_tokens": 3},
        f"{at}/google/models/gemini-3-flash:countTokens": {"totalTokens": 4},
        METADATA_PATH: {"access_token": "t", "expires_in": 3599},
    }
    tokens, asked = counted("anthropic_vertex/claude-opus-5", paths, ANTHROPIC_VERTEX_BASE_URL="URL", **place)
    assert (tokens, asked.json["model"], asked.json["anthropic_version"]) == (3, "claude-opus-5", "vertex-2023-10-16")
    tokens, asked = counted("google_vertex/gemini-3-flash", paths, GOOGLE_VERTEX_BASE_URL="URL", **place)
    assert tokens == 4
    assert asked.json.keys() == {"contents", "systemInstruction", "tools", "generationConfig"}


def test_who_does_not_count_is_estimated() -> None:
    tokens, asked = counted("openai/gpt-4o", {}, OPENAI_BASE_URL="URL/v1")
    assert tokens == -(-size_of(TALK, [ADD]) // 3)
    assert asked.method == "GET"


@pytest.mark.parametrize("answer", [404, {}, {"input_tokens": "many"}, []])
def test_a_count_that_cannot_be_had_is_estimated(answer: Any) -> None:
    replies = {"/v1/messages/count_tokens": answer}
    tokens, _ = counted("anthropic/claude-haiku-4-5", replies, ANTHROPIC_BASE_URL="URL", ANTHROPIC_API_KEY="k")
    assert tokens == -(-size_of(TALK, [ADD]) // 3)


def test_a_count_teaches_the_estimate() -> None:
    async def go() -> tuple[int, int]:
        prompt = [message("user", "The quick brown fox. " * 500)]
        async with (
            serving(lists({"/v1/messages/count_tokens": {"input_tokens": 10_000}})) as server,
            cataloguing({"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "k"}) as catalog,
        ):
            model = await catalog.resolve(TENANT, "anthropic/claude-haiku-4-5")
            before = catalog.estimate(model, 9_000)
            await catalog.count(TENANT, ModelRequest(model=model, messages=prompt))
            return before, catalog.estimate(model, 9_000)

    before, after = run(go())
    assert after > 2 * before


def test_llama_cpp_counts_what_it_then_reports(tmp_path: Path) -> None:
    async def go() -> tuple[int, int]:
        async with cataloguing(engine.environment) as catalog:
            model = await catalog.resolve(TENANT, f"llamacpp/{MODEL}")
            request = ModelRequest(model=model, messages=TALK, tools=[ADD])
            tokens = await catalog.count(TENANT, request)
            deltas = [delta async for batch in catalog.stream(TENANT, request) for delta in batch]
            [usage] = [delta.usage for delta in deltas if isinstance(delta, UsageDelta)]
            return tokens, usage.prompt_tokens

    with Engine(tmp_path) as engine:
        tokens, reported = run(go())
    assert tokens == reported
