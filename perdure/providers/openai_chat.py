"""Providers that speak OpenAI's chat completions: one class for all, told apart by a row of data and its quirks."""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

from perdure.domain.errors import ModelError
from perdure.domain.models import EmbeddingModel, Model
from perdure.providers import listing
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_models import context_window, dimensions
from perdure.providers.known_providers import KnownProvider
from perdure.providers.openai_body import chat_body, reasons_like_openai
from perdure.providers.openai_chunks import DONE, ChunkReader

_LISTINGS: Final = {
    "openai": listing.list_openai,
    "ollama": listing.list_ollama,
    "lmstudio": listing.list_lmstudio,
    "llamacpp": listing.list_llamacpp,
}


class OpenAIChat:
    """A `Provider` reached at `endpoint` that behaves as `kind` says.

    `window` (tokens) overrides the context window of every model it serves.
    """

    def __init__(self, http: HttpClient, endpoint: Endpoint, kind: KnownProvider, window: int | None = None) -> None:
        self._http = http
        self._kind = kind
        self._window = window
        self.endpoint = endpoint
        self.refused: Mapping[str, str] = {}
        """Models of the last listing that cannot serve an agent, with the reason."""

    @property
    def name(self) -> str:
        return self.endpoint.name

    async def models(self) -> Sequence[Model]:
        """What it serves now and an agent can use. Raises ModelError where it cannot be asked."""
        listed = [model for model in await self._listed() if model.kind == "chat"]
        self.refused = {model.name: model.refused for model in listed if model.refused}
        return [self.model(model.name, model.window) for model in listed if not model.refused]

    async def embedding_models(self) -> Sequence[EmbeddingModel]:
        """What it serves to turn text into vectors. Raises ModelError where it cannot be asked."""
        listed = [model for model in await self._listed() if model.kind == "embedding"]
        return [self.embedding_model(model.name, model.dimensions) for model in listed]

    def model(self, name: str, window: int | None = None) -> Model:
        """The model of that name, whether or not it exists. `window` (tokens) is what its server says of it."""
        return Model(
            handle=f"{self.name}/{name}",
            name=name,
            provider_name=self.name,
            provider_type=self._kind.types[0],
            endpoint_type=self._kind.types[1],
            context_window=self._window or window or context_window(name, self._kind.types[1]),
            endpoint=self.endpoint.url,
            display_name=name,
        )

    def embedding_model(self, name: str, size: int | None = None) -> EmbeddingModel:
        """The embedding model of that name, whether or not it exists, with vectors of `size` floats."""
        return EmbeddingModel(
            handle=f"{self.name}/{name}",
            name=name,
            provider_name=self.name,
            provider_type=self._kind.types[0],
            endpoint_type=self._kind.types[2],
            dimensions=size or dimensions(name),
            endpoint=self.endpoint.url,
            display_name=name,
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[AnyDelta]]:
        """Asks, and yields what arrives. Once the model has said why it stopped, a stream cut short is no error."""
        quirks = self._kind.quirks
        hidden = reasons_like_openai(request.model.name, quirks)
        reader = ChunkReader(self.endpoint, request.messages, hidden_reasoning=hidden)
        reads = self._http.sse(
            self.endpoint, f"{self.endpoint.url}/chat/completions", chat_body(request, quirks), last=DONE
        )
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

    async def close(self) -> None:
        """Nothing of its own to close: connections belong to the client it was given."""

    async def _listed(self) -> Sequence[listing.Listed]:
        return await _LISTINGS[self._kind.listing](self._http, self.endpoint)
