"""The dialect of Gemini, as Google AI and Vertex speak it."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final
from urllib.parse import quote

from perdure.domain.errors import ModelError
from perdure.logs import Log
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.gemini_body import gemini_body
from perdure.providers.gemini_chunks import ChunkReader
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import KnownProvider

MALFORMED_RETRIES: Final = 2
"""How often a model that wrote a call nobody can read is asked again, as long as nothing was shown."""

_log = Log(__name__)


async def stream(
    http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks, and yields what arrives; asks again where that is how an answer is had, and nothing of it was shown.

    Signatures that Google does not know again, because another account or another Google made them, are left out; and
    so is how to think, where a model does not take it.
    """
    sealed, steered, left = True, True, MALFORMED_RETRIES
    reader = ChunkReader(endpoint, kind.types[0], request.messages)
    while not reader.done:
        body = gemini_body(request, sealed=sealed, steered=steered, token=reader.token)
        try:
            async with contextlib.aclosing(_answer(http, endpoint, request.model.name, body, reader)) as batches:
                async for deltas in batches:
                    yield deltas
        except ModelError as error:
            if reader.shown:
                raise
            if sealed and _is_about_signatures(error):
                sealed = False
            elif steered and _is_about_thinking(error):
                steered = False
            elif left and reader.finish == "MALFORMED_FUNCTION_CALL":
                left -= 1
            else:
                raise
            _log.info("model_asked_for_less", model=request.model.handle, reason=error.detail)
            reader = ChunkReader(endpoint, kind.types[0], request.messages)


def method(endpoint: Endpoint, model_name: str, name: str) -> str:
    """The address of what a model can be asked to do."""
    return f"{endpoint.url}/models/{quote(model_name, safe='@')}:{name}"


async def _answer(
    http: HttpClient, endpoint: Endpoint, model_name: str, body: bytes, reader: ChunkReader
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """What one request brings. Once the model has said why it stopped, a stream cut short is no error."""
    reads = http.sse(endpoint, f"{method(endpoint, model_name, 'streamGenerateContent')}?alt=sse", body)
    async with contextlib.aclosing(reads):
        try:
            async for payloads in reads:
                deltas = reader.read(payloads)
                if deltas:
                    yield deltas
                if reader.failure:
                    raise reader.failure
        except ModelError:
            if not reader.finished:
                raise
    if rest := reader.end():
        yield rest


def _is_about_thinking(error: ModelError) -> bool:
    return error.error_type == "llm_bad_request" and "thinking" in error.detail.lower()


def _is_about_signatures(error: ModelError) -> bool:
    detail = error.detail.lower().replace("_", " ")
    return "thought signature" in detail
