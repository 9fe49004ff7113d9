"""The acceptance scenarios in which the model's own protocol shows, through the real Python SDKs."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.told import ADA, assert_classes, fresh_agent, said, told, types, user
from tests.rig.answers import call, reasoning, redacted, text
from tests.rig.claude import seal
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import PY0, PY1, Client, Sdk
from tests.rig.server import Server

TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
ENDING = ["stop_reason", "usage_statistics"]


@pytest.fixture(scope="module")
def claude_server(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that asks the scripted models in Anthropic's messages."""
    with Server(tmp_path_factory.mktemp("claude") / "data", models.claude_environment) as running:
        yield running


@pytest.fixture(params=[PY0, PY1])
def claude_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], claude_server: Server) -> Client:
    """Each Python SDK in turn."""
    return sdks(request.param).at(claude_server.base_url)


@pytest.fixture
def claude(models: ModelServer) -> Iterator[Script]:
    """A scripted Claude; the test fails if it was asked what Anthropic would refuse."""
    script = models.claude()
    yield script
    assert script.violations == []


def test_s08_a_tool_call_in_anthropics_style(claude_client: Client, claude: Script) -> None:
    claude.answer(call("memory_insert", TEA)).say("Saved.")
    agent = fresh_agent(claude_client, claude)
    items = claude_client.all("stream", agent_id=agent, messages=user("hi"), stream_tokens=True)
    assert types(items) == ["tool_call_message", "tool_return_message", "assistant_message", *ENDING]
    deltas = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    assert len(deltas) == 4
    assert {delta["name"] for delta in deltas} == {"memory_insert"}
    assert len({delta["tool_call_id"] for delta in deltas}) == 1
    assert [bool(delta.get("arguments")) for delta in deltas] == [False, True, True, True]
    assert json.loads("".join(delta.get("arguments") or "" for delta in deltas)) == TEA
    assert told(claude_client.all("list_messages", agent_id=agent)) == told(items)


def asked_again(client: Client, script: Script, *pieces: Any) -> list[dict[str, Any]]:
    """Has the model answer with `pieces` and a call, then with text; the blocks of its answer as it is shown again."""
    script.answer(*pieces, call("memory_insert", TEA, id="toolu_1")).say("Saved.")
    agent = fresh_agent(client, script)
    items = client.all("stream", agent_id=agent, messages=user("hi"), stream_tokens=True)
    assert_classes(client, items)
    assert said(items) == "".join(delta for piece in pieces for delta in getattr(piece, "deltas", ())
                                  if type(piece) is type(text())) + "Saved."  # fmt: skip
    [_, assistant, results] = script.wait_asked(2).messages
    assert [block["type"] for block in results["content"]] == ["tool_result"]
    assert results["content"][0]["tool_use_id"] == "toolu_1"
    return assistant["content"]


def test_a_thought_before_a_call_is_shown_to_the_model_again_word_for_word(
    claude_client: Client, claude: Script
) -> None:
    words = "She likes tea. \u00e9\U0001f600"
    [thought, spoken, used] = asked_again(claude_client, claude, reasoning("She likes", words[9:]), text("Saving."))
    assert thought == {"type": "thinking", "thinking": words, "signature": seal(words)}
    assert spoken == {"type": "text", "text": "Saving."}
    assert (used["type"], used["input"]) == ("tool_use", TEA)


def test_redacted_reasoning_is_shown_to_the_model_again(claude_client: Client, claude: Script) -> None:
    blob = "EuoBCoYBGAIiQNotForYou=="
    [hidden, thought, used] = asked_again(claude_client, claude, redacted(blob), reasoning("Tea."))
    assert hidden == {"type": "redacted_thinking", "data": blob}
    assert (thought["thinking"], used["name"]) == ("Tea.", "memory_insert")


@pytest.mark.stores("postgresql")
def test_redacted_reasoning_is_told_and_survives_a_restart(
    models: ModelServer, new_server: Callable[..., Server]
) -> None:
    script = models.claude()
    script.answer(redacted("YmxhY2s="), text("Yes.")).say("Still yes.")
    server = new_server(models.claude_environment).start()
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    path = f"/v1/agents/{agent}/messages"
    with server.stream(f"{path}/stream", {"messages": user("hi"), "stream_tokens": True}) as stream:
        [told_first] = [frame.json for frame in stream.read() if frame.kind == "hidden_reasoning_message"]
    assert (told_first["state"], told_first["hidden_reasoning"]) == ("redacted", "YmxhY2s=")
    server.restart()
    [kept] = [m for m in server.get(path).json if m["message_type"] == "hidden_reasoning_message"]
    assert {name: kept[name] for name in ("id", "otid", "state", "hidden_reasoning")} == {
        name: told_first[name] for name in ("id", "otid", "state", "hidden_reasoning")
    }
    assert server.post(path, {"messages": user("and now?")}).status == 200
    [_, answer, _] = script.wait_asked(2).messages
    assert answer["content"][0] == {"type": "redacted_thinking", "data": "YmxhY2s="}
    assert script.violations == []


def test_usage_and_parallel_calls(claude_server: Server, claude_client: Client, claude: Script) -> None:
    first, second = call("conversation_search", {"query": "tea"}), call("memory_insert", TEA)
    claude.answer(reasoning("Both."), first, second).say("Done.")
    agent = claude_server.new_agent(model=claude.handle, memory_blocks=ADA, parallel_tool_calls=True)["id"]
    items = claude_client.all("stream", agent_id=agent, messages=user("hi"))
    assert items[-1]["prompt_tokens"] == 200
    assert items[-1]["completion_tokens"] == 20
    [_, _, results] = claude.wait_asked(2).messages
    assert [block["tool_use_id"] for block in results["content"]] == [first.id, second.id]
