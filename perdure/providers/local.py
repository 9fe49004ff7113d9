"""A model in the box: llama.cpp inside this process, for a person with a GGUF file and no other server."""

import asyncio
import importlib
import importlib.util
import os
import secrets
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from perdure.domain.errors import Invalid, ModelError, Unavailable
from perdure.domain.models import EmbeddingModel, Model
from perdure.logs import Log
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.gguf import Gguf, GgufError, read_gguf
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.known_providers import KnownProvider
from perdure.providers.openai_body import Quirks
from perdure.providers.remote import RemoteProvider

NAME: Final = "local"
ENGINE: Final = "xllamacpp"
"""The module that brings llama.cpp; the extra `perdure[local]` installs it."""
PROMPT_CACHE_MIB: Final = 2048
"""Memory for prompts of conversations that are not being worked, so that each goes on from where it was."""
EMBEDDING_TOKENS: Final = 2048
"""The longest text that is made a vector of, which is read in one piece."""

_KIND: Final = KnownProvider(
    name=NAME,
    types=("openai", "llamacpp", "llamacpp"),
    listing="llamacpp",
    counting="llamacpp",
    quirks=Quirks(tool_choice="required", parallel_tool_calls=True, alternate=True),
)

_log = Log(__name__)


class LocalFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The models to run: one that talks, one that makes vectors, or both.

    The one that talks holds at most `context` tokens (0: all it was trained with) of each of `parallel` conversations.
    """

    talking: Path | None
    embedding: Path | None
    context: int
    parallel: int


class LocalModels:
    """A `Provider` of the models in files, `local/<name of the file>`. Make it with `open_local`."""

    name = NAME

    def __init__(self) -> None:
        self._talking: _Engine | None = None
        self._embedding: _Engine | None = None
        self._models: list[Model] = []
        self._embedding_models: list[EmbeddingModel] = []

    @property
    def embedding(self) -> str | None:
        """The handle of the one that makes vectors."""
        return next((model.handle for model in self._embedding_models), None)

    async def load(self, files: LocalFiles, limits: Limits) -> None:
        """Start an engine for each file. Raises like `open_local`."""
        if files.talking is not None:
            self._talking = await _Engine.start(files.talking, "chat", files, limits)
            self._models = list(await self._talking.remote.models())
            if not self._models[0].supports_tools:
                _log.warning(
                    "model_without_tools",
                    model=self._models[0].handle,
                    reason="Its chat template has no place for tools: it can talk, but not use its memory.",
                )
        if files.embedding is not None:
            self._embedding = await _Engine.start(files.embedding, "embedding", files, limits)
            gguf = self._embedding.gguf
            self._embedding_models = [self._embedding.remote.embedding_model(gguf.name, gguf.width)]

    async def models(self) -> Sequence[Model]:
        return self._models

    async def embedding_models(self) -> Sequence[EmbeddingModel]:
        return self._embedding_models

    async def count(self, request: ModelRequest) -> int | None:
        return await _present(self._talking).remote.count(request)

    def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[AnyDelta]]:
        return _present(self._talking).remote.stream(request)

    async def embed(self, model: EmbeddingModel, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return await _present(self._embedding).remote.embed(model, texts)

    async def close(self) -> None:
        """Ends the engines, and with them whatever they are saying."""
        for engine in (self._talking, self._embedding):
            if engine is not None:
                await engine.close()


class _Engine:
    """One model in one llama.cpp.

    It serves a loopback port, with a key that nobody else knows, and is spoken to like any other server.
    """

    def __init__(self, server: Any, gguf: Gguf, http: HttpClient, remote: RemoteProvider) -> None:
        self._server = [server]
        self.gguf = gguf
        self.http = http
        self.remote = remote

    @classmethod
    async def start(cls, path: Path, kind: str, files: LocalFiles, limits: Limits) -> "_Engine":
        gguf = look_into(path, kind)
        if problem := too_large(gguf, memory()):
            _log.warning("model_too_large", model=f"{NAME}/{gguf.name}", reason=problem)
        key = secrets.token_urlsafe(24)
        server = await asyncio.to_thread(_served, path, gguf, files, key)
        endpoint = Endpoint(
            name=NAME, url=f"{server.listening_address}/v1", headers={"Authorization": f"Bearer {key}"}, key=key
        )
        # One that is silent here is not lost: it reads, or works for others first.
        http = HttpClient(msgspec.structs.replace(limits, first_byte=limits.whole, gap=limits.whole))
        return cls(server, gguf, http, RemoteProvider(http, endpoint, _KIND))

    async def close(self) -> None:
        await self.http.close()
        # It waits for its threads when the last reference goes, which is this one.
        await asyncio.to_thread(self._server.clear)


def look_into(path: Path, kind: str) -> Gguf:
    """The model in this file, which can be tried. Raises Invalid where it cannot be run here as one of this kind."""
    if importlib.util.find_spec(ENGINE) is None:
        raise Invalid("llama.cpp is not installed: install perdure with its extra, as in pip install 'perdure[local]'.")
    try:
        gguf = read_gguf(path)
    except GgufError as error:
        raise Invalid(f"{path} {error}.") from error
    if gguf.kind != kind:
        raise Invalid(f"{path} {_ELSEWHERE[gguf.kind]}.")
    return gguf


async def open_local(files: LocalFiles, limits: Limits) -> LocalModels:
    """Load the models in GGUF files.

    Raises Invalid for what is no such file and where llama.cpp is missing, Unavailable where a model does not load.
    """
    models = LocalModels()
    try:
        await models.load(files, limits)
    except BaseException:
        await models.close()
        raise
    return models


def memory() -> int | None:
    """Bytes of memory that this machine has; None where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def too_large(gguf: Gguf, available: int | None) -> str | None:
    """Why a model is more than so many bytes of memory can hold; None where it may fit."""
    if available is None or gguf.size <= available:
        return None
    needed, there = f"{gguf.size / 2**30:.1f} GiB", f"{available / 2**30:.1f} GiB"
    return (
        f"It takes {needed}, and this machine has {there} of memory: without a GPU that holds it, it is very slow, "
        "or the system ends this server. Choose a smaller one."
    )


def window_of(gguf: Gguf, context: int) -> int:
    """The tokens it is run with where `context` is asked for; 0 for all it was trained with."""
    return min(context or gguf.trained, gguf.trained or context)


_ELSEWHERE: Final = {
    "chat": "is a model that talks: give it with --gguf or PERDURE_GGUF",
    "embedding": "is an embedding model, which cannot talk: give it as PERDURE_GGUF_EMBEDDING",
}


def _served(path: Path, gguf: Gguf, files: LocalFiles, key: str) -> Any:
    engine = importlib.import_module(ENGINE)
    params = engine.CommonParams()
    params.model.path = str(path)
    params.model_alias = {gguf.name}
    params.api_keys = [key]
    params.ui = False
    # Its log would drown ours; what it says of errors is worth reading.
    params.verbosity = 1
    if gguf.kind == "embedding":
        params.embedding = True
        params.n_ctx = params.n_batch = params.n_ubatch = min(gguf.trained or EMBEDDING_TOKENS, EMBEDDING_TOKENS)
    else:
        params.n_parallel = files.parallel
        params.n_ctx = window_of(gguf, files.context) * files.parallel
        params.cache_ram_mib = PROMPT_CACHE_MIB
    try:
        return engine.Server(params)
    except RuntimeError as error:
        raise Unavailable(
            f"llama.cpp cannot load {path}. It says why above; most often it is too old for the file (pip install -U "
            f"{ENGINE}), or the machine has too little memory (a smaller PERDURE_GGUF_CONTEXT needs less). {error}"
        ) from error


def _present(engine: _Engine | None) -> _Engine:
    if engine is None:
        raise ModelError("llm_bad_request", f"No file of that kind was given to {NAME!r}.")
    return engine
