"""The chunks of one Gemini answer, turned into deltas. The hot path: every token passes `read`.

A thought signature belongs to the very piece it came with, and streamed pieces of one kind become one part. So each
part keeps, in its `extra` under the type of its provider, where in it the signed pieces stand: `seals` is a list of
(first character, end, signature). A call has at most one, as `signature`, and `id` where the provider named it.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from perdure.domain.errors import ModelError
from perdure.domain.messages import Message
from perdure.domain.runs import Usage
from perdure.providers.base import AnyDelta, Finished, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from perdure.providers.call_ids import CallIds
from perdure.providers.http import Endpoint
from perdure.providers.refusals import decoded, reported
from perdure.providers.text import Halves, is_storable, storable

_BLOCKED: Final = frozenset({
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED",
})  # fmt: skip
_FAILED: Final = frozenset({
    "OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE", "NO_IMAGE", "IMAGE_OTHER",
})  # fmt: skip
"""Ways to end that are no answer. All that is neither here nor blocked means that the model ended by itself."""
_UNFINISHED: Final = "FINISH_REASON_UNSPECIFIED"
CONTINUATION: Final = "CONTINUATION"
"""The answer is longer than one request may be, and goes on with the next."""

MAX_SEALS: Final = 100
"""Signed pieces of one part whose seals are kept. Each is sent again with all of them, and no Gemini signs so many."""

_Channel = Literal["text", "thought"]


class _FunctionCall(msgspec.Struct, gc=False):
    name: str | None = None
    args: dict[str, Any] | None = None
    id: str | None = None


class _Part(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    continuation_token: str | None = None


class _Feedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Usage(msgspec.Struct, rename="camel", gc=False):
    """Token counts; a float where something between us and Google has read the JSON and written it anew."""

    prompt_token_count: int | float | None = None
    candidates_token_count: int | float | None = None
    thoughts_token_count: int | float | None = None
    tool_use_prompt_token_count: int | float | None = None
    cached_content_token_count: int | float | None = None
    total_token_count: int | float | None = None


class _Chunk(msgspec.Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None


_DECODER: Final = msgspec.json.Decoder(_Chunk)


class ChunkReader:
    """Reads the payloads of one answer, which may take several requests.

    `provider_type` is the key for what the provider wants back; `history` is what the model was shown.
    """

    def __init__(self, endpoint: Endpoint, provider_type: str, history: Sequence[Message]) -> None:
        self._endpoint = endpoint
        self._type = provider_type
        self._halves: Halves[_Channel] = Halves()
        self._ids = CallIds(history)
        self._run: _Channel | None = None
        self._chars = 0
        self._seals: list[list[Any]] = []
        self._calls = 0
        self._spent = Usage()
        self._usage: _Usage | None = None
        self._finish: str | None = None
        self._finish_message: str | None = None
        self._said = False
        self._continued: str | None = None
        self.token: str | None = None
        """What the next request has to bring to go on where this one stopped."""
        self.done = False
        self.shown = False
        """Whether anything was passed on, so that the model cannot be asked again unseen."""
        self.failure: ModelError | None = None
        """Set where an error came after deltas of the same read: to be raised once they are passed on."""

    @property
    def finished(self) -> bool:
        """Whether the model has said why it stopped."""
        return self._finish is not None

    @property
    def finish(self) -> str | None:
        """Why it stopped, in the provider's words."""
        return self._finish

    def read(self, payloads: Sequence[bytes]) -> list[AnyDelta]:
        """The deltas in these payloads, possibly none. Raises ModelError for an error among them, and for nonsense."""
        out: list[AnyDelta] = []
        try:
            for payload in payloads:
                self._read(payload, out)
        except ModelError as error:
            if not out:
                raise
            self.failure = error
        if out:
            self.shown = True
        return out

    def end(self) -> list[AnyDelta]:
        """Completes the answer, or this request's part of it.

        Raises ModelError for an answer that was cut before the model said why it stopped, and for one that is none.
        """
        reason, message = self._finish, storable(self._finish_message or "")
        if reason is None:
            what = "ended before its answer was complete: there was no finishReason"
            raise self._endpoint.failed(what, transient=True)
        if reason in _FAILED:
            raise self._endpoint.failed(f"gave up on its answer: {reason} {message}".rstrip())
        if reason in _BLOCKED and not self._said:
            raise self._endpoint.failed(f"withheld its answer: {reason} {message}".rstrip(), "llm_bad_request")
        self._spent = self._spent.plus(_usage(self._usage))
        self._usage = None
        if reason == CONTINUATION and self.token != self._continued:
            self._continued, self._finish = self.token, None
            return []
        self.done = True
        out: list[AnyDelta] = []
        for channel, text in self._halves.flush():
            self._emit(channel, text, out)
        if self._spent.total_tokens:
            out.append(UsageDelta(msgspec.structs.replace(self._spent, step_count=1)))
        if reason in ("MAX_TOKENS", CONTINUATION):
            out.append(Finished("length"))
        elif reason in _BLOCKED:
            out.append(Finished("content_filter"))
        else:
            out.append(Finished("tool_calls" if self._calls else "stop"))
        return out

    def _read(self, payload: bytes, out: list[AnyDelta]) -> None:
        try:
            chunk = _DECODER.decode(payload)
        except (ValueError, RecursionError):
            chunk = self._lenient(payload)
        if chunk.usage_metadata is not None:
            self._usage = chunk.usage_metadata
        if not chunk.candidates:
            self._aside(chunk, payload)
            return
        candidate = chunk.candidates[0]
        content = candidate.content
        if content is not None and content.parts:
            for part in content.parts:
                text = part.text
                if (
                    text
                    and self._run == "text"
                    and self._chars
                    and not part.thought
                    and part.thought_signature is None
                    and part.function_call is None
                    and not self._halves.waiting
                    and is_storable(text)
                ):
                    self._chars += len(text)
                    out.append(TextDelta(text))
                else:
                    self._part(part, out)
        if candidate.finish_reason is not None and candidate.finish_reason != _UNFINISHED:
            self._finish = candidate.finish_reason
            self._finish_message = candidate.finish_message
        if candidate.continuation_token is not None and is_storable(candidate.continuation_token):
            self.token = candidate.continuation_token

    def _lenient(self, payload: bytes) -> _Chunk:
        """A chunk the decoder refuses: half a surrogate pair, bad UTF-8, or counts that make no sense."""
        answer = decoded(payload)
        if not isinstance(answer, dict):
            error = reported(answer, self._endpoint.key)
            raise error or self._endpoint.failed(f"sent a chunk that is no JSON object: {payload[:200]!r}")
        try:
            return msgspec.convert(answer, _Chunk, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as problem:
            answer.pop("usageMetadata", None)
            try:
                return msgspec.convert(answer, _Chunk, strict=False)
            except (msgspec.ValidationError, UnicodeEncodeError):
                error = reported(answer, self._endpoint.key)
                raise error or self._endpoint.failed(f"sent a chunk that cannot be understood: {problem}") from None

    def _aside(self, chunk: _Chunk, payload: bytes) -> None:
        """A chunk without an answer in it: a prompt that was refused, an error, or something of no concern."""
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason:
            why = f"{feedback.block_reason} {storable(feedback.block_reason_message or '')}".rstrip()
            raise self._endpoint.failed(f"blocked the prompt: {why}", "llm_bad_request")
        if error := reported(decoded(payload), self._endpoint.key):
            raise error

    def _part(self, part: _Part, out: list[AnyDelta]) -> None:
        seal = part.thought_signature if is_storable(part.thought_signature or "") else None
        if part.function_call is not None:
            self._call(part.function_call, seal, out)
            return
        channel: _Channel = "thought" if part.thought else "text"
        start = self._chars if self._run == channel else 0
        if part.text:
            for each, text in self._halves.add(channel, part.text):
                self._emit(each, text, out)
        if seal:
            if self._run != channel:
                self._begin(channel)
            if len(self._seals) >= MAX_SEALS:
                return
            self._seals.append([start, self._chars, seal])
            if self._chars:
                out.append(_delta(channel, "", self._extra()))

    def _emit(self, channel: _Channel, text: str, out: list[AnyDelta]) -> None:
        if channel != self._run:
            self._begin(channel)
        # A seal that came before the first character had no part to go to.
        extra = self._extra() if self._seals and not self._chars else None
        self._chars += len(text)
        self._said = self._said or channel == "text"
        out.append(_delta(channel, text, extra))

    def _begin(self, channel: _Channel) -> None:
        self._run, self._chars, self._seals = channel, 0, []

    def _extra(self) -> dict[str, Any]:
        return {self._type: {"seals": self._seals.copy()}}

    def _call(self, call: _FunctionCall, signature: str | None, out: list[AnyDelta]) -> None:
        """A call, which comes whole."""
        for channel, text in self._halves.flush():
            self._emit(channel, text, out)
        given = call.id or ""
        call_id = self._ids.take(given)
        kept = {"signature": signature} if signature else {}
        if given == call_id:
            kept["id"] = given
        name, arguments = storable(call.name or "").strip(), _json(call.args or {})
        extra = {self._type: kept} if kept else None
        out.append(ToolCallDelta(self._calls, arguments, call_id, name, extra))
        self._calls += 1
        self._said = True
        self._run = None


def _delta(channel: _Channel, text: str, extra: dict[str, Any] | None) -> AnyDelta:
    return TextDelta(text, extra) if channel == "text" else ReasoningDelta(text, extra=extra)


def _json(arguments: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(arguments).decode()
    except UnicodeEncodeError:
        return storable(json.dumps(arguments, ensure_ascii=False))


def _usage(given: _Usage | None) -> Usage:
    """The cost of one request. Thoughts are counted apart by the provider, and are part of the completion here."""
    if given is None:
        return Usage()
    thoughts = _count(given.thoughts_token_count)
    prompt = (_count(given.prompt_token_count) or 0) + (_count(given.tool_use_prompt_token_count) or 0)
    completion = (_count(given.candidates_token_count) or 0) + (thoughts or 0)
    total = _count(given.total_token_count) or prompt + completion
    return Usage(
        completion_tokens=completion,
        prompt_tokens=prompt,
        total_tokens=total,
        cached_input_tokens=_count(given.cached_content_token_count),
        reasoning_tokens=thoughts,
        context_tokens=total,
    )


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < 1 << 53 else None
