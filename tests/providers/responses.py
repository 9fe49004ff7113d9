"""Asking a scripted provider through the Responses dialect, for the tests of both of its directions."""

from typing import Any

import pytest

from perdure.domain.errors import ModelError
from perdure.domain.messages import Message
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.event_stream import EventParser
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.known_providers import KnownProvider
from perdure.providers.openai_responses_events import EventReader
from perdure.providers.remote import RemoteProvider
from tests.providers.chat import HELLO, KINDS, SYSTEM
from tests.providers.scripted import Answer, Asked, events, run, serving, streams

MODEL = "gpt-5"
SEAL = "gAAAAABsealed+/=="
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 2},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 14,
}

Event = dict[str, Any]


def event(kind: str, **fields: Any) -> Event:
    return {"type": f"response.{kind}", "sequence_number": 1, **fields}


def added(at: int, kind: str, **fields: Any) -> Event:
    return event("output_item.added", output_index=at, item={"id": f"{kind}_{at}", "type": kind, **fields})


def done(at: int, kind: str, **fields: Any) -> Event:
    return event("output_item.done", output_index=at, item={"id": f"{kind}_{at}", "type": kind, **fields})


def delta(kind: str, at: int, text: str, **fields: Any) -> Event:
    return event(f"{kind}.delta", output_index=at, item_id=f"item_{at}", delta=text, **fields)


def begun() -> list[Event]:
    response = {"id": "resp_1", "status": "in_progress", "output": [], "instructions": "Be kind.", "usage": None}
    return [event("created", response=response), event("in_progress", response=response)]


def ends(how: str = "completed", **fields: Any) -> Event:
    return event(how, response={"id": "resp_1", "status": how, "output": [], "usage": USAGE, **fields})


def says(at: int, *pieces: str, kind: str = "output_text", **fields: Any) -> list[Event]:
    """A message as it streams."""
    content = {"type": kind, "text" if kind == "output_text" else "refusal": "".join(pieces)}
    return [
        added(at, "message", role="assistant", content=[]),
        event("content_part.added", output_index=at, content_index=0, part={**content}),
        *(delta(kind, at, piece, content_index=0, logprobs=[]) for piece in pieces),
        event(f"{kind}.done", output_index=at, content_index=0, text="".join(pieces)),
        done(at, "message", role="assistant", content=[content], **fields),
    ]


def thinks(at: int, *summaries: str, seal: str | None = SEAL) -> list[Event]:
    """Reasoning as it streams, each summary in two pieces."""
    streamed = [
        delta("reasoning_summary_text", at, piece, summary_index=index)
        for index, summary in enumerate(summaries)
        for piece in (summary[:2], summary[2:])
    ]
    sealed = {} if seal is None else {"encrypted_content": seal}
    items = [{"type": "summary_text", "text": summary} for summary in summaries]
    # What comes with the beginning may be incomplete: only the end counts.
    return [
        added(at, "reasoning", summary=[], encrypted_content="half"),
        *streamed,
        done(at, "reasoning", summary=items, **sealed),
    ]


def calls(at: int, call_id: str, name: str, *pieces: str) -> list[Event]:
    """A tool call as it streams."""
    whole = "".join(pieces)
    return [
        added(at, "function_call", call_id=call_id, name=name, arguments=""),
        *(delta("function_call_arguments", at, piece) for piece in pieces),
        event("function_call_arguments.done", output_index=at, arguments=whole),
        done(at, "function_call", call_id=call_id, name=name, arguments=whole),
    ]


def asked(
    answer: Answer,
    *messages: Message,
    kind: KnownProvider = KINDS["openai"],
    model: str = MODEL,
    limits: Limits | None = None,
    **fields: Any,
) -> tuple[list[AnyDelta], list[Asked]]:
    """The deltas a provider's answer gives, and what it was asked with."""

    async def go() -> tuple[list[AnyDelta], list[Asked]]:
        async with serving(answer) as server:
            http = HttpClient(limits)
            provider = RemoteProvider(http, Endpoint(name=kind.name, url=f"{server.url}/v1"), kind)
            request = ModelRequest(model=provider.model(model), messages=messages or (SYSTEM, HELLO), **fields)
            try:
                got: list[AnyDelta] = []
                async for batch in provider.stream(request):
                    assert batch, "an empty batch"
                    got += batch
            finally:
                await http.close()
            assert {each.path for each in server.asked} == {"/v1/responses"}
            return got, server.asked

    return run(go())


def deltas(*said: Event | str, **options: Any) -> list[AnyDelta]:
    return asked(streams(*events(*begun(), *said)), **options)[0]


def body(*messages: Message, **options: Any) -> dict[str, Any]:
    return asked(streams(*events(ends())), *messages, **options)[1][0].json


def failure(answer: Answer, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as raised:
        asked(answer, **options)
    return raised.value


def read_in(*pieces: bytes) -> list[AnyDelta]:
    """What a stream gives that is read in these pieces. Raises ModelError where it is not whole."""
    provider = RemoteProvider(HttpClient(), Endpoint(name="openai", url="http://127.0.0.1:1"), KINDS["openai"])
    request = ModelRequest(model=provider.model(MODEL), messages=(SYSTEM, HELLO))
    parser, reader = EventParser(), EventReader(provider.endpoint, request)
    out: list[AnyDelta] = []
    for piece in (*pieces, None):
        out += reader.read(parser.finish() if piece is None else parser.feed(piece))
        if reader.failure:
            raise reader.failure
    if not reader.done:
        raise reader.cut()
    return out
