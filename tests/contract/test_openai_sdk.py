"""OpenAI's own SDK in front of agents that remember: chat completions and Responses, streamed and whole."""

import json
from typing import Any

import pytest

from tests.contract.openai_words import CHAT_TOOLS, RESPONSE_TOOLS, finish, heard, kinds, message, words
from tests.contract.told import ADA, remembering, user
from tests.rig.answers import Cut, Refusal, call, parallel, reasoning, text
from tests.rig.model import Script
from tests.rig.sdks import Client, SdkError
from tests.rig.server import Server


def test_a_chat_whole(openai: Client, script: Script, agent: str) -> None:
    script.say("Hello", " Ada.")
    done = openai.one("chat", model=agent, messages=user("hi"))
    assert message(done)["content"] == "Hello Ada."
    assert (done["object"], done["model"], finish(done)) == ("chat.completion", agent, "stop")
    assert done["usage"]["prompt_tokens"] == 100
    assert done["usage"]["total_tokens"] == 110
    assert abs(done["created"] - 1_790_000_000) < 10**9


def test_a_chat_in_chunks(openai: Client, script: Script, agent: str) -> None:
    script.answer(reasoning("Greet", " her."), text("Hel", "lo"))
    chunks = openai.all("chat_chunks", model=agent, messages=user("hi"), stream_options={"include_usage": True})
    assert {chunk.cls for chunk in chunks} == {"ChatCompletionChunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0]["role"] == "assistant"
    assert [delta["content"] for delta in deltas if delta.get("content")] == ["Hel", "lo"]
    assert [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta] == ["Greet", " her."]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-3:-1]] == [None, "stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 10


def test_usage_comes_only_where_it_is_asked_for(openai: Client, script: Script, agent: str) -> None:
    script.say("Hello")
    assert all(chunk["choices"] for chunk in openai.all("chat_chunks", model=agent, messages=user("hi")))


def test_the_agent_remembers_and_is_told_only_what_is_new(
    openai: Client, server: Server, script: Script, agent: str
) -> None:
    script.say("One.").say("Two.").say("Three.").say("Four.")
    history = [{"role": "system", "content": "Be a pirate."}, *user("first")]
    openai.one("chat", model=agent, messages=history)
    history += [{"role": "assistant", "content": "One."}, *user("second"), *user("third")]
    openai.one("chat", model=agent, messages=history)
    openai.one("chat", model=agent, messages=user("fourth"))
    openai.one("respond", model=agent, input="fifth", previous_response_id="resp_1", instructions="Be a pirate.")
    assert heard(script, 4) == ["first", "second", "third", "fourth", "fifth"]
    assert "pirate" not in json.dumps(script.asked[3].body)
    shown = server.get(f"/v1/agents/{agent}/messages").json
    assert [each["content"] for each in shown if each["message_type"] == "assistant_message"] == [
        "One.", "Two.", "Three.", "Four."
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["chat", "chat_whole"])
def test_what_the_agent_does_with_its_own_tools_is_not_shown_in_a_chat(
    openai: Client, server: Server, script: Script, agent: str, how: str
) -> None:
    remembering(script)
    done = openai.one(how, model=agent, messages=user("I like tea."))
    assert message(done)["content"] == "Saving it.\n\nI saved that."
    assert message(done)["reasoning_content"] == "She likes tea."
    assert not message(done).get("tool_calls")
    assert finish(done) == "stop"
    block = server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json
    assert block["value"] == "Name: Ada.\nLikes tea."


@pytest.mark.parametrize("how", ["chat", "chat_whole"])
def test_the_callers_own_tool_in_a_chat(openai: Client, script: Script, agent: str, how: str) -> None:
    script.answer(text("Let me see."), call("locate", {"exact": True}, id="call_1"))
    history = user("Where am I?")
    asked = openai.one(how, model=agent, messages=history, tools=CHAT_TOOLS)
    assert finish(asked) == "tool_calls"
    (called,) = message(asked)["tool_calls"]
    assert (called["id"], called["type"], called["function"]["name"]) == ("call_1", "function", "locate")
    assert json.loads(called["function"]["arguments"]) == {"exact": True}
    script.say("In Oslo.")
    said = {"role": "assistant", "content": message(asked)["content"], "tool_calls": [called]}
    returned = {"role": "tool", "tool_call_id": "call_1", "content": "Oslo"}
    done = openai.one(how, model=agent, messages=[*history, said, returned], tools=CHAT_TOOLS)
    assert (message(done)["content"], finish(done)) == ("In Oslo.", "stop")
    assert script.asked[1].said == "Oslo"
    assert heard(script, 2) == ["Where am I?"]
    again = openai.one(how, model=agent, messages=[*history, said, returned], tools=CHAT_TOOLS)
    assert message(again)["content"] == "In Oslo.", "a request sent again is answered as before"
    assert len(script.asked) == 2


def test_calls_go_on_over_several_rounds_with_an_aside(openai: Client, server: Server, script: Script) -> None:
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    agent = server.new_agent(model=script.handle, memory_blocks=ADA, model_settings=settings)["id"]
    script.answer(parallel(call("locate", {}, id="a"), call("locate", {}, id="b")))
    script.answer(call("locate", {}, id="c")).say("Done.")
    items: list[dict[str, Any]] = user("Look around.")
    for _ in range(2):
        response = openai.one("respond", model=agent, input=items, tools=RESPONSE_TOOLS)
        # In the order in which many programs put them: each call with its result.
        for made in response["output"]:
            items.append({name: made[name] for name in ("type", "call_id", "name", "arguments")})
            items.append(
                {"type": "function_call_output", "call_id": made["call_id"], "output": f"at {made['call_id']}"}
            )
    items.append({"role": "user", "content": "Quick!"})
    assert words(openai.one("respond", model=agent, input=items, tools=RESPONSE_TOOLS)) == "Done."
    returns = [each["content"] for each in script.asked[2].messages if each["role"] == "tool"]
    assert returns == ["at a", "at b", "at c"]
    assert heard(script, 3) == ["Look around.", "Quick!"]


def test_a_caller_that_forgets_its_calls_can_go_on(openai: Client, script: Script, agent: str) -> None:
    script.answer(call("locate", {})).say("Never mind.")
    openai.one("chat", model=agent, messages=user("Where am I?"), tools=CHAT_TOOLS)
    done = openai.one("chat", model=agent, messages=user("Hello?"))
    assert message(done)["content"] == "Never mind."
    answer = next(each["content"] for each in script.asked[1].messages if each["role"] == "tool")
    assert "went on without" in answer


def test_a_call_that_a_person_must_approve_is_an_error(openai: Client, server: Server, script: Script) -> None:
    rules = [{"type": "requires_approval", "tool_name": "weather"}]
    agent = server.new_agent(model=script.handle, tools=["weather"], tool_rules=rules)["id"]
    script.answer(call("weather", {"city": "Oslo"}))
    for how, asks in (("chat", {"messages": user("hi")}), ("respond", {"input": "hi"})):
        with pytest.raises(SdkError) as raised:
            openai.one(how, model=agent, **asks)
        assert (raised.value.cls, raised.value.body["code"]) == ("ConflictError", "pending_approval")
    assert server.get(f"/v1/agents/{agent}").json["pending_approval"] is not None


def test_a_response_whole(openai: Client, server: Server, script: Script, agent: str) -> None:
    remembering(script)
    done = openai.one("respond", model=agent, input="I like tea.", metadata={"k": "v"})
    assert (done.cls, done["status"], done["model"], done["metadata"]) == ("Response", "completed", agent, {"k": "v"})
    assert kinds(done) == ["reasoning", "message", "message"]
    assert done["output"][0]["summary"] == [{"type": "summary_text", "text": "She likes tea."}]
    assert words(done) == "Saving it.I saved that."
    assert done["usage"]["input_tokens"] == 200
    assert done["usage"]["output_tokens_details"]["reasoning_tokens"] == 0
    run = done["id"].replace("resp_", "run-")
    assert server.get(f"/v1/runs/{run}").json["status"] == "completed"


def test_a_response_as_it_grows(openai: Client, script: Script, agent: str) -> None:
    remembering(script)
    *events, final = openai.all("respond_whole", model=agent, input="I like tea.")
    assert final.cls.startswith("ParsedResponse")
    assert words(final) == "Saving it.I saved that."
    assert kinds(final) == ["reasoning", "message", "message"]
    types = [event["type"].removeprefix("response.") for event in events]
    message_types = ["output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
                     "output_text.done", "content_part.done", "output_item.done"]  # fmt: skip
    assert types == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
        "output_item.done", *message_types, *message_types, "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["usage"]["total_tokens"] == 220


def test_the_callers_own_tool_in_a_response_as_it_grows(openai: Client, server: Server, script: Script) -> None:
    settings = {"provider_type": "openai", "parallel_tool_calls": True}
    agent = server.new_agent(model=script.handle, memory_blocks=ADA, model_settings=settings)["id"]
    script.answer(text("Let me see."), parallel(call("locate", {"x": 1}, id="a"), call("locate", {"y": 22}, id="b")))
    events = openai.all("respond_events", model=agent, input="Where am I?", tools=RESPONSE_TOOLS)
    assert {event.cls for event in events if event["type"].startswith("response.function")} == {
        "ResponseFunctionCallArgumentsDeltaEvent", "ResponseFunctionCallArgumentsDoneEvent"
    }  # fmt: skip
    streamed: dict[str, str] = {}
    for event in events:
        if event["type"] == "response.function_call_arguments.delta":
            streamed[event["item_id"]] = streamed.get(event["item_id"], "") + event["delta"]
    response = events[-1]["response"]
    called = [item for item in response["output"] if item["type"] == "function_call"]
    assert [(item["call_id"], json.loads(item["arguments"])) for item in called] == [("a", {"x": 1}), ("b", {"y": 22})]
    assert [streamed[item["id"]] for item in called] == [item["arguments"] for item in called]
    script.say("In Oslo.")
    outputs = [{"type": "function_call_output", "call_id": item["call_id"], "output": "Oslo"} for item in called]
    done = openai.one("respond", model=agent, input=outputs, previous_response_id=response["id"], tools=RESPONSE_TOOLS)
    assert words(done) == "In Oslo."


def test_a_conversation_is_a_model_too(openai: Client, server: Server, script: Script, agent: str) -> None:
    script.say("Aside.").say("Main.")
    aside = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    assert message(openai.one("chat", model=aside, messages=user("in private")))["content"] == "Aside."
    assert message(openai.one("chat", model=agent, messages=user("aloud")))["content"] == "Main."
    assert heard(script, 2) == ["aloud"]


def test_a_conversation_of_the_agent_may_be_named_beside_it(
    openai: Client, server: Server, script: Script, agent: str
) -> None:
    script.say("Aside.").say("Still aside.")
    aside = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    foreign = server.post(f"/v1/conversations/?agent_id={server.new_agent(model=script.handle)['id']}", {}).json["id"]
    openai.one("respond", model=agent, input="in private", conversation=aside)
    openai.one("respond", model=agent, input="again", conversation={"id": aside})
    assert heard(script, 2) == ["in private", "again"]
    for unknown, cls in ((foreign, "NotFoundError"), ("conv_123", "BadRequestError")):
        with pytest.raises(SdkError) as raised:
            openai.one("respond", model=agent, input="hi", conversation=unknown)
        assert raised.value.cls == cls


def test_an_agent_of_an_older_type_speaks_with_its_own_voice(openai: Client, server: Server, script: Script) -> None:
    script.answer(text("Ada greets me."), call("send_message", {"message": 'Hello "Ada"!'}))
    agent = server.new_agent(model=script.handle, agent_type="memgpt_v2_agent")["id"]
    done = openai.one("chat_whole", model=agent, messages=user("hi"))
    assert (message(done)["content"], message(done)["reasoning_content"]) == ('Hello "Ada"!', "Ada greets me.")


def test_images(openai: Client, script: Script, agent: str) -> None:
    url = "data:image/png;base64,QUJD"
    script.say("A cat.").say("A dog.")
    content = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    openai.one("chat", model=agent, messages=[{"role": "user", "content": content}])
    parts = [{"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": url}]
    openai.one("respond", model=agent, input=[{"role": "user", "content": parts}])
    first, second = (asked.messages[-1]["content"][1]["image_url"] for asked in script.asked)
    assert (first, second) == ({"url": url, "detail": "low"}, {"url": url})


@pytest.mark.parametrize(
    ("refusal", "cls", "code"),
    [
        (Refusal(429, "slow down"), "RateLimitError", "llm_rate_limit"),
        (Refusal(400, "too long"), "BadRequestError", "llm_bad_request"),
        (Refusal(401, "wrong key"), "AuthenticationError", "llm_authentication"),
        (Refusal(500, "broken"), "InternalServerError", "llm_error"),
    ],
)
def test_what_a_model_refuses_is_told_once(
    openai: Client, script: Script, agent: str, refusal: Refusal, cls: str, code: str
) -> None:
    script.otherwise(lambda asked: refusal)
    for number, (how, asks) in enumerate((("chat", {"messages": user("hi")}), ("respond", {"input": "hi"})), 1):
        with pytest.raises(SdkError) as raised:
            openai.one(how, model=agent, **asks)
        assert (raised.value.cls, raised.value.body["code"]) == (cls, code)
        assert refusal.message in raised.value.body["message"]
        assert len(script.asked) == number, "the SDK must not send it again"


def test_a_stream_that_fails_says_so(openai: Client, script: Script, agent: str) -> None:
    script.answer(text("So"), Cut(), finish=None).answer(text("So"), Cut(), finish=None)
    with pytest.raises(SdkError) as raised:
        openai.all("chat_chunks", model=agent, messages=user("hi"))
    assert raised.value.cls == "APIError"
    assert raised.value.body["code"] == "llm_error"
    assert [item["choices"][0]["delta"]["content"] for item in raised.value.before] == ["", "So"]
    failed = openai.all("respond_events", model=agent, input="hi")[-1]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"]["code"] == "server_error"
    assert failed["response"]["output"][0]["content"][0]["text"] == "So"


def test_an_answer_at_its_limit_says_so(openai: Client, script: Script, agent: str) -> None:
    script.answer(text("And so"), finish="length").answer(text("And so"), finish="length")
    assert finish(openai.one("chat", model=agent, messages=user("hi"))) == "length"
    response = openai.one("respond", model=agent, input="hi")
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
