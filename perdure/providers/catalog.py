"""Which models can be used now: every provider asked for its list, and handles resolved against them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from perdure.domain.errors import Conflict, Invalid, ModelError, NotFound
from perdure.domain.models import Embedding, EmbeddingModel, Model
from perdure.domain.providers import SECRETS, ProviderCategory
from perdure.domain.providers import Provider as StoredProvider
from perdure.logs import Log
from perdure.providers.base import AnyDelta, ModelRequest, Provider, UsageDelta
from perdure.providers.breaker import Pause
from perdure.providers.configured import configured, how_to_configure, limits, patience
from perdure.providers.estimate import TokenEstimate, size_of
from perdure.providers.fall_back import Route, first_answer
from perdure.providers.handles import every, find, named, refuse, split
from perdure.providers.http import HttpClient
from perdure.providers.known_models import OPENAI_EMBEDDINGS, is_known_openai
from perdure.providers.known_providers import ALIASES, KNOWN_PROVIDERS
from perdure.providers.outbound import PublicResolver
from perdure.providers.source import ASK_SECONDS, Source
from perdure.providers.stored import SETTING, StoredProviders, Vendors

PROBE: Final = "How long is this vector?"

_OPENAI_URL: Final = next(kind.url for kind in KNOWN_PROVIDERS if kind.name == "openai")
_DEFAULT_MODEL_NAMES: Final = ("LETTA_DEFAULT_LLM_HANDLE", "PERDURE_DEFAULT_MODEL")
_DEFAULT_EMBEDDING_NAMES: Final = ("LETTA_DEFAULT_EMBEDDING_HANDLE", "PERDURE_DEFAULT_EMBEDDING")

_log = Log(__name__)

_Sources = Mapping[str, Source]


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `perdure doctor` shows of one provider. `refused` maps models that cannot serve an agent to the reason.

    `windows` holds the context windows of `models`, in tokens; `without_tools` those that cannot be told of tools.
    """

    name: str
    url: str | None
    has_key: bool
    category: ProviderCategory = "base"
    models: tuple[str, ...] = ()
    windows: Mapping[str, int] = {}
    without_tools: frozenset[str] = frozenset()
    embedding_models: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}
    error: ModelError | None = None


async def _none_stored(tenant: str) -> Sequence[StoredProvider]:
    return ()


def _sealed(blob: bytes) -> str:
    raise ModelError("llm_error", "This catalog was given nothing to open keys with.")


class Catalog:
    """The providers this server can reach: those of the environment, those it is given, and those of each tenant.

    A tenant's own come before the server's of the same name, and nobody else sees them: `stored` reads a tenant's, and
    `unseal` opens their keys. Their addresses must be of the open internet unless `allow_private`. `fall_backs` are the
    handles of models asked in the place of one that fails; `default_embedding` is that of an embedding model for those
    who name none, unless the environment has another. Owns the HTTP clients they share. Raises Invalid for an
    environment that makes no sense.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        providers: Sequence[Provider] = (),
        *,
        stored: Callable[[str], Awaitable[Sequence[StoredProvider]]] = _none_stored,
        unseal: Callable[[bytes], str] = _sealed,
        allow_private: bool = False,
        fall_backs: Sequence[str] = (),
        default_embedding: str | None = None,
    ) -> None:
        self.http = HttpClient(limits(environment))
        self._public_http = HttpClient(limits(environment), PublicResolver(SETTING))
        self._environment = environment
        every = [*configured(environment, self.http), *providers]
        self._patience = patience(environment)
        self._fall_backs = fall_backs
        self._default_embedding = default_embedding
        self._own = {provider.name: Source(provider, self._patience) for provider in every}
        self._vendors = Vendors(self.http, self._public_http, allow_private=allow_private)
        self._stored = StoredProviders(stored, unseal, self._vendors, self._patience)
        self._estimate = TokenEstimate()
        self._dimensions: dict[tuple[str | None, str], int] = {}

    @property
    def providers(self) -> Sequence[Provider]:
        """The server's own, in the order their models are listed."""
        return [source.provider for source in self._own.values()]

    async def models(self, tenant: str) -> list[Model]:
        """Every model a tenant can use now. A provider that fails is left out, and logged once."""
        return await every([source.models for source in (await self._sources(tenant)).values()])

    async def embedding_models(self, tenant: str) -> list[EmbeddingModel]:
        """Every embedding model a tenant can use now."""
        found = await every([source.embedding_models for source in (await self._sources(tenant)).values()])
        return [self._with_length(model) for model in found]

    async def resolve(self, tenant: str, handle: str) -> Model:
        """The model `handle` names. Raises Invalid for a handle of the wrong form, NotFound for one nobody serves.

        A provider whose list cannot be had is believed to serve what is asked for.
        """
        sources = await self._sources(tenant)
        lists = {name: source.models for name, source in sources.items()}
        provider_name, name = split(handle, lists, "gpt-4o")
        remote = sources[provider_name].remote if provider_name in sources else None
        known = remote is not None and remote.endpoint.url == _OPENAI_URL and is_known_openai(name)
        found = await find(lists, provider_name, name, patient=not known)
        if found is None and remote is not None and (known or lists[provider_name].failed):
            return remote.model(name)
        return found or await refuse(sources, lists, handle, provider_name, "model")

    async def resolve_embedding(self, tenant: str, handle: str) -> EmbeddingModel:
        """The embedding model `handle` names. Raises like `resolve`."""
        sources = await self._sources(tenant)
        lists = {name: source.embedding_models for name, source in sources.items()}
        provider_name, name = split(handle, lists, "text-embedding-3-small")
        remote = sources[provider_name].remote if provider_name in sources else None
        # Servers that speak OpenAI's protocol serve its embedding models by name, and rarely list them.
        known = remote is not None and provider_name == "openai" and name in OPENAI_EMBEDDINGS
        found = await find(lists, provider_name, name, patient=not known)
        if found is None and remote is not None and (known or lists[provider_name].failed):
            found = remote.embedding_model(name)
        found = found or await refuse(sources, lists, handle, provider_name, "embedding model")
        return await self._measured(tenant, found)

    async def default_model(self, tenant: str) -> str:
        """The handle for an agent created without one: the configured default, else the built-in model if it is alone.

        Raises Invalid, naming the handles there are, where somebody has to choose.
        """
        for variable in _DEFAULT_MODEL_NAMES:
            if handle := self._environment.get(variable, "").strip():
                return handle
        sources = await self._sources(tenant)
        models = await every([source.models for source in sources.values()])
        if models and all(source in self._own.values() and not source.remote for source in sources.values()):
            return models[0].handle
        raise Invalid(
            f"No model was given. Set 'model' to one of {named(models)}, or set {_DEFAULT_MODEL_NAMES[0]} "
            "to a handle that agents get when they name none."
        )

    def default_embedding(self) -> str | None:
        """The embedding handle for an agent created without one. None is fine: search works without embeddings."""
        named = (self._environment.get(variable, "").strip() for variable in _DEFAULT_EMBEDDING_NAMES)
        return next((handle for handle in named if handle), self._default_embedding)

    async def stream(self, tenant: str, request: ModelRequest) -> AsyncGenerator[Sequence[AnyDelta]]:
        """Asks the provider of `request.model`; see `Provider.stream`.

        What passes is asked again, and a fall-back answers where it does not pass (`AnsweredBy` says so), as long as
        nothing of the answer has come. Raises ModelError: for a provider that is not configured, too.
        """
        reported: tuple[ModelRequest, int] | None = None
        answer = first_answer(self._routes(tenant, request), self._patience)
        async with contextlib.aclosing(answer):
            async for asked, batch in answer:
                for delta in batch:
                    if type(delta) is UsageDelta:
                        reported = asked, delta.usage.prompt_tokens
                yield batch
        if reported:
            self._estimate.learn(*reported)

    async def _routes(self, tenant: str, request: ModelRequest) -> AsyncGenerator[Route]:
        """The model that is asked, and the fall-backs that can take its place.

        What a tenant sends to a provider of their own goes to nobody else.
        """
        sources = await self._sources(tenant)
        source = _source_of(sources, request.model.provider_name)
        is_own = source is self._own.get(source.provider.name)
        handles = [handle for handle in self._fall_backs if is_own and handle != request.model.handle]
        if source.remote and source.remote.cuts_prompts:
            size = size_of(request.messages, request.tools)
            window = await source.remote.check_room(request.model, self.estimate(request.model, size))
            self._estimate.note_window(request.model, window)
        yield Route(source, request, is_last=not handles)
        for left, handle in enumerate(handles, 1 - len(handles)):
            model = await self._stand_in(tenant, handle, request)
            if model is not None:
                spare = msgspec.structs.replace(request, model=model)
                yield Route(_source_of(sources, model.provider_name), spare, is_last=not left)

    async def _stand_in(self, tenant: str, handle: str, request: ModelRequest) -> Model | None:
        """The fall-back of this handle, unless it is not there or cannot hold the request."""
        try:
            model = await self.resolve(tenant, handle)
        except (Invalid, NotFound) as error:
            _log.warning("fall_back_passed_over", model=handle, reason=error.message)
            return None
        needed = self.estimate(model, size_of(request.messages, request.tools))
        if needed > model.context_window:
            reason = f"the request needs about {needed} tokens, and it holds {model.context_window}"
            _log.warning("fall_back_passed_over", model=handle, reason=reason)
            return None
        return model

    async def count(self, tenant: str, request: ModelRequest) -> int:
        """Tokens of the prompt: as its provider counts them, else as they are estimated."""
        source = _source_of(await self._sources(tenant), request.model.provider_name)
        try:
            counted = await source.provider.count(request)
        except ModelError as error:
            _log.info("prompt_not_counted", model=request.model.handle, reason=error.detail)
            counted = None
        if counted is None:
            return self.estimate(request.model, size_of(request.messages, request.tools))
        self._estimate.learn(request, counted)
        return counted

    async def embed(self, tenant: str, model: EmbeddingModel | str, texts: Sequence[str]) -> list[Embedding]:
        """What a model, or the one of that handle, makes of each text, in their order.

        A text longer than the model takes is cut at its end. Raises ModelError where the model cannot be asked, and
        like `resolve` for a handle.
        """
        if isinstance(model, str):
            model = await self.resolve_embedding(tenant, model)
        source = _source_of(await self._sources(tenant), model.provider_name)
        vectors = await source.provider.embed(model, texts)
        return [Embedding(model.handle, vector) for vector in vectors]

    async def _measured(self, tenant: str, model: EmbeddingModel) -> EmbeddingModel:
        """The model with the length of its vectors, which it is asked for once where neither list nor name tells it."""
        if not self._with_length(model).dimensions:
            try:
                [tried] = await self.embed(tenant, model, [PROBE])
            except ModelError as error:
                _log.warning("embedding_not_measured", model=model.handle, reason=error.detail)
                return model
            self._dimensions[model.endpoint, model.name] = tried.dimensions
        return self._with_length(model)

    def _with_length(self, model: EmbeddingModel) -> EmbeddingModel:
        # Not by the handle: two tenants may give the same name to different servers.
        known = self._dimensions.get((model.endpoint, model.name), 0)
        return msgspec.structs.replace(model, dimensions=model.dimensions or known)

    def estimate(self, model: Model, size: int) -> int:
        """About how many tokens `size` bytes (`estimate.size_of`) are to `model`, learnt from what it reported."""
        return self._estimate.tokens(model, size)

    def vet_name(self, name: str) -> None:
        """Raises Conflict for a name that the server's own providers use: it must stay clear who is asked."""
        if name in self._own or name in ALIASES:
            raise Conflict(f"{name!r} is the name of one of the server's own providers. Choose another name.")

    async def vet(self, provider: StoredProvider) -> None:
        """Raises Invalid for a provider that could not be asked: of an unknown type, or at an address of no use."""
        self._vendors.remote(provider, dict.fromkeys(SECRETS, "any"))
        await self._vendors.check_host(provider)

    async def check(self, provider: StoredProvider, secrets: Mapping[str, str]) -> None:
        """Ask a provider whether it takes these keys. Raises Invalid like `vet`, ModelError for what it answers."""
        await self.vet(provider)
        remote = self._vendors.remote(provider, secrets)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await remote.check()
        except TimeoutError:
            raise ModelError("llm_timeout", f"It did not answer within {ASK_SECONDS:g} seconds.") from None

    def forget(self, tenant: str) -> None:
        """Read a tenant's providers again before they are used: they changed."""
        self._stored.forget(tenant)

    def paused(self) -> list[Pause]:
        """The server's own providers that are being left alone because they failed again and again."""
        return [state for source in self._own.values() if (state := source.breaker.state()) is not None]

    async def report(self, tenant: str) -> list[ProviderReport]:
        """How each provider of the server's and of a tenant's is doing, asked now."""
        sources = await self._sources(tenant)
        return list(
            await asyncio.gather(
                *(_report(source, is_own=self._own.get(name) is source) for name, source in sources.items())
            )
        )

    async def close(self) -> None:
        """Closes the providers and hangs up on everyone."""
        for source in self._own.values():
            await source.provider.close()
        await self.http.close()
        await self._public_http.close()

    async def _sources(self, tenant: str) -> _Sources:
        stored = await self._stored.of(tenant)
        return {**self._own, **stored} if stored else self._own


def _source_of(sources: _Sources, provider_name: str) -> Source:
    source = sources.get(provider_name) or sources.get(ALIASES.get(provider_name, provider_name))
    if source is None:
        how = how_to_configure(provider_name)
        raise ModelError("llm_error", f"Provider {provider_name!r} is not configured: {how}.")
    return source


async def _report(source: Source, *, is_own: bool) -> ProviderReport:
    models, embeddings, remote = source.models, source.embedding_models, source.remote
    await asyncio.gather(models.read(0.0), embeddings.read(0.0))
    return ProviderReport(
        name=source.provider.name,
        url=remote.endpoint.url if remote else None,
        has_key=bool(remote and (remote.endpoint.key or remote.endpoint.sign)),
        category="base" if is_own else "byok",
        models=tuple(model.name for model in models.items),
        windows={model.name: model.context_window for model in models.items},
        without_tools=frozenset(model.name for model in models.items if not model.supports_tools),
        embedding_models=tuple(model.name for model in embeddings.items),
        refused=remote.refused if remote else {},
        error=models.failed,
    )
