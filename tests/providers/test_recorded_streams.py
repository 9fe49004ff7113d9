"""Streams as vendors and servers send them: each means one thing wherever its bytes are cut, and only whole.

`fixtures/streams/<dialect>/<what>` holds the bytes, `rig/recording.py` records them, and `MEANINGS` says what each says
(as `recorded.shown` writes it), how it ends and who wrote it. `cut` stops inside a call's arguments; in `everything`
are surrogate pairs cut in halves, comments, line ends of all kinds, seals, and calls that come interleaved.
"""

from typing import NamedTuple

import pytest

from tests.providers.recorded import FILES, Read, payloads, raw, read, shown, told

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
    groupings = {
        tuple(payloads(dialect, pieces))
        for pieces in (
            *([stream[:at], stream[at:]] for at in range(len(stream))),
            [stream[at : at + 1] for at in range(len(stream))],
        )
    }
    for groups in groupings:
        assert [each for group in groups for each in group] == every
        again = read(dialect, groups)
        assert told(again.deltas) == told(whole.deltas)
        assert str(again.error) == str(whole.error)


@pytest.mark.parametrize("name", MEANINGS)
def test_a_stream_that_stops_anywhere_is_an_error_unless_all_was_said(name: str) -> None:
    """Usage may still be missing: it comes last, and is no part of the answer."""
    dialect, stream = name.partition("/")[0], raw(name)
    whole = told(read(dialect, payloads(dialect, [stream])).deltas)[0]
    for groups in {tuple(payloads(dialect, [stream[:at]])) for at in range(len(stream))}:
        found = read(dialect, groups)
        if found.error is None:
            assert told(found.deltas)[0] == whole
        else:
            assert told(found.deltas)[0] == whole[: len(told(found.deltas)[0])]
