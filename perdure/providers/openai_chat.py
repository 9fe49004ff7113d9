"""The dialect of OpenAI's chat completions, which most servers speak, each with quirks of its own."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from perdure.domain.errors import ModelError
from perdure.logs import Log
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.event_stream import EventParser
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import KnownProvider
from perdure.providers.logprobs import logprobs_in
from perdure.providers.openai_body import chat_body, reasons_like_openai
from perdure.providers.openai_chunks import DONE, ChunkReader

BEGINNING: Final = 200
"""Characters quoted of an answer that is none."""

_log = Log(__name__)


class EventsOrWhole(EventParser):
    """Server-sent events or, from a server that does not stream, the answer as one JSON object, at its end."""

    __slots__ = ("whole",)

    def __init__(self) -> None:
        super().__init__()
        self.whole: bytes | None = None
        """The JSON so far, where it is that."""

    def begins(self, head: bytes, content_type: str) -> bool:
        """Whether an answer that begins with `head` can be either."""
        if head[:1] == b"{" and content_type == "application/json":
            self.whole = b""
        return self.whole is not None or super().begins(head, content_type)

    def feed(self, data: bytes) -> list[bytes]:
        if self.whole is None:
            return super().feed(data)
        self._keep(data)
        return []

    def finish(self) -> list[bytes]:
        if self.whole is None:
            return super().finish()
        self.whole = b"".join(self._pieces)
        return [self.whole]


async def stream(
    http: HttpClient, endpoint: Endpoint, kind: KnownProvider, request: ModelRequest
) -> AsyncGenerator[Sequence[AnyDelta]]:
    """Asks, and yields what arrives. Once the model has said why it stopped, a stream cut short is no error."""
    hidden = reasons_like_openai(request.model.name, kind.quirks)
    reader = ChunkReader(
        endpoint, request.messages, hidden_reasoning=hidden, think_tags=not hidden and kind.quirks.think_tags,
        details_for=request.model.handle if kind.quirks.reasoning_details else None,
    )  # fmt: skip
    framing = EventsOrWhole()
    body = chat_body(request, kind.quirks)
    reads = http.stream(endpoint, f"{endpoint.url}/chat/completions", body, framing, DONE.__eq__)
    async with contextlib.aclosing(reads):
        try:
            async for payloads in reads:
                deltas = reader.read(payloads)
                if request.settings.return_logprobs:
                    deltas += logprobs_in(payloads)
                if deltas:
                    yield deltas
                if reader.failure:
                    raise reader.failure
                if reader.done:
                    return
        except ModelError:
            if not reader.finished:
                raise
    if framing.whole is not None:
        _note_whole(http, endpoint, framing.whole, is_answer=reader.finished)
    rest: list[AnyDelta] = []
    reader.end(rest)
    yield rest


def _note_whole(http: HttpClient, endpoint: Endpoint, body: bytes, *, is_answer: bool) -> None:
    """Says of a provider that it does not stream, once. Raises ModelError where its JSON was no answer."""
    if not is_answer:
        said = " ".join(body.decode("utf-8", "replace").split())[:BEGINNING]
        raise endpoint.failed(
            "answered with application/json instead of an event stream; is this the address of its API? "
            f"It says: {said}"
        )
    if endpoint.name not in http.unstreamed:
        http.unstreamed.add(endpoint.name)
        _log.warning("provider_does_not_stream", provider=endpoint.name, url=endpoint.url)
