"""Log probabilities: asked of providers that have them, of nobody unless they were asked for."""

from typing import Any

import pytest

from tests.contract.told import ADA, fresh_agent, user
from tests.rig.answers import call, likelihood
from tests.rig.model import Script
from tests.rig.sdks import PY1, Client
from tests.rig.server import Server

ASKED = {"return_logprobs": True, "top_logprobs": 2}


def agent_of(server: Server, script: Script, **fields: Any) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA, **fields)["id"]


def send(server: Server, agent: str, **options: Any) -> dict[str, Any]:
    reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi"), **options})
    assert reply.status == 200, reply.text
    return reply.json


def test_those_of_the_last_answer_come_with_the_reply(server: Server, script: Script) -> None:
    script.answer(call("conversation_search", {"query": "tea"})).say("Hel", "lo")
    reply = send(server, agent_of(server, script), **ASKED)
    tokens = [likelihood(token, 2) for token in ("Hel", "lo")]
    assert reply["logprobs"] == {"content": tokens, "refusal": None}
    assert reply["turns"] is None
    assert [(asked.body["logprobs"], asked.body["top_logprobs"]) for asked in script.asked] == [(True, 2)] * 2


def test_the_newer_sdks_read_them(new_client: Client, script: Script) -> None:
    script.say("Hel", "lo")
    agent = fresh_agent(new_client, script)
    (found,) = new_client.all("create_whole", agent_id=agent, messages=user("hi"), **ASKED)
    last = found["logprobs"]["content"][-1]
    assert (last["token"], last["logprob"]) == ("lo", -0.5)
    assert [other["logprob"] for other in last["top_logprobs"]] == [-0.5, -1.5]
    if new_client.sdk.name == PY1:
        assert found.nested["logprobs"] == "Logprobs"


def test_nobody_is_asked_for_them_otherwise(server: Server, script: Script) -> None:
    script.say("Hello")
    agent = agent_of(server, script)
    assert send(server, agent, top_logprobs=2)["logprobs"] is None
    assert not {"logprobs", "top_logprobs"} & script.asked[0].body.keys()
    (run,) = server.get(f"/v1/runs/?agent_id={agent}").json
    assert "return_logprobs" not in run["request_config"]


def test_a_stream_has_them_with_its_usage(server: Server, script: Script) -> None:
    script.say("Hel", "lo")
    body = {"messages": user("hi"), "stream_tokens": True, "return_logprobs": True}
    with server.stream(f"/v1/agents/{agent_of(server, script)}/messages/stream", body) as stream:
        found = stream.read()
    assert found[-2].kind == "usage_statistics"
    assert [entry["token"] for entry in found[-2].json["logprobs"]["content"]] == ["Hel", "lo"]
    assert all("logprobs" not in frame.json for frame in found[:-2])


def test_a_provider_that_gives_none(server: Server, script: Script) -> None:
    script.answer(call("conversation_search", {"query": "tea"}))
    assert send(server, agent_of(server, script), max_steps=1, **ASKED)["logprobs"] is None


def test_an_agent_that_always_asks_says_so(server: Server, script: Script) -> None:
    script.say("Hello")
    config = {"handle": script.handle, "model": script.name, "context_window": 32000, **ASKED}
    made = server.new_agent(llm_config={**config, "model_endpoint_type": "openai"}, memory_blocks=ADA)
    assert (made["llm_config"]["return_logprobs"], made["llm_config"]["top_logprobs"]) == (True, 2)
    assert send(server, made["id"])["logprobs"]["content"][-1]["token"] == "Hello"


@pytest.mark.parametrize("top", [-1, 21, "many"])
def test_how_many_there_can_be(server: Server, script: Script, top: object) -> None:
    body = {"messages": user("hi"), "return_logprobs": True, "top_logprobs": top}
    reply = server.post(f"/v1/agents/{agent_of(server, script)}/messages", body)
    assert (reply.status, reply.json["detail"][0]["loc"][:2]) == (422, ["body", "top_logprobs"])
