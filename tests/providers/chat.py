"""Asking a scripted provider through the chat dialect, for the tests of both of its directions."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from perdure.domain.errors import ModelError
from perdure.domain.messages import (
    AnyPart,
    Message,
    Role,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.providers.base import (
    AnyDelta,
    Finished,
    ModelRequest,
    ToolCallDelta,
)
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_providers import KNOWN_PROVIDERS, KnownProvider
from perdure.providers.remote import RemoteProvider
from tests.providers.scripted import Answer, events, run, serving, streams

KINDS = {kind.name: kind for kind in KNOWN_PROVIDERS}
ADD = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
SAY = {"name": "say", "description": "Says.", "parameters": {"type": "object", "properties": {}}}


def message(role: Role, *parts: AnyPart | str) -> Message:
    made = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return Message(id="message-1", agent_id="agent-1", role=role, parts=made, created_at=0)


def call(call_id: str, arguments: str = "{}", name: str = "add") -> ToolCallPart:
    return ToolCallPart(call_id=call_id, name=name, arguments=arguments)


def returned(call_id: str, text: str = "3") -> Message:
    return message("tool", ToolReturnPart(call_id=call_id, name="add", status="success", text=text))


SYSTEM, HELLO = message("system", "Be kind."), message("user", "Hello")


def chunk(delta: Any = None, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **fields}


def fragment(arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", fields.pop("name", None)), ("arguments", arguments)) if value}
    return {**fields, "function": function}


STOP = chunk(finish_reason="stop")


def asked(
    answer: Answer,
    *messages: Message,
    kind: KnownProvider = KINDS["openai"],
    model: str = "gpt-4o",
    **fields: Any,
) -> tuple[list[AnyDelta], dict[str, Any]]:
    """The deltas a provider's answer gives, and the body it was asked with."""
    kind = msgspec.structs.replace(kind, reasoning_dialect=None)

    async def go() -> tuple[list[AnyDelta], dict[str, Any]]:
        async with serving(answer) as server:
            http = HttpClient()
            provider = RemoteProvider(http, Endpoint(name=kind.name, url=f"{server.url}/v1"), kind)
            request = ModelRequest(model=provider.model(model), messages=messages or (SYSTEM, HELLO), **fields)
            try:
                got = [delta async for batch in provider.stream(request) for delta in batch]
            finally:
                await http.close()
            assert server.asked[0].path == "/v1/chat/completions"
            return got, server.asked[0].json

    return run(go())


def deltas(*chunks: Any, **options: Any) -> list[AnyDelta]:
    return asked(streams(*events(*chunks, "[DONE]")), **options)[0]


def body(*messages: Message, **options: Any) -> dict[str, Any]:
    return asked(streams(*events(STOP, "[DONE]")), *messages, **options)[1]


def failure(*chunks: Any) -> ModelError:
    with pytest.raises(ModelError) as raised:
        asked(streams(*events(*chunks)))
    return raised.value


def shape(got: Sequence[AnyDelta]) -> list[Any]:
    """The deltas with calls as (index, id, name, arguments), so that a test reads at a glance."""
    return [
        (d.index, d.call_id, d.name, d.arguments) if isinstance(d, ToolCallDelta) else getattr(d, "text", d)
        for d in got
        if not isinstance(d, Finished)
    ]
