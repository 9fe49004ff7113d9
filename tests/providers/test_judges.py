"""Whatever history there is and however a model is asked: vendors' own types, and strict judges, take what is sent.

And Anthropic's SDK, which puts an answer together from its stream by itself, has read the same.
"""

import contextlib
import copy
import functools
import json
import operator
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
from anthropic._models import construct_type_unchecked
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as Answered
from anthropic.types import ModelParam, RawMessageStreamEvent
from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming as BetaParams
from anthropic.types.message_create_params import MessageCreateParamsStreaming as Params
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from perdure.domain.errors import ModelError
from perdure.domain.messages import (
    PARTS_DECODER,
    PARTS_ENCODER,
    AnyPart,
    HiddenReasoningPart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from perdure.loop.answer import Answer
from perdure.providers.anthropic_body import messages_body
from perdure.providers.anthropic_events import EventReader
from perdure.providers.base import ModelRequest
from perdure.providers.gemini_body import gemini_body
from perdure.providers.gemini_chunks import ChunkReader
from perdure.providers.http import Endpoint
from tests.providers import claude, gemini
from tests.providers.histories import requests
from tests.rig import claude as claude_judge
from tests.rig import gemini as gemini_judge

CLAUDES = [
    *(name for each in get_args(ModelParam) for name in get_args(each)),
    "claude-3-7-sonnet-20250219", "claude-3-5-haiku-latest", "claude-sonnet-4-20250514", "glm-5",
]  # fmt: skip
GEMINIS = ["gemini-4-argon", "gemini-3.8-flash", "gemini-2.5-pro", "gemini-2.0-flash", "gemma-4-31b-it"]
PARAMS, BETA_PARAMS = TypeAdapter(Params), TypeAdapter(BetaParams)
MADE_UP = "not what it was"
"""What a judge says of seals that hypothesis made up."""
BOTH_WAYS = st.booleans()
ENDPOINT = Endpoint(name="anthropic", url="http://127.0.0.1:1")


@settings(max_examples=80, deadline=None)
@given(requests("anthropic", CLAUDES), BOTH_WAYS)
def test_what_anthropic_is_asked_is_of_its_types(request: ModelRequest, recall: bool) -> None:
    asked = messages_body(request, recall=recall)
    body = json.loads(msgspec.json.encode({"model": request.model.name, "stream": True, **asked.body}))
    assert [fault for fault in claude_judge.faults_of(body) if MADE_UP not in fault] == []
    for tool in body.get("tools", ()):
        tool["input_schema"] = {}  # Any JSON schema.
    # The newest version of the API takes none; we ask for the one before, and send it to models that take one.
    body.pop("temperature", None)
    checked: Any = (BETA_PARAMS if asked.betas else PARAMS).validate_python(body)
    assert plain(checked) == body, "it has a field that the SDK does not know"


def plain(value: Any) -> Any:
    """A validated value, in which lists are read as they are asked for, as plain JSON."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value if isinstance(value, str | int | float | None) else [plain(each) for each in value]


@settings(max_examples=80, deadline=None)
@given(requests("google_ai", GEMINIS), BOTH_WAYS)
def test_what_gemini_is_asked_is_a_history(request: ModelRequest, sealed: bool) -> None:
    body = json.loads(gemini_body(request, sealed=sealed))
    strict = not sealed or "gemini-3" in request.model.name or "gemini-4" in request.model.name
    faults = [fault for fault in gemini_judge.faults_of(body) if MADE_UP not in fault]
    assert [fault for fault in faults if strict or "lacks its seal" not in fault] == []


PIECES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), max_size=3)
JSONS = st.sampled_from([("",), ("", '{"a": 1, ', '"b": [2]}'), ('{"q": "\\ud83d', '\\ude00"}'), ("{}",)])
BLOCKS = st.one_of(
    st.tuples(st.just("text"), PIECES),
    st.tuples(st.just("thinking"), PIECES),
    st.tuples(st.just("redacted"), st.just(["ZGF0YQ=="])),
    st.tuples(st.just("tool"), JSONS),
    st.tuples(st.just("search"), st.just(["{}"])),
)
REASONS = [
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]


def events(blocks: list[tuple[str, Any]], reason: str, usage: dict[str, Any]) -> list[claude.Event]:
    made: list[claude.Event] = [claude.start()]
    for at, (kind, pieces) in enumerate(blocks):
        if kind == "tool":
            made += claude.tool(at, f"toolu_{at}", "add", *pieces)
        elif kind == "search":
            begun = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
            made += claude.block(at, begun, {"type": "input_json_delta", "partial_json": pieces[0]})
        else:
            made += {"text": claude.text, "thinking": claude.thinking, "redacted": claude.redacted}[kind](at, *pieces)
    return [*made, *claude.end(reason, **usage)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(BLOCKS, max_size=5),
    st.sampled_from(REASONS),
    st.sampled_from([{}, {"input_tokens": 11}, {"cache_read_input_tokens": 7}]),
)
def test_anthropics_sdk_has_read_the_same(blocks: list[Any], reason: str, usage: dict[str, int]) -> None:
    stream = events(blocks, reason, usage)
    theirs: Any = None
    buffers: dict[int, bytes] = {}
    for event in stream:
        typed: Any = construct_type_unchecked(type_=RawMessageStreamEvent, value=event)
        theirs = accumulate_event(event=typed, current_snapshot=theirs, json_bufs=buffers)
    reader, ours = EventReader(ENDPOINT, (), claude.MODEL), collecting()
    ours.take([delta for event in stream for delta in reader.read([json.dumps(event).encode()])])
    message = ours.message()
    assert [said(part) for part in message.parts if message] == told(theirs) if message else told(theirs) == []
    counted = theirs.usage
    cached = (counted.cache_read_input_tokens or 0) + (counted.cache_creation_input_tokens or 0)
    assert (ours.usage.prompt_tokens, ours.usage.completion_tokens) == (
        counted.input_tokens + cached, counted.output_tokens,
    )  # fmt: skip


def collecting() -> Answer:
    return Answer(
        agent_id="agent-1", run_id="run-1", step_id="step-1", show_tokens=True, parallel_calls=True, single_calls=False
    )


def told(answer: Answered) -> list[Any]:
    """What the SDK made of it, neighbouring text as one and without what a server's own tools did."""
    made: list[Any] = []
    for block in answer.content:
        if block.type == "text" and block.text:
            made.append(("text", (made.pop()[1] if made and made[-1][0] == "text" else "") + block.text))
        elif block.type == "thinking":
            made.append((block.thinking, block.signature))
        elif block.type == "redacted_thinking":
            made.append(block.data)
        elif block.type == "tool_use":
            made.append((block.id, block.name, block.input))
    return made


def said(part: AnyPart) -> Any:
    match part:
        case TextPart(text=text):
            return ("text", text)
        case ReasoningPart(text=text, signature=signature):
            return (text, signature)
        case HiddenReasoningPart(state="redacted", data=data):
            return data
        case HiddenReasoningPart(extra=extra):
            return ("", extra["anthropic"]["signature"])
        case ToolCallPart(call_id=call_id, name=name, arguments=arguments):
            return (call_id, name, json.loads(arguments))
        case _:
            raise AssertionError(part)


JUNK = st.sampled_from(
    [None, True, -1, 2**70, 1.5, "", "x", "\ud83d", "\0", [], [None], {}, {"type": "x"}, {"text": 7}]
)
SPOKEN = claude.whole(
    claude.thinking(0, "a", "b"), claude.redacted(1, "x"), claude.text(2, "hi", "ho"),
    claude.tool(3, "t", "add", "", '{"a"', ": 1}"), reason="tool_use",
)  # fmt: skip
CHUNKS = [
    gemini.chunk(gemini.thought("hm", "s1")), gemini.chunk(gemini.text("hi")), gemini.chunk(gemini.text("ho", "s2")),
    gemini.chunk(gemini.function_call("add", "s3", {"a": 1}, id="c")),
    gemini.chunk(gemini.text(""), finish="STOP", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 2}),
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within this one."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(value[key], (*at, key))


@settings(max_examples=250, deadline=None)
@given(st.sampled_from([SPOKEN, CHUNKS]), st.data())
def test_nonsense_in_any_place_is_passed_over_or_named(answer: list[Any], data: st.DataObject) -> None:
    """What is made of it can be stored, and whatever is wrong is an error of the model's."""
    answer = copy.deepcopy(answer)
    *way, last = data.draw(st.sampled_from(list(places(answer))))
    functools.reduce(operator.getitem, way, answer)[last] = data.draw(JUNK)
    claudes = len(answer) == len(SPOKEN)
    reader = EventReader(ENDPOINT, (), claude.MODEL) if claudes else ChunkReader(ENDPOINT, "google_ai", ())
    ours = collecting()
    with contextlib.suppress(ModelError):
        for event in answer:
            ours.take(reader.read([json.dumps(event).encode()]))
    message = ours.message()
    assert message is None or PARTS_DECODER.decode(PARTS_ENCODER.encode(message.parts)) == message.parts
