import asyncio
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Query, Response

from perdure.api.auth import CallerDep
from perdure.api.not_built import NOT_BUILT
from perdure.api.operations import Operation, Operations
from perdure.api.paths import AgentId, ConversationId
from perdure.api.reply import reply
from perdure.api.routes import ROUTES
from tests.api.in_process import application, call

ID = "123e4567-e89b-42d3-8456-426614174000"
APPLICATION = application()


async def get_label(caller: CallerDep, label: str) -> Response:
    return reply({"label": label})


async def get_fixed(caller: CallerDep) -> Response:
    return reply("fixed")


async def get_agent(caller: CallerDep, agent_id: AgentId) -> Response:
    return reply(agent_id)


async def get_conversation(caller: CallerDep, conversation_id: ConversationId) -> Response:
    return reply(conversation_id)


async def get_values(caller: CallerDep, values: Annotated[list[str], Query()]) -> Response:
    return reply(values)


def labelled() -> FastAPI:
    return application(
        Operation("GET", "/v1/echo/{label}", get_label, "Get a label"),
        Operation("GET", "/v1/echo/fixed/part", get_fixed, "Get what is fixed"),
        Operation("GET", "/v1/echo/fixed", get_fixed, "Get what is fixed"),
        Operation("GET", "/v1/echo/", get_values, "Get the values"),
        Operation("GET", "/v1/agent/{agent_id}", get_agent, "Get an agent's id"),
        Operation("GET", "/v1/conversation/{conversation_id}", get_conversation, "Get a conversation's id"),
    )


@pytest.mark.parametrize("target", ["/v1/echo/a", "/v1/echo/a/", "/latest/echo/a", "/latest/echo/a/", "/v1/ech%6F/a"])
def test_all_spellings_of_a_path_are_answered_directly(target: str) -> None:
    assert call(labelled(), "GET", target).json == {"label": "a"}


def test_a_collection_is_answered_with_and_without_its_slash() -> None:
    assert call(labelled(), "GET", "/v1/echo/?values=a&values=b").json == ["a", "b"]
    assert call(labelled(), "GET", "/v1/echo?values=a&values=b").json == ["a", "b"]


@pytest.mark.parametrize(
    ("sent", "label"),
    [
        ("system%2Fhuman", "system/human"),
        ("system%2fhuman", "system/human"),
        ("a%252Fb", "a%2Fb"),
        ("%C3%A4%20%F0%9F%98%80", "ä 😀"),
        ("..", ".."),
        ("fixed%2Fpart", "fixed/part"),
        ("Fixed", "Fixed"),
    ],
)
def test_a_value_is_decoded_by_itself(sent: str, label: str) -> None:
    assert call(labelled(), "GET", f"/v1/echo/{sent}").json == {"label": label}


def test_a_literal_segment_wins_over_a_value() -> None:
    assert call(labelled(), "GET", "/v1/echo/fixed").json == "fixed"


@pytest.mark.parametrize(
    "target",
    [
        "//v1/echo/a",
        "/v1//echo/a",
        "/v1/echo//a",
        "/v1/echo//",
        "/v1/echo/a//",
        "/V1/echo/a",
        "/v1/ECHO/a",
        "/v1%2Fecho%2Fa",
        "/v1/echo%2Fa",
        "/v1/health/../echo/a",
        "/v1/health%2f..%2fecho/a",
        "/./v1/echo/a",
        "http://evil.example/v1/echo/a",
        "*",
        "",
        "/",
        "/v2/echo/a",
        "/v1/echo/a;b/c",
    ],
)
def test_no_trick_with_slashes_or_letters_reaches_an_operation(target: str) -> None:
    missing = call(labelled(), "GET", target)
    assert missing.status == 404
    assert missing.json["detail"]


@pytest.mark.parametrize(("bad", "method"), [("a%00b", "GET"), ("a?x=%00", "GET"), ("%00", "GET")])
def test_nul_in_an_address_is_refused(bad: str, method: str) -> None:
    refused = call(labelled(), method, f"/v1/echo/{bad}")
    assert refused.status == 422
    assert "NUL" in refused.json["detail"][0]["msg"]


@pytest.mark.parametrize(
    "bad", ["agent-1", ID, f"agent-{ID.upper()}", f"agent-{ID}x", f"run-{ID}", f"agent-{ID}%0A", "agent-' OR 1=1"]
)
def test_a_malformed_id_is_named_with_an_example(bad: str) -> None:
    refused = call(labelled(), "GET", f"/v1/agent/{bad}")
    assert refused.status == 422
    assert refused.json == {
        "detail": [
            {
                "loc": ["path", "agent_id"],
                "msg": "String should match pattern 'agent-{uuid4}'",
                "type": "string_pattern_mismatch",
            }
        ],
        "examples": [f"agent-{ID}"],
    }


def test_a_conversation_may_be_named_in_three_ways() -> None:
    for name in (f"conv-{ID}", "default", f"agent-{ID}"):
        assert call(labelled(), "GET", f"/v1/conversation/{name}").json == name
    assert call(labelled(), "GET", f"/v1/conversation/run-{ID}").json["examples"] == [f"conv-{ID}"]


@pytest.mark.parametrize("operation", NOT_BUILT, ids=lambda operation: f"{operation.method} {operation.path}")
def test_what_is_not_built_says_so_by_name(operation: Operation) -> None:
    target = "/".join("x" if part.startswith("{") else part for part in operation.path.split("/"))
    lacking = call(APPLICATION, operation.method, target)
    assert lacking.status == 501
    assert operation.method in lacking.json["detail"]
    assert operation.path in lacking.json["detail"]
    assert lacking.headers["x-should-retry"] == "false"


def test_every_operation_is_listed_once_and_none_is_both_built_and_lacking() -> None:
    listed = [(row.method, row.path) for row in (*ROUTES, *NOT_BUILT)]
    assert len(listed) == len(set(listed))
    assert len(listed) >= 235
    with pytest.raises(AssertionError, match="twice"):
        Operations((ROUTES[0], ROUTES[0]))


def test_a_wrong_verb_is_told_which_are_right() -> None:
    refused = call(APPLICATION, "PUT", f"/v1/agents/agent-{ID}")
    assert refused.status == 405
    assert refused.headers["allow"] == "DELETE, GET, PATCH"
    assert "PATCH" in refused.json["detail"]


def test_a_websocket_is_turned_away() -> None:
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "websocket", "path": "/v1/agents/", "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(APPLICATION(scope, receive, send))
    assert [message["type"] for message in said] == ["websocket.close"]


def test_a_batch_is_no_message_by_that_name() -> None:
    assert call(APPLICATION, "GET", "/v1/messages/batches").status == 501
    assert call(APPLICATION, "GET", "/v1/messages/other").status == 422
