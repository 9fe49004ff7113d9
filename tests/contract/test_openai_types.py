"""What we say to OpenAI's clients and ask of OpenAI, judged by the types of OpenAI's own SDK."""

import json
import subprocess
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.domain import events
from perdure.domain.messages import (
    AnyPart,
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from perdure.domain.models import Model, ModelSettings
from perdure.domain.runs import RunError
from perdure.providers.base import ModelRequest
from perdure.providers.openai_body import chat_body
from perdure.providers.openai_responses_body import KEY, Concessions, responses_body
from tests.providers.chat import ADD, KINDS, SAY, SYSTEM, message, returned
from tests.rig.install import python_with
from tests.rig.sdks import OPENAI, WORKERS, requirement
from tests.wire.test_openai_frames import AT, STARTED, answered, asks, chunks, ending, frames, says

KNOWN = {
    "choices.delta.reasoning_content is unknown",
    "choices.message.reasoning_content is unknown",
    "response.store is unknown",
    "store is unknown",
    "name is unknown",
}
"""What OpenAI's servers or most others send beside what the SDK names."""


def problems(said: list[tuple[str, Any]]) -> set[tuple[str, str]]:
    """What is wrong with each of these, by the SDK's types."""
    command = [str(python_with(OPENAI, requirement(OPENAI))), str(WORKERS / "openai_types.py")]
    lines = "\n".join(json.dumps(each) for each in said)
    done = subprocess.run(command, input=lines, capture_output=True, timeout=60, check=True, encoding="utf-8")
    judged = [json.loads(line) for line in done.stdout.splitlines()]
    return {(kind, fault) for (kind, _), faults in zip(said, judged, strict=True) for fault in faults}


def test_all_that_is_said_to_openais_clients_is_of_its_types() -> None:
    limited = RunError(error_type="llm_rate_limit", message="Slow down.")
    thought = events.Reasoning(AT, "m", "o-0", None, "Hm")
    calls = (asks("a", "locate", '{"x":'), asks("b", "locate", "{}"), asks("a", None, "1}"))
    runs = (
        (STARTED, thought, says("a"), says("b"), *calls, *ending("requires_approval")),
        (STARTED, says("x"), *ending("llm_api_error", limited)),
        *(
            (STARTED, says("x"), *ending(stop))
            for stop in ("end_turn", "max_steps", "max_tokens_exceeded", "cancelled")
        ),
    )
    said: list[tuple[str, Any]] = []
    for run in runs:
        said += [("chunk", chunk) for chunk in chunks(*run, include_usage=True) if "error" not in chunk]
        said += [("event", frame) for frame in frames(*run)]
        said += zip(("completion", "response"), answered(*run), strict=True)
    assert {fault for _, fault in problems(said)} == KNOWN
    assert {frame["type"] for kind, frame in said if kind == "event"} >= {
        "response.completed", "response.failed", "response.function_call_arguments.done", "response.incomplete",
        "response.reasoning_summary_part.done", "response.output_item.done"
    }  # fmt: skip


words = st.text(min_size=1, max_size=8)
own = st.sampled_from(("openai/gpt-5", "openai/gpt-4o", "azure/gpt-5"))
items = own.map(lambda model: {KEY: {"model": model, "item": {"id": "rs_1", "summary": []}}})
said_parts = st.one_of(
    st.builds(
        lambda text, model: TextPart(text=text, extra={KEY: {"model": model, "phase": "commentary"}}), words, own
    ),
    st.builds(lambda text, extra: ReasoningPart(text=text, signature="sealed", extra=extra), words, items),
    st.builds(lambda text: ReasoningPart(text=text, native=False), words),
    st.builds(lambda extra: HiddenReasoningPart(state="omitted", extra=extra), items),
)
arguments = st.sampled_from(("{}", '{"a": 1}', "", "null", '{"a":'))
names = st.sampled_from(("add", "no such: tool!", "x" * 80))
user_parts = st.one_of(
    words.map(lambda text: TextPart(text=text)),
    st.sampled_from((None, "low")).map(lambda detail: ImagePart(media_type="image/png", data="QUJD", detail=detail)),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Histories as the loop makes them, with calls that were allowed at once and calls that awaited approval."""
    history, made = [SYSTEM], 0
    for _ in range(draw(st.integers(1, 4))):
        history.append(message("user", *draw(st.lists(user_parts, min_size=1, max_size=3))))
        parts: list[AnyPart] = draw(st.lists(said_parts, max_size=3))
        calls = [
            ToolCallPart(call_id=f"call_{made + at}" * (1 + at * 9), name=draw(names), arguments=draw(arguments))
            for at in range(draw(st.integers(0, 3)))
        ]
        made += len(calls)
        if parts or calls:
            history.append(message("assistant", *parts, *calls[:2]))
        if calls[2:]:
            history.append(message("approval", *calls[2:]))
        history += [returned(each.call_id, draw(st.text(max_size=5))) for each in calls]
    return history


def test_all_that_is_asked_of_openai_is_of_its_types() -> None:
    bodies: list[tuple[str, Any]] = []
    wanted = st.builds(
        ModelSettings,
        max_output_tokens=st.sampled_from((None, 1)),
        temperature=st.sampled_from((None, 0.5)),
        frequency_penalty=st.sampled_from((None, 0.5)),
        reasoning=st.booleans(),
        reasoning_effort=st.sampled_from((None, "none", "high")),
        verbosity=st.sampled_from((None, "low")),
        strict=st.booleans(),
        parallel_tool_calls=st.booleans(),
        return_logprobs=st.booleans(),
        response_format=st.sampled_from(
            (None, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}})
        ),
    )
    choices, models = st.sampled_from(("auto", "any", "required", "none", "add")), ("gpt-4o", "gpt-5", "o3", "gpt-5.1")

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(histories(), wanted, choices, st.sampled_from(models), st.booleans())
    def ask(history: list[Message], wanted: ModelSettings, choice: str, name: str, tools: bool) -> None:
        model = Model(
            handle=f"openai/{name}", name=name, provider_name="openai", provider_type="openai",
            endpoint_type="openai", context_window=9,
        )  # fmt: skip
        request = ModelRequest(
            model=model, messages=history, tools=(ADD, SAY) if tools else (), tool_choice=choice, settings=wanted
        )
        quirks = KINDS["openai"].quirks
        conceded = Concessions(sealed=not wanted.strict, summary=not wanted.parallel_tool_calls)
        bodies.append(("chat request", msgspec.json.decode(chat_body(request, quirks))))
        bodies.append(("responses request", msgspec.json.decode(responses_body(request, quirks, conceded))))

    ask()
    assert problems(bodies) == set()
