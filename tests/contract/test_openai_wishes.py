"""What OpenAI's clients may ask of an agent, and what is refused: the form of an answer, a call, a list of models."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.openai_words import CHAT_TOOLS, LOCATE, RESPONSE_TOOLS, finish, heard, message
from tests.contract.told import remembering, user
from tests.operation.waiting import soon
from tests.rig.answers import Hold, call
from tests.rig.model import Script
from tests.rig.sdks import Client, SdkError
from tests.rig.server import Server

NOWHERE = "agent-123e4567-e89b-42d3-8456-426614174000"


OTHER = {"type": "function", "function": {"name": "other"}}
REFUSED: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"model": "gpt-4o"}, "model_not_found", None),
    ({"model": NOWHERE}, "model_not_found", None),
    ({"messages": []}, None, None),
    ({"messages": [{"role": "assistant", "content": "x"}]}, None, None),
    ({"messages": [{"role": "user", "content": ""}]}, None, "messages.0.content"),
    ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, None, None),
    ({"n": 2}, None, "n"),
    ({"tool_choice": "required"}, None, "tool_choice"),
    ({"tool_choice": OTHER, "tools": CHAT_TOOLS}, None, "tool_choice"),
    ({"tool_choice": {"type": "custom"}, "tools": CHAT_TOOLS}, None, "tool_choice"),
    ({"tool_choice": {"type": "function", "name": ["locate"]}, "tools": CHAT_TOOLS}, None, "tool_choice"),
    ({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": 5}}, None, "tool_choice"),
    ({"response_format": {"type": "xml"}}, None, "response_format"),
    ({"response_format": {"type": "json_schema"}}, None, "response_format"),
    ({"tools": [{"type": "custom"}]}, None, "tools.0.type"),
    ({"functions": [LOCATE]}, None, "functions"),
]


def test_what_cannot_be_asked_is_refused_as_openai_would(openai: Client, agent: str) -> None:
    for (fields, code, param), how in itertools.product(REFUSED, ("chat", "chat_chunks")):
        with pytest.raises(SdkError) as raised:
            openai.all(how, **{"model": agent, "messages": user("hi"), **fields})
        assert raised.value.cls == ("NotFoundError" if code else "BadRequestError"), fields
        assert set(raised.value.body) == {"message", "type", "code", "param"}
        assert raised.value.body["message"]
        assert (raised.value.body["type"], raised.value.body["code"]) == ("invalid_request_error", code)
        assert raised.value.body["param"] == param, fields


def test_an_answer_in_the_form_that_is_asked_for(openai: Client, server: Server, script: Script, agent: str) -> None:
    schema = {"name": "person", "schema": {"type": "object", "properties": {}}, "strict": True}
    wanted = {"type": "json_schema", "json_schema": schema}
    remembering(script)
    done = openai.one("chat", model=agent, messages=user("I like tea."), response_format=wanted)
    assert message(done)["content"] == "I saved that.", "what was said on the way is not in the form"
    script.say("{}").say("{}").say("Hello.")
    openai.one("respond", model=agent, input="Who?", text={"format": {"type": "json_schema", **schema}})
    openai.one("respond", model=agent, input="Who?", text={"format": {"type": "json_object"}})
    openai.one("respond", model=agent, input="Who?", text={"format": {"type": "text"}})
    formats = [asked.body.get("response_format") for asked in script.asked]
    assert formats == [wanted, wanted, wanted, {"type": "json_object"}, None]
    older = server.new_agent(model=script.handle, agent_type="memgpt_v2_agent")["id"]
    with pytest.raises(SdkError) as raised:
        openai.one("chat", model=older, messages=user("hi"), response_format=wanted)
    assert (raised.value.body["param"], "memgpt_v2_agent" in raised.value.body["message"]) == ("response_format", True)


def test_a_call_that_is_asked_for(openai: Client, script: Script, agent: str) -> None:
    named = {"type": "function", "function": {"name": "locate"}}
    only = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "locate"}]}
    other = {"type": "function", **LOCATE, "name": "other"}
    script.answer(call("locate", {}, id="a")).answer(call("locate", {}, id="b")).say("Done.")
    asked = openai.one("chat", model=agent, messages=user("Where?"), tools=CHAT_TOOLS, tool_choice=named)
    result = {"role": "tool", "tool_call_id": message(asked)["tool_calls"][0]["id"], "content": "Oslo"}
    again = openai.one("chat", model=agent, messages=[result], tools=CHAT_TOOLS, tool_choice="required")
    assert finish(again) == "tool_calls"
    outputs = [{"type": "function_call_output", "call_id": "b", "output": "Oslo"}]
    openai.one("respond", model=agent, input=outputs, tools=[*RESPONSE_TOOLS, other], tool_choice=only)
    assert [asked.body["tool_choice"] for asked in script.asked] == [named, "required", "required"]
    assert [set(asked.tools) for asked in script.asked] == [{"locate"}] * 3


def test_what_was_never_answered_is_not_said_twice(openai: Client, script: Script, agent: str) -> None:
    script.say("One.").refuse(429).refuse(500).say("Four.").say("Five.")
    history = [*user("first"), {"role": "assistant", "content": "One."}, *user("second")]
    openai.one("chat", model=agent, messages=history[:1])
    for _ in range(2):  # as clients do that send again what failed, without saying that they do
        with pytest.raises(SdkError):
            openai.one("chat", model=agent, messages=history)
    openai.one("chat", model=agent, messages=[*history, *user("third")])
    openai.one("chat", model=agent, messages=user("third"))
    assert heard(script, 3) == ["first", "second"]
    assert heard(script, 5) == ["first", "second", "third", "third"]


def test_who_speaks_before_calls_come_goes_on_without_them(server: Server, script: Script, agent: str) -> None:
    hold = Hold()
    script.answer(hold, call("locate", {})).say("Never mind.")
    path, asked = "/v1/chat/completions", {"model": agent, "messages": user("Where am I?"), "tools": CHAT_TOOLS}
    with ThreadPoolExecutor() as pool, server.stream(path, {**asked, "stream": True}) as first:
        hold.wait_reached()
        second = pool.submit(server.post, path, {"model": agent, "messages": user("Hello?")})
        soon(lambda: len(server.get(f"/v1/runs/active?agent_id={agent}").json) == 2)
        hold.release()
        assert "tool_calls" in first.read()[-2].data
        assert second.result(30).json["choices"][0]["message"]["content"] == "Never mind."
    assert heard(script, 2) == ["Where am I?", "Hello?"]


def test_agents_are_listed_as_models(openai: Client, server: Server, script: Script, agent: str) -> None:
    aside = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    listed = {model["id"]: model for model in openai.all("models")}
    assert {model.cls for model in listed.values()} == {"Model"}
    assert listed[agent]["name"] == server.get(f"/v1/agents/{agent}").json["name"]
    assert openai.one("model", model=agent)["created"] == listed[agent]["created"]
    assert openai.one("model", model=aside)["id"] == aside
    for unknown in (NOWHERE, "gpt-4o"):
        with pytest.raises(SdkError) as raised:
            openai.one("model", model=unknown)
        assert (raised.value.cls, raised.value.body["code"]) == ("NotFoundError", "model_not_found")
    for spelling in ("/v1/models", "/v1/models/"):
        assert script.handle in {each["handle"] for each in server.get(spelling).json}


def test_all_that_is_there_for_openais_clients_is_under_their_own_base_too(
    server: Server, script: Script, agent: str
) -> None:
    script.say("Hi.")
    reply = server.post("/v1/openai/chat/completions", {"model": agent, "messages": user("hi")})
    assert reply.json["choices"][0]["message"]["content"] == "Hi."
    assert server.get(f"/v1/openai/models/{agent}").json["id"] == agent
    assert server.get("/v1/openai/responses/resp_0").json["error"]["code"] == "model_not_found"
    assert server.get("/v1/openai/chat/completions").status == 405
    for elsewhere in ("/v1/openai/agents/", "/v1/openai/models/embedding", "/v1/openai"):
        assert server.get(elsewhere).status == 404, elsewhere


def test_log_probabilities_come_with_the_end(openai: Client, script: Script, agent: str) -> None:
    script.say("Hi", " Ada.").say("Hi")
    done = openai.one("chat", model=agent, messages=user("hi"), logprobs=True, top_logprobs=2)
    given = done["choices"][0]["logprobs"]["content"]
    assert [(each["token"], len(each["top_logprobs"])) for each in given] == [("Hi", 2), (" Ada.", 2)]
    ended = openai.one("chat_whole", model=agent, messages=user("hi"), logprobs=True)
    assert [each["token"] for each in ended["choices"][0]["logprobs"]["content"]] == ["Hi"]
