"""What a model says and thinks, and how a turn ends: S01 to S05, S19 to S22, S65, S67; through both Python SDKs."""

import itertools
import json
from collections.abc import Callable

import pytest

from tests.contract.told import SAID, fresh_agent, said, told, types, user
from tests.contract.turns import ENDING, TEA, of_type, part_index, parts, tail, turn
from tests.rig.answers import call, reasoning, text
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import PY0, PY1, Client, Sdk
from tests.rig.server import Server


def test_s01_text_in_step_mode(py: Client, script: Script) -> None:
    script.say("Hel", "lo")
    items = turn(py, fresh_agent(py, script))
    assert [item.type for item in items] == ["ping", "assistant_message", *ENDING]
    assert items[1]["content"] == "Hello"
    assert tail(items) == ("end_turn", 1)


def test_s02_text_in_token_mode(py: Client, script: Script) -> None:
    script.say("Hel", "lo")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    assert [item.type for item in items] == ["ping", "assistant_message", "assistant_message", *ENDING]
    assert [item["content"] for item in items[1:3]] == ["Hel", "lo"]
    assert len(parts(items)) == 1
    assert tail(items) == ("end_turn", 1)


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s03_without_pings(py: Client, script: Script, tokens: bool) -> None:
    script.say("Hello")
    items = turn(py, fresh_agent(py, script), include_pings=False, stream_tokens=tokens)
    assert [item.type for item in items] == ["assistant_message", *ENDING]


def test_s04_thinking_then_text(py: Client, script: Script) -> None:
    script.answer(reasoning("Let", " me see"), text("Hel", "lo"))
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    (first, id0, otid0), (second, id1, otid1) = parts(items)
    assert (first, second) == ("reasoning_message", "assistant_message")
    assert id0 == id1
    assert [part_index(otid) for otid in (otid0, otid1)] == [0, 1]
    assert [item["reasoning"] for item in of_type(items, first)] == ["Let", " me see"]
    assert {item["source"] for item in of_type(items, first)} == {"reasoner_model"}


def test_s05_thinking_text_and_a_tool(py: Client, script: Script) -> None:
    script.answer(reasoning("Tea."), text("Saving."), call("memory_insert", TEA)).say("Saved.")
    items = turn(py, fresh_agent(py, script), stream_tokens=True)
    found = parts(items)
    assert [kind for kind, _, _ in found] == [
        "reasoning_message", "assistant_message", "tool_call_message", "tool_return_message", "assistant_message",
    ]  # fmt: skip
    assert len({message_id for _, message_id, _ in found[:3]}) == 1
    assert [part_index(otid) for _, _, otid in found] == [0, 1, 2, 0, 0]
    assert found[3][1] not in (found[0][1], found[4][1])


def test_s19_the_token_limit_in_the_middle_of_text(py: Client, server: Server, script: Script) -> None:
    script.answer(text("and so"), finish="length")
    items = turn(py, fresh_agent(py, script))
    assert said(items) == "and so"
    assert tail(items) == ("max_tokens_exceeded", 1)
    run_id = of_type(items, "assistant_message")[0]["run_id"]
    assert server.get(f"/v1/runs/{run_id}").json["status"] == "failed"


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s20_a_model_that_says_nothing(py: Client, script: Script, tokens: bool) -> None:
    script.answer()
    agent = fresh_agent(py, script)
    items = turn(py, agent, stream_tokens=tokens)
    assert types(items) == ENDING
    assert tail(items) == ("end_turn", 1)
    assert types(py.all("list_messages", agent_id=agent)) == ["system_message", "user_message"]


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s21_only_the_types_asked_for(py: Client, script: Script, tokens: bool) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
    wanted = {"include_return_message_types": ["assistant_message"], "stream_tokens": tokens}
    items = turn(py, fresh_agent(py, script), **wanted)
    assert [item.type for item in items] == ["ping", "assistant_message", *ENDING]


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s22_no_types_at_all(py: Client, script: Script, tokens: bool) -> None:
    script.say("Hello")
    items = turn(py, fresh_agent(py, script), include_return_message_types=[], stream_tokens=tokens)
    assert [item.type for item in items] == ["ping", *ENDING]


def test_s65_a_provider_that_does_not_stream(py: Client, server: Server, script: Script) -> None:
    whole = {"content": "Saving.", "reasoning_content": "Tea.", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "memory_insert", "arguments": json.dumps(TEA)}}
    ]}  # fmt: skip
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    for message in (whole, {"content": "Saved."}):
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        script.refuse(200, body=json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}))
    agent = fresh_agent(py, script)
    items = turn(py, agent, stream_tokens=True)
    assert types(items) == [*SAID, "assistant_message", *ENDING]
    assert [item["content"] for item in of_type(items, "assistant_message")] == ["Saving.", "Saved."]
    assert json.loads(of_type(items, "tool_call_message")[-1]["tool_call"]["arguments"]) == TEA
    assert (tail(items), items[-1]["total_tokens"]) == (("end_turn", 2), 30)
    assert told(items) == told(py.all("list_messages", agent_id=agent))
    assert server.log.count("provider_does_not_stream") == 1, "it is said once"


def test_s67_a_model_that_hides_what_it_thinks(
    models: ModelServer, new_server: Callable[..., Server], sdks: Callable[[str], Sdk]
) -> None:
    scripts = [models.script(name) for name in ("o3-scripted", "o4-mini-scripted", "gpt-5-scripted")]
    server = new_server().start()
    for script, name, tokens in itertools.product(scripts, (PY0, PY1), (True, False)):
        py = sdks(name).at(server.base_url)
        script.say("Hel", "lo")
        agent = fresh_agent(py, script)
        items = turn(py, agent, stream_tokens=tokens)
        assert types(items) == ["hidden_reasoning_message", "assistant_message", *ENDING]
        (hidden,) = of_type(items, "hidden_reasoning_message")
        spoken = of_type(items, "assistant_message")
        assert items.index(hidden) == 1, "it comes first, and once"
        assert (hidden.cls, hidden["state"], hidden["hidden_reasoning"]) == ("HiddenReasoningMessage", "omitted", None)
        assert {item["id"] for item in (hidden, *spoken)} == {hidden["id"]}
        assert [part_index(item["otid"]) for item in (hidden, spoken[0])] == [0, 1]
        history = py.all("list_messages", agent_id=agent)[2:]
        assert [(item.type, item["id"], item["otid"]) for item in history] == [
            (item.type, item["id"], item["otid"]) for item in (hidden, spoken[0])
        ]
        assert script.violations == []


def test_an_answer_as_json(py: Client, script: Script) -> None:
    script.answer(reasoning("Tea."), call("memory_insert", TEA)).say("Saved.")
    items = py.all("create", agent_id=fresh_agent(py, script), messages=user("hi"))
    everything = ["reasoning_message", "tool_call_message", "tool_return_message", "assistant_message"]
    assert types(items) == [*everything, *ENDING]
    assert tail(items) == ("end_turn", 2)
