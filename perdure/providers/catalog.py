"""Which models can be used now: every configured provider asked for its list, and handles resolved against them."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, NoReturn, Protocol, TypeVar

import msgspec

from perdure.domain.errors import Invalid, ModelError, NotFound
from perdure.domain.models import Embedding, EmbeddingModel, Model
from perdure.logs import Log
from perdure.providers.base import AnyDelta, ModelRequest, Provider, UsageDelta
from perdure.providers.configured import configured, how_to_configure, limits
from perdure.providers.estimate import TokenEstimate
from perdure.providers.http import HttpClient
from perdure.providers.known_models import OPENAI_EMBEDDINGS, is_known_openai
from perdure.providers.known_providers import ALIASES, KNOWN_PROVIDERS

LIST_SECONDS: Final = 60.0
"""How long a list is trusted."""
FAILURE_SECONDS: Final = 10.0
"""How long a provider that failed is left in peace."""
MISS_SECONDS: Final = 5.0
"""A list older than this is asked for again when a handle is not in it: the model may be new."""
ASK_SECONDS: Final = 5.0
HANDLES_NAMED: Final = 10
PROBE: Final = "How long is this vector?"

_OPENAI_URL: Final = next(kind.url for kind in KNOWN_PROVIDERS if kind.name == "openai")
_DEFAULT_MODEL_NAMES: Final = ("LETTA_DEFAULT_LLM_HANDLE", "PERDURE_DEFAULT_MODEL")
_DEFAULT_EMBEDDING_NAMES: Final = ("LETTA_DEFAULT_EMBEDDING_HANDLE", "PERDURE_DEFAULT_EMBEDDING")

_log = Log(__name__)


class _Handled(Protocol):
    @property
    def handle(self) -> str: ...


_T = TypeVar("_T", bound=_Handled)


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `perdure doctor` shows of one provider. `refused` maps models that cannot serve an agent to the reason."""

    name: str
    url: str | None
    has_key: bool
    models: tuple[str, ...] = ()
    embedding_models: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}
    error: str | None = None


class Catalog:
    """The providers this server can reach: those of the environment, then those it is given.

    Owns the HTTP client they share. Raises Invalid for an environment that makes no sense.
    """

    def __init__(self, environment: Mapping[str, str], providers: Sequence[Provider] = ()) -> None:
        self.http = HttpClient(limits(environment))
        self._environment = environment
        self._remote = {provider.name: provider for provider in configured(environment, self.http)}
        self._built_in = {provider.name: provider for provider in providers}
        every: dict[str, Provider] = {**self._remote, **self._built_in}
        self._models = {name: _List(name, provider.models) for name, provider in every.items()}
        self._embeddings = {
            name: _List(name, provider.embedding_models, quiet=True) for name, provider in every.items()
        }
        self._every = every
        self._estimate = TokenEstimate()
        self._dimensions: dict[str, int] = {}

    @property
    def providers(self) -> Sequence[Provider]:
        """All of them, in the order their models are listed."""
        return tuple(self._every.values())

    async def models(self) -> list[Model]:
        """Every model that can be used now. A provider that fails is left out, and logged once."""
        return await _all(self._models)

    async def embedding_models(self) -> list[EmbeddingModel]:
        """Every embedding model that can be used now."""
        return [self._with_length(model) for model in await _all(self._embeddings)]

    async def resolve(self, handle: str) -> Model:
        """The model `handle` names. Raises Invalid for a handle of the wrong form, NotFound for one nobody serves.

        A provider whose list cannot be had is believed to serve what is asked for.
        """
        provider_name, name = self._split(handle, self._models, "gpt-4o")
        remote = self._remote.get(provider_name)
        known = remote is not None and remote.endpoint.url == _OPENAI_URL and is_known_openai(name)
        found = await self._find(self._models, provider_name, name, patient=not known)
        if found is None and remote is not None and (known or self._models[provider_name].failed):
            return remote.model(name)
        return found or await self._refuse(self._models, handle, provider_name, "model")

    async def resolve_embedding(self, handle: str) -> EmbeddingModel:
        """The embedding model `handle` names. Raises like `resolve`."""
        provider_name, name = self._split(handle, self._embeddings, "text-embedding-3-small")
        remote = self._remote.get(provider_name)
        # Servers that speak OpenAI's protocol serve its embedding models by name, and rarely list them.
        known = remote is not None and provider_name == "openai" and name in OPENAI_EMBEDDINGS
        found = await self._find(self._embeddings, provider_name, name, patient=not known)
        if found is None and remote is not None and (known or self._embeddings[provider_name].failed):
            found = remote.embedding_model(name)
        return await self._measured(
            found or await self._refuse(self._embeddings, handle, provider_name, "embedding model")
        )

    async def default_model(self) -> str:
        """The handle for an agent created without one: the configured default, else the built-in model if it is alone.

        Raises Invalid, naming the handles there are, where somebody has to choose.
        """
        for variable in _DEFAULT_MODEL_NAMES:
            if handle := self._environment.get(variable, "").strip():
                return handle
        models = await self.models()
        if not self._remote and models:
            return models[0].handle
        raise Invalid(
            f"No model was given. Set 'model' to one of {_named(models)}, or set {_DEFAULT_MODEL_NAMES[0]} "
            "to a handle that agents get when they name none."
        )

    def default_embedding(self) -> str | None:
        """The embedding handle for an agent created without one. None is fine: search works without embeddings."""
        named = (self._environment.get(variable, "").strip() for variable in _DEFAULT_EMBEDDING_NAMES)
        return next((handle for handle in named if handle), None)

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]:
        """Asks the provider of `request.model`; see `Provider.stream`. Raises ModelError where it is not configured."""
        return self._learning(request, self._provider(request.model.provider_name).stream(request))

    def estimate(self, model: Model, size: int) -> int:
        """About how many tokens `size` bytes (`estimate.size_of`) are to `model`, learnt from what it reported."""
        return self._estimate.tokens(model, size)

    async def embed(self, model: EmbeddingModel | str, texts: Sequence[str]) -> list[Embedding]:
        """What a model, or the one of that handle, makes of each text, in their order.

        A text longer than the model takes is cut at its end. Raises ModelError where the model cannot be asked, and
        like `resolve` for a handle.
        """
        if isinstance(model, str):
            model = await self.resolve_embedding(model)
        vectors = await self._provider(model.provider_name).embed(model, texts)
        return [Embedding(model.handle, vector) for vector in vectors]

    async def _learning(
        self, request: ModelRequest, answer: AsyncIterator[Sequence[AnyDelta]]
    ) -> AsyncGenerator[Sequence[AnyDelta]]:
        """The answer as it comes. What it says the prompt cost teaches the estimate."""
        prompt_tokens = 0
        async with contextlib.aclosing(answer):  # pyright: ignore[reportArgumentType]
            async for batch in answer:
                for delta in batch:
                    if type(delta) is UsageDelta:
                        prompt_tokens = delta.usage.prompt_tokens
                yield batch
        if prompt_tokens:
            self._estimate.learn(request, prompt_tokens)

    async def report(self) -> list[ProviderReport]:
        """How each provider is doing, asked now."""
        return list(await asyncio.gather(*(self._report(name) for name in self._every)))

    async def close(self) -> None:
        """Closes the providers and hangs up on everyone."""
        for provider in self._every.values():
            await provider.close()
        await self.http.close()

    async def _report(self, name: str) -> ProviderReport:
        models, embeddings = self._models[name], self._embeddings[name]
        await asyncio.gather(models.read(0.0), embeddings.read(0.0))
        remote = self._remote.get(name)
        return ProviderReport(
            name=name,
            url=remote.endpoint.url if remote else None,
            has_key=bool(remote and (remote.endpoint.key or remote.endpoint.sign)),
            models=tuple(model.name for model in models.items),
            embedding_models=tuple(model.name for model in embeddings.items),
            refused=remote.refused if remote else {},
            error=models.failed.detail if models.failed else None,
        )

    def _provider(self, provider_name: str) -> Provider:
        name = ALIASES.get(provider_name, provider_name)
        provider = self._every.get(name)
        if provider is None:
            raise ModelError("llm_error", f"Provider {name!r} is not configured: {how_to_configure(name)}.")
        return provider

    async def _measured(self, model: EmbeddingModel) -> EmbeddingModel:
        """The model with the length of its vectors, which it is asked for once where neither list nor name tells it."""
        if not self._with_length(model).dimensions:
            try:
                [tried] = await self.embed(model, [PROBE])
            except ModelError as error:
                _log.warning("embedding_not_measured", model=model.handle, reason=error.detail)
                return model
            self._dimensions[model.handle] = tried.dimensions
        return self._with_length(model)

    def _with_length(self, model: EmbeddingModel) -> EmbeddingModel:
        return msgspec.structs.replace(model, dimensions=model.dimensions or self._dimensions.get(model.handle, 0))

    def _split(self, handle: str, lists: "Mapping[str, _List[_T]]", example: str) -> tuple[str, str]:
        provider_name, slash, name = handle.partition("/")
        if not (provider_name and slash and name):
            alike = [
                item.handle for each in lists.values() for item in each.items if item.handle.endswith(f"/{handle}")
            ]
            meant = f"; did you mean {_quoted(alike[:HANDLES_NAMED])}?" if alike and handle else "."
            raise Invalid(
                f"{handle!r} is not a model handle. A handle is the provider's name, a slash and the model's name, "
                f"such as 'openai/{example}'{meant}"
            )
        return provider_name if provider_name in lists else ALIASES.get(provider_name, provider_name), name

    async def _find(
        self, lists: "Mapping[str, _List[_T]]", provider_name: str, name: str, *, patient: bool
    ) -> _T | None:
        """The item in its provider's list. One who is not `patient` takes the list as it is."""
        models = lists.get(provider_name)
        if models is None:
            return None
        handle = f"{provider_name}/{name}"
        for age in (LIST_SECONDS, MISS_SECONDS) if patient else (math.inf,):
            await models.read(age)
            if found := next((item for item in models.items if item.handle == handle), None):
                return found
        return None

    async def _refuse(self, lists: "Mapping[str, _List[_T]]", handle: str, provider_name: str, noun: str) -> NoReturn:
        """Raises NotFound, with why, and with what could be asked for instead."""
        remote = self._remote.get(provider_name)
        if provider_name not in lists:
            why = f"provider {provider_name!r} is not configured; {how_to_configure(provider_name)}"
        elif remote and (refused := remote.refused.get(handle.partition("/")[2])):
            why = f"{provider_name} has it, but it {refused}"
        else:
            why = f"{provider_name} does not list it"
        items = await _all(lists)
        items.sort(key=lambda item: not item.handle.startswith(f"{provider_name}/"))
        raise NotFound(f"{noun.capitalize()} {handle!r} not found: {why}. Available: {_named(items)}.")


class _List(Generic[_T]):
    """What one provider serves, remembered for a while. `failed` says why it could not be asked.

    A failure is logged when it begins and when it is over, unless this list is `quiet` because another one says it.
    """

    def __init__(self, provider_name: str, ask: Callable[[], Awaitable[Sequence[_T]]], *, quiet: bool = False) -> None:
        self._provider_name = provider_name
        self._quiet = quiet
        self._ask = ask
        self._asked_at = -math.inf
        self._turn = asyncio.Lock()
        self.items: Sequence[_T] = ()
        self.failed: ModelError | None = None

    async def read(self, age: float = LIST_SECONDS) -> Sequence[_T]:
        """The items; asked for again if the last answer is older than `age` seconds. Empty where that fails."""
        async with self._turn:
            if time.monotonic() - self._asked_at > min(age, FAILURE_SECONDS if self.failed else math.inf):
                await self._refresh()
        return self.items

    async def _refresh(self) -> None:
        before = self.failed
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self.items = await self._ask()
            self.failed = None
        except TimeoutError:
            self.failed = ModelError("llm_timeout", f"It did not list its models within {ASK_SECONDS:g} seconds.")
        except ModelError as error:
            self.failed = error
        self._asked_at = time.monotonic()
        if self.failed:
            self.items = ()
        if self._quiet:
            return
        if self.failed and not before:
            _log.warning("provider_left_out", provider=self._provider_name, reason=self.failed.detail)
        elif before and not self.failed:
            _log.info("provider_back", provider=self._provider_name)


async def _all(lists: "Mapping[str, _List[_T]]") -> list[_T]:
    """The items of every provider, all asked at once."""
    return [item for items in await asyncio.gather(*(each.read() for each in lists.values())) for item in items]


def _named(items: Sequence[_Handled]) -> str:
    named = _quoted([item.handle for item in items[:HANDLES_NAMED]])
    more = len(items) - HANDLES_NAMED
    return (named or "none") + (f" and {more} more" if more > 0 else "")


def _quoted(handles: Sequence[str]) -> str:
    return ", ".join(f"'{handle}'" for handle in handles)
