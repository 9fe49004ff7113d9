"""All that waits for approval, in one list: an extension, reached by the SDKs' way to ask for any path."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.contract.told import user
from tests.rig.answers import call, parallel
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import Client
from tests.rig.server import Server

ASK_FIRST = [{"type": "requires_approval", "tool_name": "weather"}]
OSLO = {"city": "Oslo"}


def careful_agent(server: Server, script: Script, **fields: Any) -> str:
    return server.new_agent(tools=["weather"], tool_rules=ASK_FIRST, model=script.handle, **fields)["id"]


def ask(server: Server, script: Script, agent: str, conversation: str | None = None) -> str:
    """Have an agent ask for approval; returns the id of its request."""
    script.answer(call("weather", OSLO))
    path = f"/v1/conversations/{conversation}" if conversation else f"/v1/agents/{agent}"
    reply = server.post(f"{path}/messages", {"messages": user("hi"), "streaming": False})
    assert reply.json["stop_reason"]["stop_reason"] == "requires_approval"
    return reply.json["messages"][-1]["id"]


def listed(server: Server, **query: Any) -> list[dict[str, Any]]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    reply = server.get(f"/v1/approvals/?{asked}")
    assert reply.status == 200, reply.text
    return reply.json


def test_a_request_is_listed_until_it_is_answered(server: Server, script: Script) -> None:
    agent = careful_agent(server, script)
    assert listed(server, agent_id=agent) == []
    request = ask(server, script, agent)
    (found,) = listed(server, agent_id=agent)
    assert (found["id"], found["agent_id"], found["conversation_id"]) == (request, agent, None)
    assert json.loads(found["tool_calls"][0]["arguments"]) == OSLO
    assert found["tool_call"] == found["tool_calls"][0]
    assert found["expires_at"] is None
    run = server.get(f"/v1/runs/{found['run_id']}").json
    assert (run["agent_id"], run["stop_reason"]) == (agent, "requires_approval")
    assert server.get(f"/v1/steps/{found['step_id']}").status == 200
    shown = next(each for each in server.get(f"/v1/agents/{agent}/messages").json if each["id"] == request)
    assert datetime.fromisoformat(found["created_at"]).replace(microsecond=0) == datetime.fromisoformat(shown["date"])
    script.say("Sunny.")
    yes = [{"type": "approval", "approve": True, "approval_request_id": found["tool_call"]["tool_call_id"]}]
    assert server.post(f"/v1/agents/{agent}/messages", {"messages": yes}).status == 200
    assert listed(server, agent_id=agent) == []


def test_calls_for_the_caller_itself_are_among_them(server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle)["id"]
    script.answer(call("locate", {}))
    own = [{"name": "locate", "description": "Where the user is"}]
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi"), "client_tools": own})
    assert [each["tool_call"]["name"] for each in listed(server, agent_id=agent)] == ["locate"]


def test_only_the_calls_to_be_decided(server: Server, script: Script) -> None:
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    agent = careful_agent(server, script, model_settings=settings, include_base_tool_rules=False)
    script.answer(parallel(call("conversation_search", {"query": "x"}), call("weather", OSLO), call("weather", OSLO)))
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")})
    (found,) = listed(server, agent_id=agent)
    assert [each["name"] for each in found["tool_calls"]] == ["weather", "weather"]


def test_conversations_wait_by_themselves(server: Server, script: Script) -> None:
    agent = careful_agent(server, script)
    conversation = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    first, second = ask(server, script, agent), ask(server, script, agent, conversation)
    assert [(each["id"], each["conversation_id"]) for each in listed(server, agent_id=agent)] == [
        (first, None), (second, conversation),
    ]  # fmt: skip
    assert [each["id"] for each in listed(server, conversation_id=conversation)] == [second]
    assert [each["id"] for each in listed(server, agent_id=agent, conversation_id="default")] == [first]


def test_pages_show_each_once(server: Server, script: Script) -> None:
    agent = careful_agent(server, script)
    requests = [ask(server, script, agent)]
    for _ in range(3):
        conversation = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
        requests.append(ask(server, script, agent, conversation))
    for order, expected in (("asc", requests), ("desc", requests[::-1])):
        found: list[str] = []
        cursor: dict[str, str] = {}
        while page := listed(server, agent_id=agent, limit=3, order=order, **cursor):
            found += [each["id"] for each in page]
            cursor = {"after": found[-1]}
        assert found == expected
    assert [each["id"] for each in listed(server, agent_id=agent, before=requests[2])] == requests[:2]
    assert server.get("/v1/approvals/?after=message-00000000-0000-4000-8000-000000000000").status == 404


def test_a_fork_waits_for_the_same_request(server: Server, script: Script) -> None:
    agent = careful_agent(server, script)
    request = ask(server, script, agent)
    fork = server.post(f"/v1/conversations/default/fork?agent_id={agent}").json["id"]
    found = listed(server, agent_id=agent, limit=1)
    assert {(each["id"], each["conversation_id"]) for each in found} == {(request, None), (request, fork)}
    assert listed(server, agent_id=agent, limit=1, after=request) == []


def test_with_a_time_limit_each_has_a_deadline(
    models: ModelServer, new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_APPROVAL_MINUTES": "10"}, tools=["tests.rig.tools:weather"])
    server.start()
    ask(server, script, careful_agent(server, script))
    (found,) = listed(server)
    waits = datetime.fromisoformat(found["expires_at"]) - datetime.fromisoformat(found["created_at"])
    assert waits == timedelta(minutes=10)
    server.kill()
    server.start()
    assert listed(server) == [found]


def test_the_newer_sdks_reach_it(new_client: Client, server: Server, script: Script) -> None:
    agent = careful_agent(server, script)
    request = ask(server, script, agent)
    assert [each["id"] for each in new_client.all("get", path=f"/v1/approvals/?agent_id={agent}")] == [request]


@pytest.mark.parametrize("query", ["limit=0", "limit=many", "order=up"])
def test_queries_that_make_no_sense(server: Server, query: str) -> None:
    assert server.get(f"/v1/approvals/?{query}").status == 422
