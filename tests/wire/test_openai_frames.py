import json
from collections.abc import Sequence
from typing import Any

import pytest

from perdure.domain import events
from perdure.domain.events import AnyEvent, last_events
from perdure.domain.messages import ToolCallPart, ToolReturnPart
from perdure.domain.runs import RunError, StopReason, Usage
from perdure.wire.openai_chat import ChatAnswer, ChatFrames
from perdure.wire.openai_requests import ResponsesBody
from perdure.wire.openai_responses import ResponseFrames
from tests.rig.http import parse

RUN = "run-123e4567-e89b-42d3-8456-426614174000"
AGENT = "agent-123e4567-e89b-42d3-8456-426614174000"
AT = 1_790_000_000_123_456
OWN = frozenset({"locate"})
STARTED = events.Started(AT, "ping-1")
USAGE = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, step_count=1, cached_input_tokens=1)


def says(text: str, otid: str = "o-1") -> AnyEvent:
    return events.AssistantText(AT, "message-1", otid, "step-1", text)


def asks(call_id: str, name: str | None, arguments: str | None) -> AnyEvent:
    return events.ApprovalDelta(AT, "message-0", "message-0", "step-1", call_id, name, arguments)


def ending(stop: StopReason = "end_turn", error: RunError | None = None) -> list[AnyEvent]:
    return last_events(stop, USAGE, error)


def numbered(said: Sequence[AnyEvent]) -> list[tuple[int, AnyEvent]]:
    return list(enumerate(said, 1))


def chunks(*said: AnyEvent, include_usage: bool = False) -> list[dict[str, Any]]:
    """The chunks of a run, one event at a time and all at once, which is the same."""
    whole = ChatFrames(RUN, AGENT, OWN, include_usage=include_usage).encode(numbered(said))
    singly = ChatFrames(RUN, AGENT, OWN, include_usage=include_usage)
    assert b"".join(singly.encode([each]) for each in numbered(said)) == whole
    return [parse(frame + b"\n\n").json for frame in whole.split(b"\n\n")[:-1]]


def frames(*said: AnyEvent) -> list[dict[str, Any]]:
    """The events of a response; each has its type in its `event` line."""
    asked = ResponsesBody(model=AGENT, input="hi")
    raw = ResponseFrames(RUN, asked, OWN).encode(numbered(said))
    read = [parse(frame + b"\n\n") for frame in raw.split(b"\n\n")[:-1]]
    assert [each.event for each in read] == [each.json["type"] for each in read]
    return [each.json for each in read]


def answered(*said: AnyEvent) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same run as a completion and as a response."""
    chat, response = ChatAnswer(RUN, AGENT, OWN), ResponseFrames(RUN, ResponsesBody(model=AGENT, input="hi"), OWN)
    for each in numbered(said):
        chat.take([each])
        response.take([each])
    assert chat.error == response.error
    return chat.body(), response.body()


def test_a_chunk_to_the_byte() -> None:
    raw = ChatFrames(RUN, AGENT, OWN, include_usage=False).encode(numbered([STARTED, says('a"\n\u00e9\U0001f600')]))
    head = (
        f'data: {{"id":"chatcmpl-{RUN[4:]}","object":"chat.completion.chunk","created":1790000000,"model":"{AGENT}",'
        '"choices":[{"index":0,"delta":'
    )
    tail = ',"logprobs":null,"finish_reason":null}]}\n\n'
    assert raw.decode("ascii") == (
        f'{head}{{"role":"assistant","content":""}}{tail}{head}{{"content":"a\\"\\n\\u00e9\\ud83d\\ude00"}}{tail}'
    )


def test_texts_of_several_parts_are_parted_and_own_tools_unseen() -> None:
    call = ToolCallPart(call_id="c", name="memory_insert", arguments="{}")
    returned = ToolReturnPart(call_id="c", name="memory_insert", status="success", text="secret")
    said = (
        STARTED, events.HiddenReasoning(AT, "m", "o-0", None, "omitted"), says("One", "o-1"), says(".", "o-1"),
        events.ToolCallDelta(AT, "m", "o-2", None, "c", "memory_insert", "{}"),
        events.ToolCalls(AT, "m", "o-2", None, (call,)), events.ToolReturns(AT, "m2", "o-3", None, (returned,)),
        says("Two.", "o-4"), *ending(),
    )  # fmt: skip
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(*said)]
    assert [delta.get("content") for delta in deltas] == ["", "One", ".", "\n\nTwo.", None]
    chat, response = answered(*said)
    assert chat["choices"][0]["message"]["content"] == "One.\n\nTwo."
    assert [item["content"][0]["text"] for item in response["output"]] == ["One.", "Two."]
    shown = json.dumps([chunks(*said), frames(*said), chat, response])
    assert "memory_insert" not in shown
    assert "secret" not in shown


def test_calls_of_the_callers_own_tools_in_fragments_and_whole() -> None:
    said = (
        STARTED, asks("a", "locate", None), asks("b", "locate", '{"y":'), asks("a", None, '{"x":1}'),
        asks("b", None, "2}"), *ending("requires_approval"),
    )  # fmt: skip
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks(*said)[1:-1]]
    assert calls == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "locate", "arguments": ""}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "locate", "arguments": '{"y":'}},
        {"index": 0, "function": {"arguments": '{"x":1}'}},
        {"index": 1, "function": {"arguments": "2}"}},
    ]
    assert chunks(*said)[-1]["choices"][0]["finish_reason"] == "tool_calls"
    parts = (
        ToolCallPart(call_id="a", name="locate", arguments='{"x":1}'),
        ToolCallPart(call_id="b", name="locate", arguments='{"y":2}'),
    )
    at_once = (STARTED, events.ApprovalRequest(AT, "m", "m", None, parts), *ending("requires_approval"))
    assert answered(*at_once) == answered(*said)
    chat, response = answered(*said)
    assert [call["function"]["arguments"] for call in chat["choices"][0]["message"]["tool_calls"]] == [
        '{"x":1}',
        '{"y":2}',
    ]
    assert [item["arguments"] for item in response["output"]] == ['{"x":1}', '{"y":2}']
    assert response["status"] == "completed"


def test_items_of_a_response_grow_one_after_the_other() -> None:
    said = (
        STARTED, asks("a", "locate", '{"x":'), asks("b", "locate", '{"y'), says("And"), asks("a", None, "1}"),
        asks("b", None, '":2}'), says("so"), asks("c", "locate", "{}"), asks("d", "locate", None),
        asks("d", None, "{}"),
        *ending("requires_approval"),
    )  # fmt: skip
    told = [each for each in frames(*said) if "output_index" in each]
    assert [each["output_index"] for each in told] == sorted(each["output_index"] for each in told)
    items = [each["item"] for each in told if each["type"] == "response.output_item.done"]
    made = [item.get("arguments") or item["content"][0]["text"] for item in items]
    assert made == ['{"x":1}', '{"y":2}', "Andso", "{}", "{}"]
    assert items == answered(*said)[1]["output"]


def test_a_call_for_a_person_is_neither_shown_nor_passed_over() -> None:
    said = (STARTED, asks("a", "weather", None), asks("a", None, "{}"), *ending("requires_approval"))
    *_, last = chunks(*said)
    assert (last["error"]["code"], "weather" in last["error"]["message"]) == ("pending_approval", True)
    assert frames(*said)[-1]["type"] == "response.failed"
    assert "tool_calls" not in json.dumps(chunks(*said))


@pytest.mark.parametrize(
    ("stop", "finish", "status"),
    [
        ("end_turn", "stop", "completed"), ("tool_rule", "stop", "completed"), ("max_steps", "length", "incomplete"),
        ("max_tokens_exceeded", "length", "incomplete"), ("cancelled", "stop", "cancelled"),
    ],
)  # fmt: skip
def test_why_a_run_stopped(stop: StopReason, finish: str, status: str) -> None:
    said = (STARTED, says("x"), *ending(stop))
    assert chunks(*said)[-1]["choices"][0]["finish_reason"] == finish
    assert frames(*said)[-1]["type"] == f"response.{'incomplete' if status == 'cancelled' else status}"
    chat, response = answered(*said)
    assert (chat["choices"][0]["finish_reason"], response["status"]) == (finish, status)


def test_a_failure_is_the_last_thing_said_and_nothing_claims_an_end() -> None:
    error = RunError(error_type="llm_rate_limit", message="Slow down.", detail="said the provider")
    said = (STARTED, says("x"), *ending("llm_api_error", error))
    *before, last = chunks(*said, include_usage=True)
    assert last == {
        "error": {
            "message": "Slow down. said the provider", "type": "server_error", "code": "llm_rate_limit", "param": None
        }
    }  # fmt: skip
    assert all(choice["finish_reason"] is None for chunk in before for choice in chunk["choices"])
    failed = frames(*said)[-1]["response"]
    assert failed["error"] == {"code": "rate_limit_exceeded", "message": "Slow down. said the provider"}
    assert failed["output"][0]["status"] == "completed"


def test_usage_is_a_chunk_of_its_own_where_it_is_asked_for() -> None:
    said = (STARTED, says("x"), *ending())
    assert len(chunks(*said, include_usage=True)) == len(chunks(*said)) + 1
    last = chunks(*said, include_usage=True)[-1]
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


def test_the_events_of_a_response_are_numbered_and_add_up() -> None:
    said = (
        STARTED,
        events.Reasoning(AT, "m", "o-0", None, "Hm"),
        says("a"),
        says("b"),
        asks("c", "locate", "{}"),
        *ending("requires_approval"),
    )
    told = frames(*said)
    assert [each["sequence_number"] for each in told] == list(range(len(told)))
    assert told[0]["response"]["status"] == "in_progress"
    assert told[0]["response"]["output"] == []
    final = told[-1]["response"]
    done = [each["item"] for each in told if each["type"] == "response.output_item.done"]
    assert final["output"] == done
    assert final == answered(*said)[1]
    text = "".join(each["delta"] for each in told if each["type"] == "response.output_text.delta")
    assert text == final["output"][1]["content"][0]["text"] == "ab"


def test_a_sign_of_life_is_a_comment() -> None:
    made = (
        ChatFrames(RUN, AGENT, OWN, include_usage=False),
        ResponseFrames(RUN, ResponsesBody(model=AGENT, input="x"), OWN),
    )
    assert [parse(each.ping()).kind for each in made] == ["comment", "comment"]
    assert [each.end for each in made] == [b"data: [DONE]\n\n", b""]
