"""The dialect of OpenAI's chat completions, which most servers speak, each with quirks of its own."""

import contextlib
from collections.abc import AsyncGenerator, Sequence

from perdure.domain.errors import ModelError
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import KnownProvider
from perdure.providers.openai_body import chat_body, reasons_like_openai
from perdure.providers.openai_chunks import DONE, ChunkReader


async def stream(
    http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks, and yields what arrives. Once the model has said why it stopped, a stream cut short is no error."""
    hidden = reasons_like_openai(request.model.name, kind.quirks)
    reader = ChunkReader(endpoint, request.messages, hidden_reasoning=hidden)
    reads = http.sse(endpoint, f"{endpoint.url}/chat/completions", chat_body(request, kind.quirks), DONE.__eq__)
    async with contextlib.aclosing(reads):
        try:
            async for payloads in reads:
                deltas = reader.read(payloads)
                if deltas:
                    yield deltas
                if reader.failure:
                    raise reader.failure
                if reader.done:
                    return
        except ModelError:
            if not reader.finished:
                raise
    rest: list[AnyDelta] = []
    reader.end(rest)
    yield rest
