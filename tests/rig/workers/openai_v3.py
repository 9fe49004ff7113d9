"""Drives OpenAI's own SDK for the tests; see loop.py."""

from collections.abc import Iterator
from typing import Any

from loop import Operation, serve
from openai import OpenAI


def chat_events(client: OpenAI, **fields: Any) -> Iterator[Any]:
    """What the SDK's own stream reader makes of a chat: the completion it put together, after its last event."""
    with client.chat.completions.stream(**fields) as stream:
        for _ in stream:
            pass
        yield stream.get_final_completion()


def response_events(client: OpenAI, **fields: Any) -> Iterator[Any]:
    """What the SDK's own stream reader makes of a response: each event, and the response it put together."""
    with client.responses.stream(**fields) as stream:
        yield from stream
        yield stream.get_final_response()


OPERATIONS: dict[str, Operation] = {
    "chat": lambda client, **fields: [client.chat.completions.create(**fields)],
    "chat_chunks": lambda client, **fields: client.chat.completions.create(stream=True, **fields),
    "chat_whole": chat_events,
    "models": lambda client: client.with_options(base_url=f"{client.base_url}openai").models.list(),
    "model": lambda client, **fields: [client.models.retrieve(**fields)],
    "response": lambda client, **fields: [client.responses.retrieve(**fields)],
    "response_events": lambda client, **fields: client.responses.retrieve(stream=True, **fields),
    "cancel_response": lambda client, **fields: [client.responses.cancel(**fields)],
    "respond": lambda client, **fields: [client.responses.create(**fields)],
    "respond_events": lambda client, **fields: client.responses.create(stream=True, **fields),
    "respond_whole": response_events,
}

serve(lambda url: OpenAI(base_url=f"{url}/v1", api_key="test"), OPERATIONS)
