"""Streams as vendors and servers send them: each means one thing wherever its bytes are cut, and only whole.

`fixtures/streams/<dialect>/<what>` holds the bytes, `rig/recording.py` records them, and `MEANINGS` says what each says
(as `recorded.shown` writes it), how it ends and who wrote it. `cut` stops inside a call's arguments; in `everything`
are surrogate pairs cut in halves, comments, line ends of all kinds, seals, and calls that come interleaved.
"""

import asyncio
from typing import NamedTuple

import pytest

from perdure.domain.errors import ModelError
from perdure.providers.base import AnyDelta, ModelRequest
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.remote import RemoteProvider
from tests.providers.chat import HELLO, KINDS, SYSTEM
from tests.providers.recorded import FILES, Read, framing, payloads, raw, read, shown, told
from tests.providers.scripted import END, SSE, Asked, chunked, run, serving

LLAMACPP, AIMOCK, LLMOCK, HAND = "llama.cpp", "aimock", "llmock", "by hand"
BOTH = 'Both.[weather {"city": "Oslo"}][weather {"city": "Rome"}]'
HALF = 'Both.[weather {"city": "Oslo"}][weather ]'


class Means(NamedTuple):
    """What a stream says, the reason or the error it ends with, and who wrote it."""

    says: str
    ends: str
    by: str


MEANINGS = {
    "openai_chat/text": Means(" morning likes", "stop", LLAMACPP),
    "openai_chat/reasoning": Means("<Let me think.>Yes.", "stop", AIMOCK),
    "openai_chat/parallel_calls": Means(BOTH, "tool_calls", LLMOCK),
    "openai_chat/empty": Means("", "stop", LLMOCK),
    "openai_chat/length": Means(" morning likes", "length", LLAMACPP),
    "openai_chat/refusal": Means("I'm sorry, I cannot.", "stop", HAND),
    "openai_chat/filtered": Means("I will not.", "content_filter", LLMOCK),
    "openai_chat/cut": Means(HALF, "llm_error", LLMOCK),
    "openai_chat/malformed": Means("one ", "llm_error", LLMOCK),
    "openai_chat/error": Means("Half an", "llm_error", HAND),
    "openai_chat/everything": Means('<hm>é😀a😀[add {"x":1}][say {}]', "tool_calls", HAND),
    "openai_responses/text": Means(" morning likes", "stop", LLAMACPP),
    "openai_responses/reasoning": Means("<Let me think.>Yes.", "stop", AIMOCK),
    "openai_responses/parallel_calls": Means(BOTH, "tool_calls", LLMOCK),
    "openai_responses/empty": Means("", "stop", LLMOCK),
    "openai_responses/length": Means("Half an", "length", LLMOCK),
    "openai_responses/refusal": Means("I'm sorry, I cannot.", "stop", HAND),
    "openai_responses/cut": Means(BOTH, "llm_error", LLMOCK),
    "openai_responses/malformed": Means("", "llm_error", LLMOCK),
    "openai_responses/error": Means("Half an", "llm_error", HAND),
    "openai_responses/failed": Means("Half an", "llm_rate_limit", HAND),
    "openai_responses/everything": Means('<Greet.\n\nKindly.><>é😀a😀[add {"x":1}][say {}]', "tool_calls", HAND),
    "anthropic/text": Means("| writes writesY\\ writes`", "stop", LLAMACPP),
    "anthropic/reasoning": Means("<><Let me think.>Yes.", "stop", AIMOCK),
    "anthropic/parallel_calls": Means(BOTH, "tool_calls", LLMOCK),
    "anthropic/empty": Means("", "stop", LLMOCK),
    "anthropic/length": Means("| writes", "length", LLAMACPP),
    "anthropic/refusal": Means("I cannot help with that.", "content_filter", HAND),
    "anthropic/filtered": Means("I will not.", "content_filter", LLMOCK),
    "anthropic/cut": Means(HALF, "llm_error", LLMOCK),
    "anthropic/malformed": Means("", "llm_error", LLMOCK),
    "anthropic/error": Means("Half an", "llm_error", HAND),
    "anthropic/everything": Means('<Let me see 😀><><>é😀a😀[add {"x":1}][look ]', "tool_calls", HAND),
    "gemini/text": Means("one two three", "stop", LLMOCK),
    "gemini/reasoning": Means("<Let me think.>Yes.", "stop", AIMOCK),
    "gemini/parallel_calls": Means(BOTH.replace(": ", ":"), "tool_calls", LLMOCK),
    "gemini/empty": Means("", "stop", LLMOCK),
    "gemini/length": Means("Half an", "length", LLMOCK),
    "gemini/refusal": Means("", "llm_bad_request", HAND),
    "gemini/filtered": Means("I will not.", "content_filter", LLMOCK),
    "gemini/cut": Means("", "llm_error", LLMOCK),
    "gemini/malformed": Means("one two ", "llm_error", LLMOCK),
    "gemini/error": Means("Half an", "llm_error", HAND),
    "gemini/everything": Means('<hm>é😀a😀[add {"x":"é"}][say {}]', "tool_calls", HAND),
    "bedrock/text": Means("Hello, é😀 you.", "stop", AIMOCK),
    "bedrock/reasoning": Means("<Let me think.>Yes.", "stop", AIMOCK),
    "bedrock/parallel_calls": Means(BOTH.removeprefix("Both.").replace(": ", ":"), "tool_calls", AIMOCK),
    "bedrock/empty": Means("", "stop", HAND),
    "bedrock/length": Means("Half an", "length", AIMOCK),
    "bedrock/refusal": Means("I cannot help with that.", "content_filter", HAND),
    "bedrock/cut": Means('[weather {"city":"Oslo"}][weather {"city"]', "llm_error", AIMOCK),
    "bedrock/error": Means("Half an", "llm_rate_limit", HAND),
}


def ended(found: Read) -> str:
    return found.error.error_type if found.error else found.deltas[-1].reason


def test_each_recording_is_in_the_table() -> None:
    assert MEANINGS.keys() == FILES.keys()


@pytest.mark.parametrize("name", MEANINGS)
def test_a_recording_means_the_same_wherever_its_bytes_are_cut(name: str) -> None:
    """Cut in two at every byte, and at all of them. Payloads that come in the same groups are read once."""
    dialect, stream = name.partition("/")[0], raw(name)
    whole = read(dialect, payloads(dialect, [stream]))
    assert (shown(whole.deltas), ended(whole)) == MEANINGS[name][:2]
    every = [each for group in payloads(dialect, [stream]) for each in group]
    groupings: dict[tuple[int, ...], list[list[bytes]]] = {}
    for pieces in (
        *([stream[:at], stream[at:]] for at in range(len(stream))),
        [stream[at : at + 1] for at in range(len(stream))],
    ):
        groups = payloads(dialect, pieces)
        assert [each for group in groups for each in group] == every
        groupings[tuple(map(len, groups))] = groups
    for groups in groupings.values():
        again = read(dialect, groups)
        assert told(again.deltas) == told(whole.deltas)
        assert str(again.error) == str(whole.error)


@pytest.mark.parametrize("name", [name for name, means in MEANINGS.items() if not means.ends.startswith("llm_")])
def test_a_stream_that_stops_anywhere_is_an_error_unless_all_was_said(name: str) -> None:
    """Usage may still be missing: it comes last, and is no part of the answer."""
    dialect, stream = name.partition("/")[0], raw(name)
    whole = told(read(dialect, payloads(dialect, [stream])).deltas)[0]
    stops = [payloads(dialect, [stream[:at]]) for at in range(len(stream))]
    for groups in {tuple(map(len, groups)): groups for groups in stops}.values():
        found = read(dialect, groups)
        shown_so_far = told(found.deltas)[0]
        assert shown_so_far == whole[: len(shown_so_far)]
        assert found.error or shown_so_far == whole


NETWORKED = {
    "openai_chat": ("openai", "gpt-4o"),
    "openai_responses": ("openai", "gpt-5"),
    "anthropic": ("anthropic", "claude-3-7"),
    "gemini": ("google_ai", "gemini-2.5-pro"),
    "bedrock": ("bedrock", "anthropic.claude-3-7"),
}
"""The provider and the model that speak a dialect."""


@pytest.mark.parametrize("dialect", NETWORKED)
def test_over_the_network_byte_by_byte_and_lost_after_any_event(dialect: str) -> None:
    """What came before the connection was lost is what was said, and the loss is named."""
    stream = raw(f"{dialect}/{'parallel_calls' if dialect == 'bedrock' else 'everything'}")
    head = SSE.replace(b"text/event-stream", b"application/vnd.amazon.eventstream") if dialect == "bedrock" else SSE
    every_byte = [stream[at : at + 1] for at in range(len(stream))]
    parser = framing(dialect)
    ends = [at for at, byte in enumerate(every_byte, 1) if parser.feed(byte)]
    left = [every_byte, *([stream[:at]] for at in ends)]
    expected = [read(dialect, payloads(dialect, pieces)) for pieces in left]

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        pieces = left.pop(0)
        is_whole = pieces is every_byte
        writer.write(head + b"".join(map(chunked, pieces)) + (END if is_whole else b""))
        if not is_whole:
            await writer.drain()
            writer.close()

    async def go() -> list[Read]:
        name, model = NETWORKED[dialect]
        async with serving(answer) as server:
            http = HttpClient()
            provider = RemoteProvider(http, Endpoint(name="box", url=server.url), KINDS[name])
            request = ModelRequest(model=provider.model(model), messages=(SYSTEM, HELLO))
            got = [await came(provider, request) for _ in expected]
            await http.close()
            return got

    for found, meant in zip(run(go()), expected, strict=True):
        assert shown(found.deltas) == shown(meant.deltas)
        assert (found.error is None) == (meant.error is None)
        assert found.error is None or "before its answer was complete" in found.error.detail


async def came(provider: RemoteProvider, request: ModelRequest) -> Read:
    got: list[AnyDelta] = []
    try:
        async for batch in provider.stream(request):
            got += batch
    except ModelError as error:
        return Read(got, error)
    return Read(got, None)
