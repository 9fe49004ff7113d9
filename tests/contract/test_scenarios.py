"""The acceptance scenarios of the stream contract, named after them, through the real Python SDKs."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.told import ADA, SAID, fresh_agent, said, told, types, user
from tests.rig.answers import Cut, Hold, call, parallel, reasoning, text
from tests.rig.http import Frame
from tests.rig.model import Script
from tests.rig.sdks import PY0, PY1, Client, Decoded, Sdk
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}


@pytest.fixture(params=[PY0, PY1])
def py(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], server: Server) -> Client:
    """Each Python SDK in turn."""
    return sdks(request.param).at(server.base_url)


def turn(client: Client, agent: str, what: str = "hi", **options: Any) -> list[Decoded]:
    """A streamed turn, pings included."""
    return client.all("stream", agent_id=agent, messages=user(what), **options)


def tail(items: list[Decoded]) -> tuple[str, int]:
    """How the stream ended: the stop reason and the number of model calls."""
    stop, usage = items[-2:]
    assert [stop.type, usage.type] == ENDING
    return stop["stop_reason"], usage["step_count"]


def parts(items: list[Decoded]) -> list[tuple[str, str, str]]:
    """Type, id and otid of each logical part, in order of appearance."""
    seen = {(item.type, item["id"], item["otid"]): None for item in items if item.type in SAID}
    return list(seen)


def frames(server: Server, agent: str, **body: Any) -> list[Frame]:
    """The raw frames of a streamed turn, [DONE] included."""
    body.setdefault("messages", user("hi"))
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return stream.read()


def agent_of(server: Server, script: Script, **fields: Any) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA, **fields)["id"]


def test_s01_text_in_step_mode(py: Client, script: Script) -> None:
    script.say("Hel", "lo")
    items = turn(py, fresh_agent(py, script))
    assert types(items) == ["assistant_message", *ENDING]
    assert items[0].type == "ping"
    assert [item["content"] for item in items if item.type == "assistant_message"] == ["Hello"]
    assert tail(items) == ("end_turn", 1)


def test_s02_text_in_token_mode(py: Client, script: Script) -> None:
    script.say("Hel", "lo")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    deltas = [item for item in items if item.type == "assistant_message"]
    assert [delta["content"] for delta in deltas] == ["Hel", "lo"]
    assert len(parts(items)) == 1
    assert tail(items) == ("end_turn", 1)


def test_s03_without_pings(py: Client, script: Script) -> None:
    script.say("Hello")
    items = turn(py, fresh_agent(py, script), include_pings=False)
    assert items[0].type == "assistant_message"
    assert all(item.type != "ping" for item in items)


def test_s04_thinking_then_text(py: Client, script: Script) -> None:
    script.answer(reasoning("Let", " me see"), text("Hel", "lo"))
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    (first, id0, otid0), (second, id1, otid1) = parts(items)
    assert (first, second) == ("reasoning_message", "assistant_message")
    assert id0 == id1
    assert [int(otid[-2:], 16) & 0x7F for otid in (otid0, otid1)] == [0, 1]
    assert {item["source"] for item in items if item.type == first} == {"reasoner_model"}


def test_s05_thinking_text_and_a_tool(py: Client, script: Script) -> None:
    script.answer(reasoning("Tea."), text("Saving."), call("memory_insert", TEA)).say("Saved.")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    found = parts(items)
    assert [kind for kind, _, _ in found] == [
        "reasoning_message", "assistant_message", "tool_call_message", "tool_return_message", "assistant_message",
    ]  # fmt: skip
    assert len({message_id for _, message_id, _ in found[:3]}) == 1
    assert [int(otid[-2:], 16) & 0x7F for _, _, otid in found] == [0, 1, 2, 0, 0]
    assert found[3][1] not in (found[0][1], found[4][1])


def test_s06_one_tool_then_text_in_step_mode(py: Client, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    items = turn(py, fresh_agent(py, script))
    assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
    called = next(item for item in items if item.type == "tool_call_message")
    assert json.loads(called["tool_call"]["arguments"]) == TEA
    assert len(called["tool_calls"]) == 1
    assert tail(items) == ("end_turn", 2)
    spoken = [item for item in items if item.type in SAID]
    assert len({item["step_id"] for item in spoken}) == 2
    assert len({item["run_id"] for item in spoken}) == 1


def test_s07_tool_call_fragments(py: Client, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    deltas = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    assert deltas[0]["name"] == "memory_insert"
    assert not deltas[0].get("arguments")
    assert all(delta["tool_call_id"] for delta in deltas)
    assert json.loads("".join(delta.get("arguments") or "" for delta in deltas[1:])) == TEA


def test_s07_the_delta_is_an_object_in_both_fields(server: Server, script: Script) -> None:
    script.answer(call("memory_insert", TEA)).say("Saved.")
    found = frames(server, agent_of(server, script), stream_tokens=True)
    deltas = [frame.json for frame in found if frame.kind == "tool_call_message"]
    assert len(deltas) > 1
    assert all(delta["tool_call"] == delta["tool_calls"] for delta in deltas)
    assert None not in [value for delta in deltas for value in delta["tool_call"].values()]


def test_s09_a_tool_without_arguments(py: Client, script: Script) -> None:
    script.answer(call("conversation_search", "")).say("Nothing.")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    assert [item["tool_call"].get("name") for item in items if item.type == "tool_call_message"] == [
        "conversation_search"
    ]
    assert [item["status"] for item in items if item.type == "tool_return_message"] == ["success"]


def test_s10_a_tool_that_raises(py: Client, script: Script) -> None:
    script.answer(call("fail", {"reason": "no luck"})).say("It failed.")
    items = turn(py, fresh_agent(py, script, tools=["fail"]))
    answer = next(item for item in items if item.type == "tool_return_message")
    assert answer["status"] == "error"
    assert "no luck" in answer["tool_return"]
    assert tail(items) == ("end_turn", 2)


def test_s11_an_unknown_tool(py: Client, script: Script) -> None:
    script.answer(call("launch", {})).say("I cannot.")
    items = turn(py, fresh_agent(py, script))
    answer = next(item for item in items if item.type == "tool_return_message")
    assert answer["status"] == "error"
    assert "not found" in answer["tool_return"]
    assert tail(items) == ("end_turn", 2)


def test_s12_malformed_arguments(py: Client, script: Script) -> None:
    script.answer(call("conversation_search", '{"query": "te')).say("Nothing.")
    items = turn(py, fresh_agent(py, script))
    assert [item["status"] for item in items if item.type == "tool_return_message"] == ["success"]
    assert tail(items) == ("end_turn", 2)


def test_s13_three_parallel_calls_in_step_mode(py: Client, server: Server, script: Script) -> None:
    cities = ["Oslo", "Rome", "Lima"]
    script.answer(parallel(*(call("weather", {"city": city}) for city in cities))).say("All sunny.")
    items = turn(py, parallel_agent(server, script))
    calls = [item for item in items if item.type == "tool_call_message"]
    returns = [item for item in items if item.type == "tool_return_message"]
    if py.sdk.name == PY1:
        assert [len(item["tool_calls"]) for item in calls] == [3]
        assert [entry["tool_return"] for entry in returns[0]["tool_returns"]] == [
            f"It is sunny in {city}." for city in cities
        ]
    else:
        # 0.1.x reads only the singular fields: one frame for each call and each return.
        assert [json.loads(item["tool_call"]["arguments"])["city"] for item in calls] == cities
        assert [item["tool_return"] for item in returns] == [f"It is sunny in {city}." for city in cities]
        assert len({item["otid"] for item in calls}) == 3
    assert tail(items) == ("end_turn", 2)


def parallel_agent(server: Server, script: Script) -> str:
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    return agent_of(server, script, tools=["weather"], model_settings=settings)


def test_s14_three_parallel_calls_in_token_mode(py: Client, server: Server, script: Script) -> None:
    cities = ["Oslo", "Rome", "Lima"]
    script.answer(parallel(*(call("weather", {"city": city}) for city in cities))).say("All sunny.")
    agent = parallel_agent(server, script)
    items = turn(py, agent, stream_tokens=True)
    deltas = [item for item in items if item.type == "tool_call_message"]
    assert len({item["id"] for item in deltas}) == 1
    arguments: dict[str, str] = {}
    for item in deltas:
        delta = item["tool_call"]
        arguments[delta["tool_call_id"]] = arguments.get(delta["tool_call_id"], "") + (delta.get("arguments") or "")
    assert [json.loads(text)["city"] for text in arguments.values()] == cities
    assert tail(items) == ("end_turn", 2)
    history = py.all("list_messages", agent_id=agent)
    streamed = {(item["id"], item["otid"]) for item in items if item.type in SAID}
    assert streamed <= {(item["id"], item["otid"]) for item in history}


def test_s15_two_calls_where_parallel_is_off(py: Client, script: Script) -> None:
    script.answer(parallel(call("weather", {"city": "Oslo"}), call("weather", {"city": "Rome"}))).say("Sunny.")
    items = turn(py, fresh_agent(py, script, tools=["weather"]), stream_tokens=True)
    assert len({item["tool_call"]["tool_call_id"] for item in items if item.type == "tool_call_message"}) == 1
    returns = [item for item in items if item.type == "tool_return_message"]
    assert [item["tool_return"] for item in returns] == ["It is sunny in Oslo."]


def test_s16_max_steps(py: Client, script: Script) -> None:
    script.answer(call("memory_insert", TEA))
    items = turn(py, fresh_agent(py, script), max_steps=1)
    assert types(items) == ["tool_call_message", "tool_return_message", *ENDING]
    assert tail(items) == ("max_steps", 1)


def test_s19_the_token_limit_in_the_middle_of_text(py: Client, script: Script) -> None:
    script.answer(text("and so"), finish="length")
    items = turn(py, fresh_agent(py, script))
    assert said(items) == "and so"
    assert tail(items)[0] == "max_tokens_exceeded"


def test_s20_a_model_that_says_nothing(py: Client, script: Script) -> None:
    script.answer()
    agent = fresh_agent(py, script)
    items = turn(py, agent)
    assert types(items) == ENDING
    assert tail(items) == ("end_turn", 1)
    assert types(py.all("list_messages", agent_id=agent)) == ["system_message", "user_message"]


def test_s21_only_the_types_asked_for(py: Client, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
    items = turn(py, fresh_agent(py, script), include_return_message_types=["assistant_message"])
    assert types(items) == ["assistant_message", *ENDING]
    assert items[0].type == "ping"


def test_s22_no_types_at_all(py: Client, script: Script) -> None:
    script.say("Hello")
    items = turn(py, fresh_agent(py, script), include_return_message_types=[], stream_tokens=True)
    assert types(items) == ENDING


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(401, "llm_authentication"), (429, "llm_rate_limit"), (504, "llm_timeout"), (500, "llm_error")],
)
def test_s23_to_s27_a_provider_that_refuses(server: Server, script: Script, status: int, error_type: str) -> None:
    for _ in range(10):
        script.refuse(status, "the script says no")
    agent = agent_of(server, script)
    found = frames(server, agent)
    assert [frame.kind for frame in found] == ["ping", "stop_reason", "usage_statistics", "error_message", "[DONE]"]
    assert found[3].event == "error"
    assert found[3].json["error_type"] == error_type
    assert found[1].json["stop_reason"] == "llm_api_error"
    run = server.get(f"/v1/runs/{found[0].json['run_id']}").json
    assert (run["status"], run["stop_reason"]) == ("failed", "llm_api_error")
    assert run["metadata"]["error"]["error_type"] == error_type
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item["message_type"] for item in history] == ["system_message", "user_message"]


def test_s28_the_provider_breaks_in_the_middle(server: Server, script: Script) -> None:
    script.answer(text("The answer", " is"), Cut()).say("Again.")
    agent = agent_of(server, script)
    found = frames(server, agent, stream_tokens=True)
    kinds = [frame.kind for frame in found]
    assert kinds.count("stop_reason") == 1
    assert kinds[-4:] == ["stop_reason", "usage_statistics", "error_message", "[DONE]"]
    run = server.get(f"/v1/runs/{found[0].json['run_id']}").json
    assert run["status"] == "failed"
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item.get("content") for item in history[1:]] == ["hi", "The answer is"]
    assert said_in(frames(server, agent)) == "Again."


def test_s28_a_call_that_was_cut_is_answered(server: Server, script: Script) -> None:
    script.answer(text("Saving."), call("memory_insert", TEA), Cut()).say("Sorry.")
    agent = agent_of(server, script)
    found = frames(server, agent, stream_tokens=True)
    returned = next(frame.json for frame in found if frame.kind == "tool_return_message")
    assert returned["status"] == "error"
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "Name: Ada."
    assert said_in(frames(server, agent)) == "Sorry."


def said_in(found: list[Frame]) -> str:
    return "".join(frame.json["content"] for frame in found if frame.kind == "assistant_message")


def test_s29_the_provider_fails_in_step_2(server: Server, script: Script) -> None:
    script.answer(call("memory_insert", TEA))
    for _ in range(10):
        script.refuse(500)
    agent = agent_of(server, script)
    kinds = [frame.kind for frame in frames(server, agent)]
    assert kinds == [
        "ping", "tool_call_message", "tool_return_message", "stop_reason", "usage_statistics", "error_message",
        "[DONE]",
    ]  # fmt: skip
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "Name: Ada.\nLikes tea."
    kept = [item["message_type"] for item in server.get(f"/v1/agents/{agent}/messages").json]
    assert kept == ["system_message", "user_message", "tool_call_message", "tool_return_message"]


def test_s30_an_unknown_agent(server: Server) -> None:
    unknown = "agent-00000000-0000-4000-8000-000000000000"
    reply = server.post(f"/v1/agents/{unknown}/messages/stream", {"messages": user("hi")})
    assert (reply.status, reply.json) == (404, {"detail": f"Agent with ID {unknown} not found"})


def test_s31_a_malformed_agent_id(server: Server) -> None:
    reply = server.post("/v1/agents/nonsense/messages/stream", {"messages": user("hi")})
    assert reply.status == 422
    assert reply.json["detail"][0]["loc"] == ["path", "agent_id"]
    assert reply.json["examples"] == ["agent-123e4567-e89b-42d3-8456-426614174000"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": user("hi"), "input": "hi"},
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": user("hi"), "max_steps": "many"},
    ],
)
def test_s32_and_s34_bodies_that_cannot_be_worked(server: Server, script: Script, body: dict[str, Any]) -> None:
    reply = server.post(f"/v1/agents/{agent_of(server, script)}/messages/stream", body)
    assert reply.status == 422
    assert {"loc", "msg", "type"} <= reply.json["detail"][0].keys()
    assert reply.headers["x-should-retry"] == "false"
    assert not script.asked


def test_s33_the_input_shorthand(server: Server, script: Script) -> None:
    script.say("Hello")
    agent = agent_of(server, script)
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"input": "hi"}) as stream:
        assert said_in(stream.read()) == "Hello"
    asked = server.get(f"/v1/agents/{agent}/messages").json[1]
    assert (asked["message_type"], asked["content"]) == ("user_message", "hi")
    assert re.fullmatch(r"[0-9a-f-]{36}", asked["otid"])


def test_s35_the_callers_own_otid(py: Client, script: Script) -> None:
    script.say("Hello")
    agent = fresh_agent(py, script)
    py.all("stream", agent_id=agent, messages=[{"role": "user", "content": "hi", "otid": "abc"}])
    asked = next(item for item in py.all("list_messages", agent_id=agent) if item.type == "user_message")
    assert asked["otid"] == "abc"


def test_s57_a_client_that_leaves(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("The whole"), hold, text(" answer."))
    agent = agent_of(server, script)
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        run_id = stream.until("ping").json["run_id"]
        stream.until("assistant_message")
    hold.release()
    with server.stream(f"/v1/runs/{run_id}/stream", {}) as again:
        assert said_in(again.read()) == "The whole answer."
    assert server.get(f"/v1/runs/{run_id}").json["status"] == "completed"
    assert server.get(f"/v1/agents/{agent}/messages").json[-1]["content"] == "The whole answer."


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s68_the_stream_equals_history(py: Client, script: Script, tokens: bool) -> None:
    script.answer(reasoning("Te", "a."), text("Sav", "ing."), call("memory_insert", TEA)).say("Sav", "ed.")
    agent = fresh_agent(py, script)
    items = turn(py, agent, stream_tokens=tokens)
    assert told(items) == told(py.all("list_messages", agent_id=agent))
    assert len(told(items)) == 5


def test_s69_the_run_has_ended_when_done_arrives(server: Server, script: Script) -> None:
    agent = agent_of(server, script)
    for _ in range(20):
        script.say("Hello")
        with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi")}) as stream:
            run_id = stream.until("ping").json["run_id"]
            stream.until("[DONE]")
            run = server.get(f"/v1/runs/{run_id}").json
        assert (run["status"], run["stop_reason"]) == ("completed", "end_turn")


def test_s70_frames_any_sdk_can_read(server: Server, script: Script) -> None:
    script.answer(reasoning("Ü"), text("née\u2028", "[DONE]", "😀"), call("memory_insert", TEA)).say("ok")
    agent = agent_of(server, script)
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        found = stream.read()
        ended_at = stream.ended_at
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert all(re.fullmatch(rb"data: [\x20-\x7e]+\n\n", frame.raw) for frame in found)
    assert [b"[DONE]" in frame.raw for frame in found] == [False] * (len(found) - 1) + [True]
    numbers = [frame.json["seq_id"] for frame in found[:-1]]
    assert numbers == list(range(1, len(found)))
    assert len({frame.json["run_id"] for frame in found[:-1]}) == 1
    # The contract promises 50 ms from [DONE] to the end of the body.
    assert ended_at is not None
    assert ended_at - found[-1].at < 0.5


def test_numbers_are_contiguous_under_a_filter(server: Server, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Sav", "ed.")
    agent = agent_of(server, script)
    found = frames(server, agent, stream_tokens=True, include_return_message_types=["assistant_message"])
    assert [frame.json["seq_id"] for frame in found[:-1]] == [1, 2, 3, 4, 5]


def test_a_run_reads_the_same_again(new_server: Callable[..., Server], script: Script) -> None:
    script.answer(reasoning("Tea."), text("Sav", "ing."), call("memory_insert", TEA)).say("Sav", "ed.")
    server = new_server().start()
    found = frames(server, agent_of(server, script), stream_tokens=True)
    run_id = found[0].json["run_id"]
    server.restart()
    for after in (0, 3, len(found) - 1):
        with server.stream(f"/v1/runs/{run_id}/stream", {"starting_after": after}) as again:
            assert [frame.raw for frame in again.read()] == [frame.raw for frame in found[after:]]


def test_idle_pings_repeat_the_last_number(models: Any, new_server: Callable[..., Server], script: Script) -> None:
    server = new_server({**models.environment, "PERDURE_PING_SECONDS": "0.1"}).start()
    hold = Hold()
    script.answer(text("Wait"), hold, text("ed."))
    body = {"messages": user("hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent_of(server, script)}/messages/stream", body) as stream:
        last = stream.until("assistant_message").json["seq_id"]
        pings = [stream.until("ping").json for _ in range(2)]
        hold.release()
        assert stream.until("assistant_message").json["seq_id"] == last + 1
    assert [ping["seq_id"] for ping in pings] == [last, last]


def test_messages_to_a_busy_agent_wait_their_turn(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("first"), hold).say("second").say("third")
    agent = agent_of(server, script)
    path = f"/v1/agents/{agent}/messages/stream"
    with (
        server.stream(path, {"messages": user("1"), "stream_tokens": True}) as one,
        server.stream(path, {"messages": user("2")}) as two,
        server.stream(path, {"messages": user("3")}) as three,
    ):
        one.until("assistant_message")
        assert two.until("ping").json["seq_id"] == 1
        assert three.until("ping").json["seq_id"] == 1
        hold.release()
        assert [said_in(stream.read()) for stream in (two, three)] == ["second", "third"]
        one.read()
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item["content"] for item in history[1:]] == ["1", "first", "2", "second", "3", "third"]


def test_a_busy_agent_refuses_where_the_operator_says_so(
    models: Any, new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_BUSY": "reject"}).start()
    hold = Hold()
    script.answer(text("first"), hold)
    path = f"/v1/agents/{agent_of(server, script)}/messages/stream"
    with server.stream(path, {"messages": user("1"), "stream_tokens": True}) as one:
        run_id = one.until("assistant_message").json["run_id"]
        reply = server.post(path, {"messages": user("2")})
        assert (reply.status, reply.json["run_id"], reply.headers["retry-after"]) == (409, run_id, "2")
        hold.release()
        one.read()


def test_an_answer_as_json(py: Client, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
    items = py.all("create", agent_id=fresh_agent(py, script), messages=user("hi"))
    assert types(items) == [
        "reasoning_message",
        "tool_call_message",
        "tool_return_message",
        "assistant_message",
        *ENDING,
    ]
    assert tail(items) == ("end_turn", 2)
