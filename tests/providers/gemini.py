"""Asking a scripted provider through the Gemini dialect, for the tests of both of its directions."""

from typing import Any

import pytest

from perdure.domain.errors import ModelError
from perdure.domain.messages import AnyPart, Message, ToolCallPart
from perdure.loop.answer import Answer as Collected
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.gemini_chunks import ChunkReader
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.remote import RemoteProvider
from tests.providers.chat import HELLO, KINDS, SYSTEM
from tests.providers.scripted import Answer, Asked, events, run, serving, streams

ENDPOINT = Endpoint(name="google_ai", url="http://127.0.0.1:1/v1beta")
STOP = {"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0}]}


def chunk(*parts: dict[str, Any], finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk as the API sends it. `fields` stand beside its candidates."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})], **fields}


def text(words: str, seal: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"text": words, **({"thoughtSignature": seal} if seal else {}), **fields}


def thought(words: str, seal: str | None = None) -> dict[str, Any]:
    return text(words, seal, thought=True)


def function_call(name: str = "add", seal: str | None = None, args: Any = None, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"functionCall": {"name": name, "args": {} if args is None else args, **fields}}
    return made | ({"thoughtSignature": seal} if seal else {})


def signed(part: ToolCallPart, seal: str, kind: str = "google_ai", **kept: Any) -> ToolCallPart:
    """The call with the seal that a provider of this kind gave it."""
    extra = {kind: {"signature": seal, **kept}}
    return ToolCallPart(call_id=part.call_id, name=part.name, arguments=part.arguments, extra=extra)


def exchange(
    answer: Answer,
    *messages: Message,
    model: str = "gemini-3.8-flash",
    kind: str = "google_ai",
    limits: Limits | None = None,
    **fields: Any,
) -> tuple[list[AnyDelta], list[Asked], ModelError | None]:
    """What came of asking: the deltas, every request, and the error it ended with."""

    async def go() -> tuple[list[AnyDelta], list[Asked], ModelError | None]:
        got: list[AnyDelta] = []
        error: ModelError | None = None
        async with serving(answer) as server:
            http = HttpClient(limits)
            provider = RemoteProvider(http, Endpoint(name=kind, url=f"{server.url}/v1beta"), KINDS[kind])
            request = ModelRequest(model=provider.model(model), messages=messages or (SYSTEM, HELLO), **fields)
            try:
                async for batch in provider.stream(request):
                    assert batch, "an empty batch"
                    got += batch
            except ModelError as raised:
                error = raised
            finally:
                await http.close()
            return got, server.asked, error

    return run(go())


def deltas(*chunks: Any, **options: Any) -> list[AnyDelta]:
    got, _, error = exchange(streams(*events(*chunks)), **options)
    assert error is None, error.detail
    return got


def body(*messages: Message, **options: Any) -> dict[str, Any]:
    _, asked, error = exchange(streams(*events(STOP)), *messages, **options)
    assert error is None, error.detail
    return asked[0].json


def contents(*messages: Message, **options: Any) -> list[dict[str, Any]]:
    return body(*messages, **options)["contents"]


def failure(*chunks: Any, **options: Any) -> ModelError:
    _, _, error = exchange(streams(*events(*chunks)), **options)
    assert error is not None
    return error


def read(*chunks: Any) -> list[AnyDelta]:
    """The deltas of an answer that needs no network."""
    reader = ChunkReader(ENDPOINT, "google_ai", ())
    got = [delta for payload in events(*chunks) for delta in reader.read([payload[6:].strip()])]
    if reader.failure:
        raise reader.failure
    return got + reader.end()


def kept(*chunks: Any, thoughts: bool = False) -> tuple[AnyPart, ...]:
    """The parts of the message that an answer becomes."""
    answer = Collected(
        agent_id="agent-1", run_id="run-1", step_id="step-1", show_tokens=True, parallel_calls=True,
        single_calls=False, text_is_thought=thoughts,
    )  # fmt: skip
    answer.take(read(*chunks))
    message = answer.message()
    assert message is not None
    return message.parts


def raised(*chunks: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read(*chunks)
    return caught.value
