"""The dialect of Anthropic's messages: from Anthropic itself and whoever speaks like it, on Bedrock and on Vertex.

The body and the events are the same everywhere. Where a request goes, how beta features are asked for and how the
stream is framed is each cloud's own.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from perdure.domain.errors import ModelError
from perdure.logs import Log
from perdure.providers.anthropic_body import Asked, messages_body
from perdure.providers.anthropic_events import EventReader, is_last
from perdure.providers.aws_event_stream import AwsEventParser
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.event_stream import EventParser, Framing
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import KnownProvider

_log = Log(__name__)

ON_VERTEX: Final = "vertex-2023-10-16"
ON_BEDROCK: Final = "bedrock-2023-05-31"
"""The `anthropic_version` of each cloud."""

_MANNERS: Final = ("thinking", "effort", "temperature", "anthropic-beta", "eager_input_streaming")
"""What a refusal speaks of where a model does not take what others of its kind do."""


class _Sent(msgspec.Struct, frozen=True):
    """A request as one cloud wants it."""

    endpoint: Endpoint
    url: str
    body: dict[str, Any]


def stream(
    http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks the messages API itself. A stream that ends before its message does is an error."""

    def sent(asked: Asked) -> _Sent:
        body = {"model": request.model.name, "stream": True, **asked.body}
        return _Sent(with_betas(endpoint, asked.betas), f"{endpoint.url}/messages", body)

    return _answers(http, request, sent, EventParser)


def stream_vertex(
    http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks Claude on Vertex."""

    def sent(asked: Asked) -> _Sent:
        url = f"{endpoint.url}/models/{quote(request.model.name, safe='@')}:streamRawPredict"
        body = {"anthropic_version": ON_VERTEX, "stream": True, **asked.body}
        return _Sent(with_betas(endpoint, asked.betas), url, body)

    return _answers(http, request, sent, EventParser)


def stream_bedrock(
    http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks Claude on Bedrock (InvokeModelWithResponseStream), by the id or ARN of a model or an inference profile."""

    def sent(asked: Asked) -> _Sent:
        url = f"{bedrock_url(endpoint, request.model.name)}/invoke-with-response-stream"
        return _Sent(endpoint, url, bedrock_body(asked))

    return _answers(http, request, sent, AwsEventParser)


def bedrock_url(endpoint: Endpoint, model_name: str) -> str:
    """The address of a model on Bedrock."""
    return f"{endpoint.url}/model/{quote(model_name, safe=':')}"


def bedrock_body(asked: Asked) -> dict[str, Any]:
    """The body as Bedrock wants it, which takes no headers for features."""
    betas = {"anthropic_beta": asked.betas} if asked.betas else {}
    return {"anthropic_version": ON_BEDROCK, **betas, **asked.body}


async def _answers(
    http: HttpClient, request: ModelRequest, sent: Callable[[Asked], _Sent], framing: Callable[[], Framing]
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks, and once more without what was refused: thoughts of before, or what a model is told of how to think.

    No agent is lost over a seal, and a model that is newer than what is known of it is asked as it likes.
    """
    recall, steered = True, True
    while True:
        asked = sent(messages_body(request, recall=recall, steered=steered))
        reader = EventReader(asked.endpoint, request.messages, request.model.name)
        try:
            async with contextlib.aclosing(_answer(http, asked, framing(), reader)) as batches:
                async for deltas in batches:
                    yield deltas
        except ModelError as error:
            if reader.begun or error.error_type != "llm_bad_request":
                raise
            detail = error.detail.lower()
            if recall and "thinking" in detail and ("block" in detail or "expected" in detail):
                recall = False
            elif steered and any(word in detail for word in _MANNERS):
                recall = steered = False
            else:
                raise
            _log.info("model_asked_for_less", model=request.model.handle, reason=error.detail)
        else:
            return


async def _answer(
    http: HttpClient, asked: _Sent, framing: Framing, reader: EventReader
) -> AsyncGenerator[Sequence[AnyDelta]]:
    reads = http.stream(asked.endpoint, asked.url, msgspec.json.encode(asked.body), framing, is_last)
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


def with_betas(endpoint: Endpoint, betas: Sequence[str]) -> Endpoint:
    """The endpoint with a header that asks for these features."""
    if not betas:
        return endpoint
    return msgspec.structs.replace(endpoint, headers={**endpoint.headers, "anthropic-beta": ",".join(betas)})
