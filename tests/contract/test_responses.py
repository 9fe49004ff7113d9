"""Agents on models that are asked through Responses: what is sealed goes back, and all else is as with any dialect."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.told import ADA, assert_classes, fresh_agent, said, told, types, user
from tests.rig.answers import Cut, Hold, Raw, call, parallel, reasoning, text
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import NAMES, PY1, Client, Sdk
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
BY_RESPONSES = {"PERDURE_PROVIDER_OPENAI_DIALECT": "openai_responses"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def own_models() -> Iterator[ModelServer]:
    """Models whose names say that they reason, all there from the start: a server lists them only now and then."""
    running = ModelServer().start()
    for number in range(1, 41):
        running.script(f"gpt-5-scripted-{number}")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def responses_server(own_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("responses") / "data"
    with Server(data, {**own_models.environment, **BY_RESPONSES}, tools=["tests.rig.tools:weather"]) as running:
        yield running


@pytest.fixture
def thinker(own_models: ModelServer) -> Iterator[Script]:
    """A scripted model that reasons."""
    script = own_models.script(f"gpt-5-scripted-{next(_numbers)}")
    yield script
    assert script.violations == []


@pytest.fixture(params=NAMES)
def any_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], responses_server: Server) -> Client:
    return sdks(request.param).at(responses_server.base_url)


@pytest.fixture
def py1(sdks: Callable[[str], Sdk], responses_server: Server) -> Client:
    return sdks(PY1).at(responses_server.base_url)


def turn(client: Client, agent: str, **options: Any) -> list[Any]:
    return client.all("stream", agent_id=agent, messages=user("hi"), stream_tokens=True, **options)


def sealed(script: Script, request: int) -> list[dict[str, Any]]:
    """The reasoning that request number `request` (from 1) brought back."""
    return [item for item in script.asked[request - 1].body["input"] if item.get("type") == "reasoning"]


def frames(server: Server, agent: str, **body: Any) -> list[Any]:
    with server.stream(f"/v1/agents/{agent}/messages/stream", {"messages": user("hi"), **body}) as stream:
        return stream.read()


def test_a_turn_with_reasoning_a_tool_and_a_last_word(any_client: Client, thinker: Script) -> None:
    thinker.answer(reasoning("She likes", " tea."), text("Saving", " it."), call("memory_insert", TEA))
    thinker.answer(reasoning(), text("I saved", " that."))
    agent = fresh_agent(any_client, thinker)
    items = turn(any_client, agent)
    kinds = ["reasoning_message", "assistant_message", "tool_call_message", "tool_return_message"]
    assert types(items) == [*kinds, "hidden_reasoning_message", "assistant_message", *ENDING]
    assert_classes(any_client, [item for item in items if item.type != "hidden_reasoning_message"])
    assert said(items, "reasoning_message") == "She likes tea."
    assert said(items) == "Saving it.I saved that."
    assert items[-1]["step_count"] == 2
    assert told(any_client.all("list_messages", agent_id=agent)) == told(items)
    block = any_client.one("retrieve_agent_block", agent_id=agent, label="human")
    assert block["value"] == "Name: Ada.\nLikes tea."


def test_sealed_reasoning_goes_back_unchanged_for_as_long_as_it_is_in_view(py1: Client, thinker: Script) -> None:
    thinker.answer(reasoning("She likes", " tea."), call("memory_insert", TEA))
    thinker.answer(reasoning(), text("Saved."), usage=(50, 9)).say("Bye.")
    agent = fresh_agent(py1, thinker)
    turn(py1, agent)
    turn(py1, agent)
    first, second, third = (each.body for each in thinker.asked)
    assert first["include"] == ["reasoning.encrypted_content"]
    assert first["store"] is False
    assert "Name: Ada." in first["instructions"]
    assert [item["role"] for item in first["input"]] == ["user"]
    shown, hidden = sealed(thinker, 3)
    assert sealed(thinker, 2) == [shown]
    assert shown["summary"] == [{"type": "summary_text", "text": "She likes tea."}]
    assert hidden["summary"] == []
    assert shown["encrypted_content"].startswith("sealed/")
    assert shown["encrypted_content"] != hidden["encrypted_content"]
    kinds = [item.get("type") or item["role"] for item in third["input"]]
    assert kinds == ["user", "reasoning", "function_call", "function_call_output", "reasoning", "message", "user"]
    assert third["input"][:4] == second["input"], "what came before stays as it was, so that the server's cache holds"
    assert len({each["prompt_cache_key"] for each in (first, second, third)}) == 1


def test_seals_survive_a_restart(own_models: ModelServer, thinker: Script, tmp_path: Path) -> None:
    thinker.answer(reasoning("Hm."), text("One."), usage=None).say("Two.")
    with Server(tmp_path / "data", {**own_models.environment, **BY_RESPONSES}) as server:
        agent = server.new_agent(model=thinker.handle)["id"]
        frames(server, agent)
        server.restart()
        frames(server, agent)
    assert [item["summary"][0]["text"] for item in sealed(thinker, 2)] == ["Hm."]


def test_seals_stay_with_the_model_that_made_them(
    responses_server: Server, own_models: ModelServer, thinker: Script
) -> None:
    plain = own_models.script().say("Me too.")
    thinker.answer(reasoning("Hm."), text("I thought.")).say("Back.")
    agent = responses_server.new_agent(model=thinker.handle)["id"]
    frames(responses_server, agent)
    frames(responses_server, agent, override_model=plain.handle)
    frames(responses_server, agent)
    assert sealed(plain, 1) == []
    assert "include" not in plain.asked[0].body
    assert len(sealed(thinker, 2)) == 1
    assert plain.violations == []


def test_parallel_calls_and_one_that_waits(py1: Client, responses_server: Server, thinker: Script) -> None:
    thinker.answer(reasoning("Both."), parallel(call("weather", {"city": "Oslo"}), call("memory_insert", TEA)))
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    rules = [{"type": "requires_approval", "tool_name": "weather"}]
    agent = responses_server.new_agent(
        model=thinker.handle, tools=["weather"], tool_rules=rules, model_settings=settings, memory_blocks=ADA,
        include_base_tool_rules=False,
    )["id"]  # fmt: skip
    items = turn(py1, agent)
    assert items[-2]["stop_reason"] == "requires_approval"
    request = next(item for item in items if item.type == "approval_request_message")
    yes = {"type": "approval", "tool_call_id": request["tool_call"]["tool_call_id"], "approve": True}
    thinker.say("Done.")
    items = py1.all("stream", agent_id=agent, messages=[{"type": "approval", "approvals": [yes]}])
    assert said(items) == "Done."
    assert len(sealed(thinker, 2)) == 1
    assert thinker.asked[0].body["parallel_tool_calls"] is True


def test_an_answer_that_breaks_off_leaves_a_conversation_that_goes_on(
    py1: Client, responses_server: Server, thinker: Script
) -> None:
    broken = [
        (reasoning("Only a thought."), Cut()),
        (reasoning("Then words."), text("I", " am"), Cut()),
        (reasoning("Then a call."), call("memory_insert", TEA), Raw(b'data: {"type":"error","message":"gone"}\n\n')),
        (reasoning("And half", " a thought."), Raw(b'data: {"type":"response.fai')),
    ]
    agent = fresh_agent(py1, thinker)
    for pieces in broken:
        thinker.answer(*pieces, finish=None)
        ended = frames(responses_server, agent, stream_tokens=True)
        assert [frame.kind for frame in ended[-4:]] == [*ENDING, "error_message", "[DONE]"]
        assert ended[-2].json["error_type"] == "llm_error"
    thinker.say("Here I am.")
    assert said(turn(py1, agent)) == "Here I am."


def test_an_answer_at_its_limit_says_so(py1: Client, thinker: Script) -> None:
    thinker.answer(reasoning("Long."), text("And so"), finish="length")
    assert turn(py1, fresh_agent(py1, thinker))[-2]["stop_reason"] == "max_tokens_exceeded"


def test_a_cancelled_answer_keeps_what_was_said(py1: Client, responses_server: Server, thinker: Script) -> None:
    hold = Hold()
    thinker.answer(reasoning("Hm."), text("So"), hold, text(" far")).say("Again.")
    agent = fresh_agent(py1, thinker)
    with responses_server.stream(
        f"/v1/agents/{agent}/messages/stream", {"messages": user("hi"), "stream_tokens": True}
    ) as stream:
        stream.until("assistant_message")
        assert responses_server.post(f"/v1/agents/{agent}/messages/cancel").status == 200
        assert thinker.asked[0].closed.wait(20), "the provider was not hung up on"
        stream.read()
    hold.release()
    assert said(turn(py1, agent)) == "Again."
    assert len(sealed(thinker, 2)) == 1
