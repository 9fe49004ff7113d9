"""How many tokens a prompt is, where a provider counts for those who ask: nothing is answered, and nothing costs."""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import msgspec

from perdure.providers.anthropic import ON_VERTEX, bedrock_body, bedrock_url, with_betas
from perdure.providers.anthropic_body import messages_body
from perdure.providers.base import ModelRequest
from perdure.providers.gemini import method
from perdure.providers.gemini_body import gemini_body
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import Counting, KnownProvider
from perdure.providers.listing import root
from perdure.providers.openai_body import chat_body

_COUNTED: Final = ("messages", "system", "tools", "tool_choice", "thinking")
"""The fields that Anthropic counts by; it refuses others."""


async def count(http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest) -> int | None:
    """Tokens of the prompt; None where this provider does not count. Raises ModelError where it cannot be asked."""
    ask = _WAYS.get(kind.counting)
    if ask is None:
        return None
    tokens = await ask(http, endpoint, kind, request)
    if not isinstance(tokens, int):
        raise endpoint.failed("answered a request for a count without one")
    return tokens


async def _anthropic(http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest) -> Any:
    asked = messages_body(request)
    body = {"model": request.model.name, **{name: asked.body[name] for name in _COUNTED if name in asked.body}}
    url = f"{endpoint.url}/messages/count_tokens"
    if kind.publisher:
        url, body = f"{endpoint.url}/models/count-tokens:rawPredict", {"anthropic_version": ON_VERTEX, **body}
    return _field(await http.post_json(with_betas(endpoint, asked.betas), url, body), "input_tokens")


async def _bedrock(http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest) -> Any:
    body = base64.b64encode(msgspec.json.encode(bedrock_body(messages_body(request)))).decode()
    url = f"{bedrock_url(endpoint, request.model.name)}/count-tokens"
    return _field(await http.post_json(endpoint, url, {"input": {"invokeModel": {"body": body}}}), "inputTokens")


async def _gemini(http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest) -> Any:
    body: dict[str, Any] = msgspec.json.decode(gemini_body(request))
    if kind.publisher:
        body.pop("toolConfig", None)  # A field that Vertex does not know there.
    else:
        body = {"generateContentRequest": {"model": f"models/{request.model.name}", **body}}
    return _field(
        await http.post_json(endpoint, method(endpoint, request.model.name, "countTokens"), body), "totalTokens"
    )


async def _llamacpp(http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest) -> Any:
    body: dict[str, Any] = msgspec.json.decode(chat_body(request, kind.quirks))
    return _field(await http.post_json(endpoint, f"{endpoint.url}/chat/completions/input_tokens", body), "input_tokens")


async def _vllm(http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest) -> Any:
    """vLLM refuses fields that have nothing to do with tokens."""
    body: dict[str, Any] = msgspec.json.decode(chat_body(request, kind.quirks))
    asked = {name: body[name] for name in ("model", "messages", "tools") if name in body}
    return _field(await http.post_json(endpoint, f"{root(endpoint)}/tokenize", asked), "count")


def _field(answer: Any, name: str) -> Any:
    return cast("dict[str, Any]", answer).get(name) if isinstance(answer, dict) else None


_WAYS: Final[Mapping[Counting, Callable[[HttpClient, Endpoint, KnownProvider, ModelRequest], Awaitable[Any]]]] = {
    "anthropic": _anthropic,
    "bedrock": _bedrock,
    "gemini": _gemini,
    "llamacpp": _llamacpp,
    "vllm": _vllm,
}
