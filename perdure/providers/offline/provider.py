"""The offline model as a provider: decides by rule, streams a word at a time, reports honest estimates."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import msgspec

from perdure.domain.errors import ModelError
from perdure.domain.messages import ImagePart, Message
from perdure.domain.models import EmbeddingModel, Model
from perdure.domain.runs import Usage
from perdure.providers.base import (
    AnyDelta,
    Finished,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from perdure.providers.offline.decide import Action, decide

OFFLINE_MODEL: Final = Model(
    handle="perdure/offline",
    name="offline",
    provider_name="perdure",
    provider_type="letta",
    endpoint_type="openai",  # the contract's list has no word for "none"
    context_window=32_768,
    display_name="Perdure offline (rule-based stand-in, no language model)",
)

BYTES_PER_TOKEN: Final = 4
_WORD: Final = re.compile(r"\S+\s*|\s+")
_ARGUMENT_PIECE: Final = 16


class OfflineProvider:
    """Serves one model that needs nothing. `token_delay` is in seconds and makes the stream watchable."""

    def __init__(self, token_delay: float = 0.0) -> None:
        self._token_delay = token_delay

    @property
    def name(self) -> str:
        return OFFLINE_MODEL.provider_name

    async def models(self) -> Sequence[Model]:
        return (OFFLINE_MODEL,)

    async def embedding_models(self) -> Sequence[EmbeddingModel]:
        return ()

    async def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]:
        """The same request gives the same deltas. Raises nothing."""
        action = decide(request)
        limit = request.settings.max_output_tokens
        spent = _Spent(limit * BYTES_PER_TOKEN if limit else None)
        for delta in _deltas(request, action):
            if not spent.take(delta):
                yield [UsageDelta(spent.usage(request)), Finished("length")]
                return
            yield [delta]
            # Also without a delay: gives way, so that others run and a cancel is seen between two words.
            await asyncio.sleep(self._token_delay)
        yield [UsageDelta(spent.usage(request)), Finished("tool_calls" if action.tool else "stop")]

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def embed(self, model: EmbeddingModel, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        raise ModelError("llm_error", f"{model.handle} makes no embeddings.")

    async def close(self) -> None:
        return None


class _Spent:
    """Counts what was said, in bytes, up to an optional limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._said = 0
        self._reasoned = 0

    def take(self, delta: AnyDelta) -> bool:
        """Count a fragment; false where it would go over the limit."""
        match delta:
            case ReasoningDelta(text):
                self._reasoned += _size(text)
            case TextDelta(text):
                self._said += _size(text)
            case ToolCallDelta():
                self._said += _size(delta.name or "") + _size(delta.arguments)
            case _:
                pass
        return self._limit is None or self._said + self._reasoned <= self._limit

    def usage(self, request: ModelRequest) -> Usage:
        """Estimates at four bytes a token; a rule-based model has no tokens of its own."""
        prompt = _tokens(_prompt_size(request))
        answer = _tokens(self._said + self._reasoned)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=answer,
            total_tokens=prompt + answer,
            step_count=1,
            reasoning_tokens=_tokens(self._reasoned),
            context_tokens=prompt + answer,
        )


def _deltas(request: ModelRequest, action: Action) -> Iterator[AnyDelta]:
    if request.settings.reasoning:
        yield from (ReasoningDelta(word) for word in _WORD.findall(action.thought))
    yield from (TextDelta(word) for word in _WORD.findall(action.text))
    if action.tool is not None:
        arguments = json.dumps(action.arguments, ensure_ascii=False)
        yield ToolCallDelta(0, call_id=_call_id(request, action.tool, arguments), name=action.tool)
        for at in range(0, len(arguments), _ARGUMENT_PIECE):
            yield ToolCallDelta(0, arguments[at : at + _ARGUMENT_PIECE])


def _call_id(request: ModelRequest, tool: str, arguments: str) -> str:
    """An id that is new in this conversation, yet the same whenever the same request is made again."""
    last = request.messages[-1].id if request.messages else ""
    text = f"{len(request.messages)} {last} {tool} {arguments}"
    return "call_" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:24]


def _prompt_size(request: ModelRequest) -> int:
    tools = json.dumps(list(request.tools), ensure_ascii=False, default=str) if request.tools else ""
    return sum(_message_size(message) for message in request.messages) + _size(tools)


def _message_size(message: Message) -> int:
    """Bytes of text a model would read; images count nothing here, since nothing looks at them."""
    size = 0
    for part in message.parts:
        if not isinstance(part, ImagePart):
            size += sum(_size(value) for value in msgspec.structs.astuple(part) if isinstance(value, str))
    return size


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
