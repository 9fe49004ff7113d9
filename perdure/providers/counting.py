"""How many tokens a prompt is, where a provider counts for those who ask: nothing is answered, and nothing costs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import msgspec

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
    headers = {**endpoint.headers, **({"anthropic-beta": ",".join(asked.betas)} if asked.betas else {})}
    body = {name: asked.body[name] for name in _COUNTED if name in asked.body}
    counted = msgspec.structs.replace(endpoint, headers=headers)
    answer = await http.post_json(
        counted, f"{endpoint.url}/messages/count_tokens", {"model": request.model.name, **body}
    )
    return _field(answer, "input_tokens")


async def _gemini(http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest) -> Any:
    body: dict[str, Any] = msgspec.json.decode(gemini_body(request))
    if not kind.publisher:
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
    "gemini": _gemini,
    "llamacpp": _llamacpp,
    "vllm": _vllm,
}
