"""Providers that refuse, fall silent or break off: S23 to S29. What was said stays, and the run says why it failed."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.told import user
from tests.contract.turns import ENDING, TEA, agent_of, frames, kinds, said_in, turn
from tests.rig.answers import Cut, Hold, call, text
from tests.rig.http import Frame
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import PY0, Client, SdkError
from tests.rig.server import Server

FAILED = ["ping", *ENDING, "error_message", "[DONE]"]


def assert_failed(server: Server, agent: str, found: list[Frame], error_type: str, why: str = "llm_api_error") -> None:
    """The stream ended as a failed one does, the run says the same, and what the user said is kept."""
    assert kinds(found) == FAILED
    assert (found[1].json["stop_reason"], found[3].event, found[3].json["error_type"]) == (why, "error", error_type)
    assert found[3].json.keys() == {"message_type", "run_id", "error_type", "message", "detail", "seq_id"}
    assert found[3].json["message"]
    run = server.get(f"/v1/runs/{found[0].json['run_id']}").json
    assert (run["status"], run["stop_reason"]) == ("failed", why)
    assert run["metadata"]["error"]["error_type"] == error_type
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item["message_type"] for item in history] == ["system_message", "user_message"]


def refused(server: Server, script: Script, status: int) -> tuple[str, list[Frame]]:
    for _ in range(10):
        script.refuse(status, "the script says no")
    agent = agent_of(server, script)
    return agent, frames(server, agent)


def test_s23_a_key_that_is_refused(server: Server, script: Script) -> None:
    agent, found = refused(server, script, 401)
    assert_failed(server, agent, found, "llm_authentication")
    assert "the script says no" in found[3].json["detail"]


def test_s24_a_rate_limit(server: Server, script: Script) -> None:
    agent, found = refused(server, script, 429)
    assert_failed(server, agent, found, "llm_rate_limit")
    # Scenario 29: whoever asked for JSON gets the status itself, before anything was said.
    answer = server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")})
    assert (answer.status, answer.headers["x-should-retry"]) == (429, "false")


def test_s25_a_provider_that_is_too_slow(
    models: ModelServer, new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server({**models.environment, "LETTA_LLM_REQUEST_TIMEOUT_SECONDS": "0.3"}).start()
    hold = Hold()
    script.answer(hold, text("too late"))
    agent = agent_of(server, script)
    assert_failed(server, agent, frames(server, agent), "llm_timeout")
    hold.release()


def test_s25_a_gateway_that_gave_up(server: Server, script: Script) -> None:
    assert_failed(server, *refused(server, script, 504), "llm_timeout")


def test_s26_an_answer_without_anything_in_it(server: Server, script: Script) -> None:
    script.refuse(200, body="data: [DONE]\n\n", content_type="text/event-stream")
    agent = agent_of(server, script)
    assert_failed(server, agent, frames(server, agent), "llm_empty_response", "invalid_llm_response")


@pytest.mark.parametrize("status", [400, 500, 503])
def test_s27_any_other_refusal(server: Server, script: Script, status: int) -> None:
    assert_failed(server, *refused(server, script, status), "llm_bad_request" if status == 400 else "llm_error")


def test_the_newer_sdk_raises_and_the_older_reads_on(py: Client, script: Script) -> None:
    script.refuse(401, "the script says no")
    agent = py.one("create_agent", model=script.handle)["id"]
    if py.sdk.name == PY0:
        assert turn(py, agent)[-2]["error"]["error_type"] == "llm_authentication"
    else:
        with pytest.raises(SdkError) as raised:
            turn(py, agent)
        assert raised.value.body["error_type"] == "llm_authentication"
        assert [item.type for item in raised.value.before] == ["ping", *ENDING]


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s28_the_provider_breaks_in_the_middle(server: Server, script: Script, tokens: bool) -> None:
    script.answer(text("The answer", " is"), Cut()).say("Again.")
    agent = agent_of(server, script)
    found = frames(server, agent, stream_tokens=tokens)
    spoken = ["assistant_message"] * (2 if tokens else 1)
    assert kinds(found) == ["ping", *spoken, *ENDING, "error_message", "[DONE]"]
    assert said_in(found) == "The answer is"
    assert found[-2].json["error_type"] == "llm_error"
    run = server.get(f"/v1/runs/{found[0].json['run_id']}").json
    assert (run["status"], run["stop_reason"]) == ("failed", "llm_api_error")
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


@pytest.mark.parametrize("tokens", [False, True], ids=["steps", "tokens"])
def test_s29_the_provider_fails_in_step_2(server: Server, script: Script, tokens: bool) -> None:
    script.answer(call("memory_insert", TEA, fragments=1))
    for _ in range(10):
        script.refuse(500)
    agent = agent_of(server, script)
    found = frames(server, agent, stream_tokens=tokens)
    first: list[Any] = ["tool_call_message"] * (2 if tokens else 1)
    assert kinds(found) == ["ping", *first, "tool_return_message", *ENDING, "error_message", "[DONE]"]
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "Name: Ada.\nLikes tea."
    kept = [item["message_type"] for item in server.get(f"/v1/agents/{agent}/messages").json]
    assert kept == ["system_message", "user_message", "tool_call_message", "tool_return_message"]
    assert server.get(f"/v1/runs/{found[0].json['run_id']}").json["status"] == "failed"
