"""What goes wrong raises, in each official SDK, the class its users catch; and nothing is run a second time."""

import uuid
from collections.abc import Iterator

import pytest

from tests.contract.told import assert_classes, fresh_agent, types, user
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import JS0, PY0, PY1, Client, Sdk, SdkError
from tests.rig.server import Server


@pytest.mark.parametrize("op", ["retrieve_agent", "create", "stream"])
def test_unknown_agent(client: Client, op: str) -> None:
    unknown = f"agent-{uuid.uuid4()}"
    messages = {} if op == "retrieve_agent" else {"messages": user("hi")}
    with pytest.raises(SdkError) as raised:
        client.all(op, agent_id=unknown, **messages)
    error = raised.value
    assert error.status == 404
    assert {PY0: "ApiError", JS0: "LettaError"}.get(client.sdk.name, "NotFoundError") in error.bases
    if not (client.sdk.name == JS0 and op == "stream"):  # there this SDK leaves the body unread
        assert error.body == {"detail": f"Agent with ID {unknown} not found"}


@pytest.mark.parametrize("op", ["create", "stream"])
def test_body_that_is_refused(client: Client, script: Script, op: str) -> None:
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError) as raised:
        client.all(op, agent_id=agent, messages=[])
    error = raised.value
    if client.sdk.name == JS0 and op == "stream":
        assert error.cls == "ParseError", "known of this SDK: it reads no error body of a stream call"
        return
    assert "UnprocessableEntityError" in error.bases
    assert error.status == 422
    assert all({"loc", "msg", "type"} <= problem.keys() for problem in error.body["detail"])
    assert script.asked == []


def test_failure_inside_a_stream_raises_in_the_newer_sdks(new_client: Client, script: Script) -> None:
    script.refuse(401, "that key is wrong")
    agent = fresh_agent(new_client, script)
    with pytest.raises(SdkError) as raised:
        new_client.all("stream", agent_id=agent, messages=user("hi"))
    error = raised.value
    assert error.cls == ("APIStatusError" if new_client.sdk.name == PY1 else "APIError")
    assert error.body["message_type"] == "error_message"
    assert error.body["error_type"] == "llm_authentication"
    assert types(error.before) == ["stop_reason", "usage_statistics"]
    assert error.before[-2]["stop_reason"] == "llm_api_error"
    assert_classes(new_client, error.before)


def test_failure_inside_a_stream_shows_in_the_older_sdks(old_client: Client, script: Script) -> None:
    script.refuse(401, "that key is wrong")
    agent = fresh_agent(old_client, script)
    items = old_client.all("stream", agent_id=agent, messages=user("hi"))
    assert types(items) == ["stop_reason", "usage_statistics"]
    assert_classes(old_client, items)
    assert items[-2]["stop_reason"] == "llm_api_error"
    assert items[-2]["error"]["error_type"] == "llm_authentication"


def test_failure_without_streaming_runs_once(client: Client, script: Script) -> None:
    script.refuse(400, "no such luck")
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError) as raised:
        client.all("create", agent_id=agent, messages=user("hi"))
    assert raised.value.status == 400
    assert len(script.asked) == 1
    history = client.all("list_messages", agent_id=agent)
    assert [item["content"] for item in history if item.type == "user_message"] == ["hi"]


def test_server_error_of_the_model_is_not_sent_again(client: Client, script: Script) -> None:
    for _ in range(20):
        script.refuse(500, "broken")
    agent = fresh_agent(client, script)
    with pytest.raises(SdkError) as raised:
        client.all("create", agent_id=agent, messages=user("hi"))
    assert raised.value.status == (424 if client.sdk.name == JS0 else 500)
    history = client.all("list_messages", agent_id=agent)
    assert [item["content"] for item in history if item.type == "user_message"] == ["hi"]


CLASSES = {
    400: ("BadRequestError", "ApiError", "LettaError"),
    401: ("AuthenticationError", "ApiError", "LettaError"),
    409: ("ConflictError", "ApiError", "LettaError"),
}
"""What each refusal is caught as: by users of 1.x, of Python 0.1.x, of npm 0.1.x."""


def caught_as(client: Client, status: int) -> str:
    newer, python, npm = CLASSES[status]
    return {PY0: python, JS0: npm}.get(client.sdk.name, newer)


def test_unknown_tool(client: Client, script: Script) -> None:
    with pytest.raises(SdkError) as raised:
        fresh_agent(client, script, tools=["no_such_tool"])
    assert raised.value.status == 400
    assert caught_as(client, 400) in raised.value.bases
    assert "no_such_tool" in raised.value.body["detail"]


def test_second_block_of_a_label(client: Client, script: Script) -> None:
    agent = fresh_agent(client, script)
    second = client.one("create_block", label="human", value="someone else")
    with pytest.raises(SdkError) as raised:
        client.one("attach_block", agent_id=agent, block_id=second["id"])
    assert raised.value.status == 409
    assert caught_as(client, 409) in raised.value.bases


@pytest.fixture(scope="module")
def guarded_server(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {**models.environment, "PERDURE_PASSWORD": "not what the SDKs send"}
    with Server(tmp_path_factory.mktemp("guarded") / "data", environment) as server:
        yield server


def test_wrong_password(sdk: Sdk, guarded_server: Server) -> None:
    client = sdk.at(guarded_server.base_url)
    with pytest.raises(SdkError) as raised:
        client.all("list_agents")
    assert raised.value.status == 401
    assert caught_as(client, 401) in raised.value.bases
    assert client.one("health")["status"] == "ok", "the health check is open to all"
