"""Judges JSON by the types of OpenAI's own SDK: reads `[kind, value]` by line, answers with a list of what is wrong."""

import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, get_args

from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import BaseModel, TypeAdapter, ValidationError

KINDS: dict[str, Any] = {
    "chunk": ChatCompletionChunk,
    "completion": ChatCompletion,
    "response": Response,
    "model": Model,
    "chat request": CompletionCreateParamsStreaming,
    "responses request": ResponseCreateParamsStreaming,
}
EVENTS: dict[str, Any] = {
    get_args(event.model_fields["type"].annotation)[0]: event for event in get_args(get_args(ResponseStreamEvent)[0])
}


@cache
def judge(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter({**KINDS, **EVENTS}[kind])


def problems(kind: str, value: Any) -> list[str]:
    try:
        read = judge(value["type"] if kind == "event" else kind).validate_python(value)
        checked(read)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return sorted(set(unknown(read)))


def checked(value: Any) -> None:
    """Goes through everything, since pydantic reads iterables only when they are gone through."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str | BaseModel):
        for each in value:
            checked(each)


def unknown(value: Any, place: str = "") -> Iterator[str]:
    """Fields that the SDK's models do not have, by their places."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or {}:
            yield f"{place}{name} is unknown"
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name), f"{place}{name}.")
    elif isinstance(value, list):
        for each in value:
            yield from unknown(each, place)


for line in sys.stdin:
    print(json.dumps(problems(*json.loads(line))))
