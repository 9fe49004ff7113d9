"""Text turned into vectors: many texts in few requests, some at a time, in order, and none lost to a passing fault."""

import asyncio
import math
import random
import re
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from perdure.domain.errors import ModelError
from perdure.domain.models import EMBEDDING_BATCH, EmbeddingModel
from perdure.providers.gemini import method
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_models import input_tokens
from perdure.providers.known_providers import EmbeddingApi
from perdure.providers.listing import root
from perdure.providers.text import storable

BATCH_BYTES: Final = 128 * 1024
"""Text in one request. Vendors count tokens, of which there are hardly more than bytes."""
AT_ONCE: Final = 4
"""Requests under way for one call of `embed`."""
RETRIES: Final = 4
"""How often one request is made again after a passing fault."""
BUDGET_SECONDS: Final = 60.0
"""How long one call of `embed` may wait for faults to pass, all its requests together."""
FIRST_WAIT_SECONDS: Final = 0.5
BYTES_PER_TOKEN: Final = 4
LEAST_CHARS: Final = 64
"""A text refused as too long although it is no longer than this is refused for another reason."""
EMPTY: Final = "(empty)"
"""Stands for a text without a letter in it, which most servers refuse along with all others of its batch."""

_PASSING: Final = ("llm_rate_limit", "llm_error")
_TOO_MUCH: Final = re.compile(
    r"too (?:long|large|many|big)|maximum|exceed|at most|up to \d|larger than|context (?:length|size|window)|"
    r"batch size|token limit|input limit",
    re.IGNORECASE,
)
"""How servers say that a request holds more texts, or a longer one, than they take. Each has words of its own."""

Ask = Callable[[Sequence[str]], Awaitable[Any]]
"""Asks a server once: texts in, and a list of vectors as it sent them out, of whatever form that is."""


async def embed(
    http: HttpClient, endpoint: Endpoint, api: EmbeddingApi, model: EmbeddingModel, texts: Sequence[str]
) -> list[Sequence[float]]:
    """A vector for each text, in their order, of 32-bit floats.

    A text that is longer than the model takes is cut at its end. Faults that pass are waited out within limits. Raises
    ModelError where that does not help, and for vectors that are none or not of the length the model is known for.
    """

    async def ask(batch: Sequence[str]) -> Any:
        return await _APIS[api](http, endpoint, model.name, batch)

    work = _Work(endpoint, ask, model.dimensions)
    most = input_tokens(model.name) * BYTES_PER_TOKEN
    fitting = [_cut(storable(text), most) if text.strip() else EMPTY for text in texts]
    tasks = [asyncio.create_task(work.vectors(batch)) for batch in _batches(fitting)]
    try:
        return [vector for vectors in await asyncio.gather(*tasks) for vector in vectors]
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _Work:
    """One call of `embed`. `size` is the length every vector must have; 0 until the first one has said it."""

    def __init__(self, endpoint: Endpoint, ask: Ask, size: int) -> None:
        self._endpoint = endpoint
        self._ask = ask
        self._size = size
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._patience = BUDGET_SECONDS

    async def vectors(self, texts: Sequence[str]) -> list[Sequence[float]]:
        """Those of one batch. What a server finds too much is halved: first the batch, then the text."""
        try:
            async with self._turns:
                found = await self._patiently(texts)
        except ModelError as error:
            if not _is_too_much(error):
                raise
            if len(texts) > 1:
                half = len(texts) // 2
                return [*await self.vectors(texts[:half]), *await self.vectors(texts[half:])]
            if len(texts[0]) <= LEAST_CHARS:
                raise
            return await self.vectors([_cut(texts[0], len(texts[0].encode()) // 2)])
        if len(found) != len(texts):
            raise self._endpoint.failed(f"gave {len(found)} vectors for {len(texts)} texts")
        return [self._packed(vector) for vector in found]

    async def _patiently(self, texts: Sequence[str]) -> Sequence[Any]:
        wait = FIRST_WAIT_SECONDS
        for left in reversed(range(RETRIES + 1)):
            try:
                found = await self._ask(texts)
                return cast("list[Any]", found) if isinstance(found, list) else ()
            except ModelError as error:
                pause = error.retry_after if error.retry_after is not None else wait * random.uniform(0.5, 1.5)
                passing = error.error_type in _PASSING and not _is_too_much(error)
                if not (left and passing and pause <= self._patience):
                    raise
                self._patience -= pause
            await asyncio.sleep(pause)
            wait *= 2
        raise AssertionError

    def _packed(self, vector: Any) -> Sequence[float]:
        try:
            floats = array("f", vector)
        except (TypeError, OverflowError):
            raise self._endpoint.failed("gave a vector that is no list of numbers") from None
        self._size = self._size or len(floats)
        if not floats or len(floats) != self._size:
            raise self._endpoint.failed(f"gave a vector of {len(floats)} floats where {self._size} are expected")
        if not all(map(math.isfinite, floats)):
            raise self._endpoint.failed("gave a vector with numbers that are too large")
        return floats


def _is_too_much(error: ModelError) -> bool:
    return error.error_type in ("llm_bad_request", "llm_error") and _TOO_MUCH.search(error.detail) is not None


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in groups that one request can hold."""
    start = size = 0
    for at, text in enumerate(texts):
        length = len(text.encode())
        if at > start and (at - start == EMBEDDING_BATCH or size + length > BATCH_BYTES):
            yield texts[start:at]
            start, size = at, 0
        size += length
    if texts:
        yield texts[start:]


def _cut(text: str, most: int) -> str:
    """The beginning of `text`, of at most `most` bytes; between words where one ends close enough before that."""
    data = text.encode()
    if len(data) <= most:
        return text
    head = data[:most].decode(errors="ignore")
    words = head.rsplit(maxsplit=1)
    return words[0] if len(words) > 1 and len(words[0]) > len(head) * 3 // 4 else head


async def _openai(http: HttpClient, endpoint: Endpoint, name: str, texts: Sequence[str]) -> Any:
    """`POST /embeddings`, whose vectors are numbered."""
    answer = await http.post_json(endpoint, f"{endpoint.url}/embeddings", {"model": name, "input": texts})
    rows = [(_field(row, "index"), _field(row, "embedding")) for row in _list(answer, "data")]
    numbered = {number: vector for number, vector in rows if isinstance(number, int)}
    if numbered.keys() == set(range(len(rows))):
        return [numbered[number] for number in range(len(rows))]
    return [vector for _, vector in rows]


async def _ollama(http: HttpClient, endpoint: Endpoint, name: str, texts: Sequence[str]) -> Any:
    """Ollama's own `POST /api/embed`, which cuts what is too long."""
    body = {"model": name, "input": texts, "truncate": True}
    return _list(await http.post_json(endpoint, f"{root(endpoint)}/api/embed", body), "embeddings")


async def _gemini(http: HttpClient, endpoint: Endpoint, name: str, texts: Sequence[str]) -> Any:
    requests = [{"model": f"models/{name}", "content": {"parts": [{"text": text}]}} for text in texts]
    answer = await http.post_json(endpoint, method(endpoint, name, "batchEmbedContents"), {"requests": requests})
    return [_field(each, "values") for each in _list(answer, "embeddings")]


async def _vertex(http: HttpClient, endpoint: Endpoint, name: str, texts: Sequence[str]) -> Any:
    """Vertex has two ways to ask: one for Gemini's embedding models, one for those before them."""
    if name.startswith("gemini"):
        requests = [{"content": {"parts": [{"text": text}]}} for text in texts]
        answer = await http.post_json(endpoint, method(endpoint, name, "batchEmbedContents"), {"requests": requests})
        return [_field(each, "values") for each in _list(answer, "embeddings")]
    instances = [{"content": text} for text in texts]
    answer = await http.post_json(endpoint, method(endpoint, name, "predict"), {"instances": instances})
    return [_field(_field(each, "embeddings"), "values") for each in _list(answer, "predictions")]


_APIS: Final[Mapping[EmbeddingApi, Callable[[HttpClient, Endpoint, str, Sequence[str]], Awaitable[Any]]]] = {
    "openai": _openai,
    "ollama": _ollama,
    "gemini": _gemini,
    "vertex": _vertex,
}


def _list(answer: Any, name: str) -> list[Any]:
    found = _field(answer, name)
    return cast("list[Any]", found) if isinstance(found, list) else []


def _field(answer: Any, name: str) -> Any:
    return cast("dict[str, Any]", answer).get(name) if isinstance(answer, dict) else None
