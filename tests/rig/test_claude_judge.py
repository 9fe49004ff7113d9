"""The judge of what Anthropic is asked: it must object to what Anthropic would refuse, and to nothing else."""

from typing import Any

import pytest

from tests.rig import http
from tests.rig.answers import call, reasoning, redacted, text
from tests.rig.claude import faults_of, seal
from tests.rig.model import ModelServer

Turn = dict[str, Any]
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": seal("hm")}
USE = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a"}
WORDS = {"type": "text", "text": "hi"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def user(*blocks: Turn) -> Turn:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Turn) -> Turn:
    return {"role": "assistant", "content": list(blocks)}


def body(*messages: Turn, **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 4096, "messages": list(messages), "tools": [TOOL], **more}


TURN = (user(WORDS), assistant(THOUGHT, USE), user(RESULT, WORDS))


@pytest.mark.parametrize(
    "thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}]
)
def test_what_is_right_has_no_faults(thinking: dict[str, Any]) -> None:
    assert faults_of(body(*TURN, thinking=thinking)) == []


@pytest.mark.parametrize(
    "bad",
    [
        body(),
        body(*TURN, max_tokens=0),
        body(*TURN, colour="red"),
        body(*TURN, tools=[]),
        body(*TURN, tools=[TOOL, TOOL]),
        body(*TURN, tool_choice={"type": "tool", "name": "g"}),
        body(*TURN, tool_choice={"type": "any"}, thinking={"type": "adaptive"}),
        body(*TURN, temperature=1, thinking={"type": "adaptive"}),
        body(*TURN, thinking={"type": "enabled", "budget_tokens": 4096}),
        body(*TURN, system=[{**WORDS, "cache_control": {}}] * 5),
        body(assistant(WORDS), user(WORDS)),
        body(user(WORDS), assistant(WORDS)),
        body(user(WORDS), user(WORDS)),
        body(user()),
        body(user({"type": "text", "text": " "})),
        body(user(THOUGHT)),
        body(user(WORDS), assistant(USE), user(WORDS)),
        body(user(WORDS), assistant(USE), user(WORDS, RESULT)),
        body(user(WORDS), assistant(USE), user(RESULT, RESULT)),
        body(user(RESULT)),
        body(user(WORDS), assistant(THOUGHT), user(WORDS)),
        body(user(WORDS), assistant({**THOUGHT, "thinking": "hm!"}, WORDS), user(WORDS)),
        body(user(WORDS), assistant({**THOUGHT, "cache_control": {}}, WORDS), user(WORDS)),
        body(user(WORDS), assistant({**USE, "name": "f g"}), user(RESULT)),
        body(user(WORDS), assistant({**USE, "input": "{}"}), user(RESULT)),
        body(*TURN[:2], user(RESULT), assistant(THOUGHT, USE), user(RESULT)),
        body(user(WORDS), assistant(USE), user(RESULT), thinking={"type": "enabled", "budget_tokens": 1024}),
    ],
)
def test_faults_are_seen(bad: dict[str, Any]) -> None:
    assert faults_of(bad) != []


def test_a_scripted_claude_streams_its_pieces(models: ModelServer) -> None:
    script = models.claude().answer(reasoning("h", "m"), redacted("x"), text("a"), call("f", {"x": 1}), usage=(7, 3))
    asked = {"model": script.name, "max_tokens": 9, "messages": [user(WORDS)], "stream": True}
    with http.stream("POST", f"{models.claude_environment['ANTHROPIC_BASE_URL']}/v1/messages", asked) as stream:
        sent = [frame.json for frame in stream.read()]
    begun = [event["content_block"]["type"] for event in sent if event["type"] == "content_block_start"]
    assert begun == ["thinking", "redacted_thinking", "text", "tool_use"]
    seals = [event["delta"]["signature"] for event in sent if "signature" in event.get("delta", {})]
    assert seals == [seal("hm")]
    assert sent[-2]["delta"]["stop_reason"] == "tool_use"
    assert script.violations == []
