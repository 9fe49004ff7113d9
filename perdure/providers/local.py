"""A model in the box: llama.cpp inside this process, for a person with a GGUF file and no other server."""

import asyncio
import importlib
import importlib.util
import secrets
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Final

from perdure.domain.errors import Invalid, ModelError, Unavailable
from perdure.domain.models import EmbeddingModel, Model
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.known_providers import KnownProvider
from perdure.providers.listing import list_llamacpp
from perdure.providers.openai_body import Quirks
from perdure.providers.remote import RemoteProvider

NAME: Final = "local"
ENGINE: Final = "xllamacpp"
"""The module that brings llama.cpp; the extra `perdure[local]` installs it."""
PROMPT_CACHE_MIB: Final = 2048
"""Memory for prompts of conversations that are not being worked, so that each goes on from where it was."""

_MAGIC: Final = b"GGUF"
_KIND: Final = KnownProvider(
    name=NAME,
    types=("openai", "llamacpp", "llamacpp"),
    listing="llamacpp",
    counting="llamacpp",
    quirks=Quirks(tool_choice="required", parallel_tool_calls=True),
)


class LocalModel:
    """A `Provider` of one model, `local/<name of the file>`. Make it with `open_local`.

    The engine serves a loopback port, with a key that nobody else knows, and is spoken to like any other server.
    """

    name = NAME

    def __init__(self, engine: Any, http: HttpClient, remote: RemoteProvider, model: Model) -> None:
        self._engine = [engine]
        self._http = http
        self._remote = remote
        self._model = model

    async def models(self) -> Sequence[Model]:
        return [self._model]

    async def embedding_models(self) -> Sequence[EmbeddingModel]:
        return []

    async def count(self, request: ModelRequest) -> int | None:
        return await self._remote.count(request)

    def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[AnyDelta]]:
        return self._remote.stream(request)

    async def embed(self, model: EmbeddingModel, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        raise ModelError("llm_bad_request", "The model in the box makes no vectors.")

    async def close(self) -> None:
        """Ends the engine, and with it whatever it is saying."""
        await self._http.close()
        # It waits for its threads when the last reference goes, which is this one.
        await asyncio.to_thread(self._engine.clear)


def why_not(path: Path) -> str | None:
    """Why the model in this file cannot be run here; None where it can be tried."""
    if importlib.util.find_spec(ENGINE) is None:
        return "llama.cpp is not installed: install perdure with its extra, as in pip install 'perdure[local]'"
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None if magic == _MAGIC else f"{path} is not a GGUF file"


async def open_local(path: Path, context: int, limits: Limits) -> LocalModel:
    """Load the model in a GGUF file, with a window of at most `context` tokens (0: all it was trained with).

    Raises Invalid for what is no such file and where llama.cpp is missing, Unavailable where the model does not load.
    """
    if problem := why_not(path):
        raise Invalid(f"{problem}.")
    key, name = secrets.token_urlsafe(24), path.stem
    engine = await asyncio.to_thread(_start, path, name, context, key)
    endpoint = Endpoint(
        name=NAME, url=f"{engine.listening_address}/v1", headers={"Authorization": f"Bearer {key}"}, key=key
    )
    http = HttpClient(limits)
    remote = RemoteProvider(http, endpoint, _KIND)
    (listed,) = await list_llamacpp(http, endpoint)
    return LocalModel(engine, http, remote, remote.model(name, listed.window))


def _start(path: Path, name: str, context: int, key: str) -> Any:
    engine = importlib.import_module(ENGINE)
    params = engine.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.n_ctx = context
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.api_keys = [key]
    params.ui = False
    # Its log would drown ours.
    params.verbosity = 0
    try:
        return engine.Server(params)
    except RuntimeError as error:
        raise Unavailable(
            f"llama.cpp cannot load {path}: the file may be damaged, of a kind it does not know, or too large for this "
            f"machine's memory (a smaller PERDURE_GGUF_CONTEXT needs less). It says: {error}"
        ) from error
