"""Providers reached over the network: one class for all, told apart by a row of data and the dialect it names."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from perdure.domain.models import EmbeddingModel, Model
from perdure.domain.providers import ProviderCategory
from perdure.providers import (
    anthropic,
    counting,
    embeddings,
    gemini,
    images,
    listing,
    ollama,
    openai_chat,
    openai_responses,
)
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_models import context_window, dimensions, is_responses_only
from perdure.providers.known_providers import DialectName, KnownProvider, Listing
from perdure.providers.turns import Turns


class Dialect(Protocol):
    """One wire protocol: asks at `endpoint`, as `kind` says, and yields what arrives (`Provider.stream`)."""

    def __call__(
        self, http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
    ) -> AsyncGenerator[Sequence[AnyDelta]]: ...


class _List(Protocol):
    async def __call__(self, http: HttpClient, endpoint: Endpoint) -> Sequence[listing.Listed]: ...


_DIALECTS: Final[Mapping[DialectName, Dialect]] = {
    "openai_chat": openai_chat.stream,
    "anthropic": anthropic.stream,
    "anthropic_bedrock": anthropic.stream_bedrock,
    "anthropic_vertex": anthropic.stream_vertex,
    "gemini": gemini.stream,
    "openai_responses": openai_responses.stream,
}
_LISTINGS: Final[Mapping[Listing, _List]] = {
    "openai": listing.list_openai,
    "ollama": listing.list_ollama,
    "lmstudio": listing.list_lmstudio,
    "llamacpp": listing.list_llamacpp,
    "anthropic": listing.list_anthropic,
    "bedrock": listing.list_bedrock,
    "gemini": listing.list_gemini,
    "vertex": listing.list_vertex,
    "azure": listing.list_azure,
}


class RemoteProvider:
    """A `Provider` reached at `endpoint` that behaves as `kind` says.

    `window` (tokens) overrides the context window of every model it serves. `category` says whose it is.
    """

    def __init__(
        self,
        http: HttpClient,
        endpoint: Endpoint,
        kind: KnownProvider,
        window: int | None = None,
        category: ProviderCategory = "base",
    ) -> None:
        self._http = http
        self.kind = kind
        self._window = window
        self._category: ProviderCategory = category
        self.endpoint = endpoint
        self.refused: Mapping[str, str] = {}
        """Models of the last listing that cannot serve an agent, with the reason."""
        self._turns = Turns(endpoint.name) if kind.listing == "llamacpp" else None

    @property
    def name(self) -> str:
        return self.endpoint.name

    async def models(self) -> Sequence[Model]:
        """What it serves now and an agent can use. Raises ModelError where it cannot be asked."""
        listed = [model for model in await self._listed() if model.kind == "chat"]
        self.refused = {model.name: why for model in listed if (why := model.refused or self._why_not(model.name))}
        return [
            self.model(model.name, model.window, tools=model.tools)
            for model in listed
            if model.name not in self.refused
        ]

    async def embedding_models(self) -> Sequence[EmbeddingModel]:
        """What it serves to turn text into vectors. Raises ModelError where it cannot be asked."""
        listed = [model for model in await self._listed() if model.kind == "embedding"]
        return [self.embedding_model(model.name, model.dimensions) for model in listed]

    def model(self, name: str, window: int | None = None, *, tools: bool = True) -> Model:
        """The model of that name, whether or not it exists. `window` (tokens) and `tools` are what its server says."""
        return Model(
            handle=f"{self.name}/{name}",
            name=name,
            provider_name=self.name,
            provider_type=self.kind.types[0],
            endpoint_type=self.kind.types[1],
            context_window=self._window or window or context_window(name, self.kind.types[1]),
            endpoint=self.endpoint.url,
            display_name=name,
            supports_tools=tools,
            provider_category=self._category,
        )

    def embedding_model(self, name: str, size: int | None = None) -> EmbeddingModel:
        """The embedding model of that name, whether or not it exists, with vectors of `size` floats."""
        return EmbeddingModel(
            handle=f"{self.name}/{name}",
            name=name,
            provider_name=self.name,
            provider_type=self.kind.types[0],
            endpoint_type=self.kind.types[2],
            dimensions=size or dimensions(name),
            endpoint=self.endpoint.url,
            display_name=name,
            provider_category=self._category,
        )

    def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[AnyDelta]]:
        answer = self._asked(request)
        return answer if self._turns is None else self._turns.taken(answer)

    async def embed(self, model: EmbeddingModel, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return await embeddings.embed(self._http, self.endpoint, self.kind.embeddings, model, texts)

    async def count(self, request: ModelRequest) -> int | None:
        """Tokens of the prompt as the provider counts them; None where it does not. Raises ModelError."""
        return await counting.count(self._http, self.endpoint, self.kind, request)

    @property
    def cuts_prompts(self) -> bool:
        """Whether its server cuts a prompt that is too long, instead of refusing it."""
        return self.kind.listing == "ollama"

    async def check_room(self, model: Model, tokens: int) -> int | None:
        """The window of a model whose server cuts prompts, in tokens; None where it is not told.

        Raises ContextOverflow where a prompt of about so many tokens would be cut.
        """
        return await ollama.check_room(self._http, self.endpoint, model, tokens)

    async def check(self) -> None:
        """Ask for something that needs its key. Raises ModelError where that is refused."""
        if self.kind.key_path:
            await self._http.get_json(self.endpoint, f"{self.endpoint.url}{self.kind.key_path}")
        else:
            await self._listed()

    async def close(self) -> None:
        """Nothing of its own to close: connections belong to the client it was given."""

    def _asked(self, request: ModelRequest) -> AsyncGenerator[Sequence[AnyDelta]]:
        dialect = self.kind.dialect_of(request.model.name)
        ask = partial(_DIALECTS[dialect], self._http, self.endpoint, self.kind)
        if not images.has_images(request.messages):
            return ask(request)
        if dialect in ("openai_chat", "openai_responses"):
            return images.shown(lambda shown: ask(images.beside_returns(shown)), request)
        return images.shown(ask, request)

    def _why_not(self, name: str) -> str | None:
        if is_responses_only(name) and self.kind.dialect_of(name) != "openai_responses":
            return "served through OpenAI's Responses API only"
        return None

    async def _listed(self) -> Sequence[listing.Listed]:
        """What its server lists, each name once, without names that could not be stored or shown."""
        listed = await _LISTINGS[self.kind.listing](self._http, self.endpoint)
        return list({each.name: each for each in listed if each.name.isprintable()}.values())
