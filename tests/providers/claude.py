"""Asking a scripted provider through Anthropic's dialect, for the tests of both of its directions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perdure.domain.errors import ModelError
from perdure.domain.messages import HiddenReasoningPart, Message, ReasoningPart
from perdure.domain.models import ModelSettings
from perdure.providers.base import AnyDelta, Finished, ModelRequest, ToolCallDelta, UsageDelta
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.known_providers import KnownProvider
from perdure.providers.remote import RemoteProvider
from tests.providers.chat import HELLO, KINDS, SYSTEM
from tests.providers.scripted import Answer, Asked, run, serving, streams

MODEL = "claude-opus-5"
SEAL = "EqQBCkgIARABGAIiQL9zWw=="
USAGE = {"input_tokens": 10, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 20, "output_tokens": 1}

Event = dict[str, Any]


def start(**usage: int) -> Event:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
    }
    return {"type": "message_start", "message": {**message, "usage": {**USAGE, **usage}}}


def block(index: int, begun: Event, *deltas: Event) -> list[Event]:
    middle = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    first = {"type": "content_block_start", "index": index, "content_block": begun}
    return [first, *middle, {"type": "content_block_stop", "index": index}]


def text(index: int, *pieces: str) -> list[Event]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def thinking(index: int, *pieces: str, seal: str | None = SEAL) -> list[Event]:
    deltas: list[Event] = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    if seal is not None:
        deltas.append({"type": "signature_delta", "signature": seal})
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)


def redacted(index: int, data: str) -> list[Event]:
    return block(index, {"type": "redacted_thinking", "data": data})


def tool(index: int, call_id: str, name: str, *pieces: str) -> list[Event]:
    begun = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return block(index, begun, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def end(reason: str = "end_turn", **usage: Any) -> list[Event]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7, **usage}}, {"type": "message_stop"}]


def error(kind: str, message: str) -> Event:
    return {"type": "error", "error": {"type": kind, "message": message}}


def sse(*events: Event | str) -> list[bytes]:
    """Events as they are sent; strings are data as it is."""
    lines = [(each, "x") if isinstance(each, str) else (json.dumps(each), each.get("type", "x")) for each in events]
    return [f"event: {kind}\ndata: {data}\n\n".encode() for data, kind in lines]


def whole(*blocks: list[Event], reason: str = "end_turn") -> list[Event]:
    """A complete message."""
    return [start(), {"type": "ping"}, *(event for each in blocks for event in each), *end(reason)]


def request(*messages: Message, model: str = MODEL, **fields: Any) -> ModelRequest:
    settings = ModelSettings(**fields.pop("settings", {}))
    served = RemoteProvider(HttpClient(), Endpoint(name="anthropic", url="http://127.0.0.1:1"), KINDS["anthropic"])
    return ModelRequest(model=served.model(model), messages=messages or (SYSTEM, HELLO), settings=settings, **fields)


def asked(
    answer: Answer,
    *messages: Message,
    kind: KnownProvider = KINDS["anthropic"],
    limits: Limits | None = None,
    **fields: Any,
) -> tuple[list[AnyDelta], Asked]:
    """The deltas a provider's answer gives, and what it was asked."""

    async def go() -> tuple[list[AnyDelta], Asked]:
        async with serving(answer) as server:
            http = HttpClient(limits)
            provider = RemoteProvider(http, Endpoint(name=kind.name, url=server.url), kind)
            try:
                got = [delta async for batch in provider.stream(request(*messages, **fields)) for delta in batch]
            finally:
                await http.close()
            return got, server.asked[0]

    return run(go())


def broken(answer: Answer, limits: Limits | None = None) -> tuple[list[AnyDelta], ModelError]:
    """The deltas of an answer that fails, up to where it does, and how."""

    async def go() -> tuple[list[AnyDelta], ModelError]:
        async with serving(answer) as server:
            http = HttpClient(limits)
            kind = KINDS["anthropic"]
            provider = RemoteProvider(http, Endpoint(name=kind.name, url=server.url), kind)
            got: list[AnyDelta] = []
            try:
                async for batch in provider.stream(request()):
                    got += batch
            except ModelError as error:
                return got, error
            finally:
                await http.close()
            raise AssertionError(f"it did not fail: {got}")

    return run(go())


def deltas(*events: Event | str, **fields: Any) -> list[AnyDelta]:
    return asked(streams(*sse(*events)), **fields)[0]


def failure(*events: Event | str) -> ModelError:
    return broken(streams(*sse(*events)))[1]


def shape(got: Sequence[AnyDelta]) -> list[Any]:
    """The deltas with calls as (index, id, name, arguments), without usage and finish."""
    return [
        (d.index, d.call_id, d.name, d.arguments) if isinstance(d, ToolCallDelta) else d
        for d in got
        if not isinstance(d, Finished | UsageDelta)
    ]


def ours(model: str = MODEL, **more: str) -> dict[str, Mapping[str, str]]:
    """What a part that `model` thought has in `extra`."""
    return {"anthropic": {"model": model, **more}}


def thought(words: str, seal: str | None = SEAL, model: str = MODEL) -> ReasoningPart:
    return ReasoningPart(text=words, signature=seal, extra=ours(model))


def blacked_out(data: str = "abc") -> HiddenReasoningPart:
    return HiddenReasoningPart(state="redacted", data=data, extra=ours())
