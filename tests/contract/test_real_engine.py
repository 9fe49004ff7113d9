"""An agent on a real inference engine: nothing of what the model says is scripted."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.contract.told import ADA, assert_classes, told, types, user
from tests.rig.engine import CONTEXT, MODEL, SAYS_TOOL, Engine
from tests.rig.sdks import NAMES, PY1, Client, Sdk
from tests.rig.server import Server


@pytest.fixture(scope="module", params=["openai_chat", "openai_responses"])
def engine_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, dialect = tmp_path_factory.mktemp("engine"), {"PERDURE_PROVIDER_LLAMACPP_DIALECT": request.param}
    with Engine(folder) as engine, Server(folder / "data", {**engine.environment, **dialect}) as server:
        yield server


@pytest.fixture(params=NAMES)
def engine_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], engine_server: Server) -> Client:
    return sdks(request.param).at(engine_server.base_url)


def agent_on(client: Client) -> str:
    return client.one("create_agent", model=f"llamacpp/{MODEL}", memory_blocks=ADA)["id"]


def test_engine_is_found(engine_server: Server) -> None:
    found = {each["handle"]: each for each in engine_server.get("/v1/models/").json}
    assert found[f"llamacpp/{MODEL}"]["context_window"] == CONTEXT


def test_text_streams_token_by_token(engine_client: Client) -> None:
    agent = agent_on(engine_client)
    items = engine_client.all("stream", agent_id=agent, messages=user("Say something."), stream_tokens=True)
    assert types(items) == ["assistant_message", "stop_reason", "usage_statistics"]
    assert_classes(engine_client, items)
    assert items[-2]["stop_reason"] == "end_turn"
    assert len([item for item in items if item.type == "assistant_message"]) > 1
    assert items[-1]["completion_tokens"] > 1
    assert items[-1]["prompt_tokens"] > 100
    assert told(engine_client.all("list_messages", agent_id=agent)) == told(items)


def test_tool_is_called_with_valid_arguments(engine_client: Client) -> None:
    agent = agent_on(engine_client)
    items = engine_client.all("stream", agent_id=agent, messages=user(SAYS_TOOL), stream_tokens=True)
    assert types(items)[:2] == ["tool_call_message", "tool_return_message"]
    assert types(items)[-2:] == ["stop_reason", "usage_statistics"]
    assert_classes(engine_client, items)
    assert items[-1]["step_count"] == 2
    calls = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    assert len({each["tool_call_id"] for each in calls}) == 1
    assert isinstance(json.loads("".join(each.get("arguments") or "" for each in calls)), dict)
    assert len(calls) > 5, "the arguments did not stream"
    assert told(engine_client.all("list_messages", agent_id=agent)) == told(items)


@pytest.mark.parametrize("engine_server", ["openai_chat"], indirect=True)
def test_log_probabilities_come_where_the_engine_gives_them(engine_server: Server) -> None:
    body = {"messages": user("Say something."), "return_logprobs": True, "top_logprobs": 2}
    for base_tools in (False, True):
        agent = engine_server.new_agent(model=f"llamacpp/{MODEL}", include_base_tools=base_tools)["id"]
        reply = engine_server.post(f"/v1/agents/{agent}/messages", body).json
        if base_tools:
            assert reply["logprobs"] is None, "with tools, the engine refuses to be asked"
        else:
            said = "".join(entry["token"] for entry in reply["logprobs"]["content"])
            assert reply["messages"][0]["content"] in said
            assert {len(entry["top_logprobs"]) for entry in reply["logprobs"]["content"]} == {2}


def test_conversation_goes_on(sdks: Callable[[str], Sdk], engine_server: Server) -> None:
    client = sdks(PY1).at(engine_server.base_url)
    agent = agent_on(client)
    for said in (SAYS_TOOL, "And now?", SAYS_TOOL, "Thanks."):
        items = client.all("stream", agent_id=agent, messages=user(said))
        assert items[-2]["stop_reason"] == "end_turn"
    spoken = [item for item in client.all("list_messages", agent_id=agent) if item.type == "user_message"]
    assert [item["content"] for item in spoken] == [SAYS_TOOL, "And now?", SAYS_TOOL, "Thanks."]
