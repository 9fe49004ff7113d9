"""The dialect of OpenAI's Responses, spoken without leaving anything with the server."""

import contextlib
from collections.abc import AsyncGenerator, Sequence

import msgspec

from perdure.domain.errors import ModelError
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import KnownProvider
from perdure.providers.openai_responses_body import Concessions, responses_body
from perdure.providers.openai_responses_events import EventReader, is_last


async def stream(
    http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks, and yields what arrives. A refusal that names what can be done without is answered by doing without."""
    conceded = Concessions()
    while True:
        said = False
        body = responses_body(request, kind.quirks, conceded)
        try:
            async with contextlib.aclosing(_answer(http, endpoint, request, body)) as answer:
                async for deltas in answer:
                    said = True
                    yield deltas
            return
        except ModelError as error:
            lesser = _conceding(conceded, error)
            if said or lesser == conceded:
                raise
            conceded = lesser


async def _answer(
    http: HttpClient, endpoint: Endpoint, request: ModelRequest, body: bytes
) -> AsyncGenerator[Sequence[AnyDelta]]:
    reader = EventReader(endpoint, request)
    reads = http.sse(endpoint, f"{endpoint.url}/responses", body, is_last)
    async with contextlib.aclosing(reads):
        async for payloads in reads:
            deltas = reader.read(payloads)
            if deltas:
                yield deltas
            if reader.failure:
                raise reader.failure
            if reader.done:
                return
    raise reader.cut()


def _conceding(conceded: Concessions, error: ModelError) -> Concessions:
    """What to ask without, going by the words of a refusal; the same as before where it is about something else."""
    words = error.detail.lower()
    if error.error_type == "llm_bad_request" and "encrypted" in words:
        # The key may belong to another account by now, and a conversation must not end over that.
        return msgspec.structs.replace(conceded, sealed=True)
    if error.error_type == "llm_bad_request" and "reasoning" in words and "summar" in words:
        return msgspec.structs.replace(conceded, summary=True)
    return conceded
