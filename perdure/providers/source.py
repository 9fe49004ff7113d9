"""A provider as the catalog holds it: with what it serves, remembered for a while."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from perdure.domain.errors import ModelError
from perdure.domain.models import EmbeddingModel, Model
from perdure.logs import Log
from perdure.providers.base import Provider
from perdure.providers.breaker import Breaker
from perdure.providers.remote import RemoteProvider
from perdure.providers.retry import Patience

LIST_SECONDS: Final = 60.0
"""How long a list is trusted."""
FAILURE_SECONDS: Final = 10.0
"""How long a provider that failed is left in peace."""
ASK_SECONDS: Final = 5.0

_T = TypeVar("_T", Model, EmbeddingModel)

_log = Log(__name__)


class Source:
    """One provider, its breaker and the lists of its models. `remote` is the provider where it is over the network."""

    def __init__(self, provider: Provider, patience: Patience) -> None:
        self.provider = provider
        self.breaker = Breaker(provider.name, patience.failures)
        self.remote = provider if isinstance(provider, RemoteProvider) else None
        self.models = ModelList[Model](provider.name, provider.models)
        self.embedding_models = ModelList[EmbeddingModel](provider.name, provider.embedding_models, quiet=True)


class ModelList(Generic[_T]):
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
