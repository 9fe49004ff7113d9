import json
import re
from typing import Any

import pytest

from perdure.api.openapi import document, fields
from perdure.api.operations import Operations
from perdure.api.routes import ROUTES
from perdure.domain.agents import Agent, AgentDetails
from perdure.domain.approvals import Waiting
from perdure.domain.blocks import Block, BlockVersion
from perdure.domain.conversations import Conversation, ConversationDetails
from perdure.domain.messages import Message, TextPart, ToolCallPart
from perdure.domain.models import EmbeddingModel, Model
from perdure.domain.runs import Run, Step, Usage
from perdure.domain.tools import Tool
from perdure.wire.agents import agent_state, memory
from perdure.wire.approvals import waiting
from perdure.wire.blocks import block, block_version
from perdure.wire.conversations import conversation
from perdure.wire.generations import Generation
from perdure.wire.messages import public, usage_statistics
from perdure.wire.models import embedding_model, model
from perdure.wire.openai_chat import ChatAnswer
from perdure.wire.openai_requests import ResponsesBody
from perdure.wire.openai_responses import ResponseFrames
from perdure.wire.runs import letta_response, run, run_metrics
from perdure.wire.steps import step, step_metrics, token_counts
from perdure.wire.tools import tool
from tests.api.in_process import application, call

APPLICATION = application()
MODEL = Model(handle="a/b", name="b", provider_name="a", provider_type="a", endpoint_type="openai", context_window=1)
EMBEDDING = EmbeddingModel(
    handle="a/e", name="e", provider_name="a", provider_type="a", endpoint_type="openai", dimensions=3
)
DETAILS = AgentDetails(
    agent=Agent(
        id="agent-1", name="n", conversation_id="conv-1", system="", model=MODEL, context_window=1, created_at=1,
        updated_at=1, embedding=EMBEDDING,
    )
)  # fmt: skip
BLOCK = Block(id="block-1", label="l", value="v", created_at=1, updated_at=1)
VERSION = BlockVersion(block_id="block-1", version=1, value="v", actor="api", run_id=None, created_at=1)
TOOL = Tool(id="tool-1", name="t", tool_type="custom", description="", json_schema={})
CONVERSATION = ConversationDetails(
    conversation=Conversation(id="conv-1", agent_id="agent-1", created_at=1, updated_at=1)
)
CALL = ToolCallPart(call_id="call-1", name="f", arguments="{}")
WAITING = Waiting(
    tenant="org-1", conversation_id="conv-1", is_default=True,
    request=Message(id="message-1", agent_id="agent-1", role="approval", parts=(CALL,), created_at=1),
)  # fmt: skip
RUN = Run(id="run-1", agent_id="agent-1", status="completed", created_at=1)
STEP = Step(id="step-1", run_id="run-1", agent_id="agent-1", status="success", created_at=1)


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return json.loads(document(Operations(ROUTES), ROUTES, "9.9"))


def test_every_operation_is_documented_under_a_name_of_its_own(openapi: dict[str, Any]) -> None:
    said = {(row.method, row.path): openapi["paths"][row.path][row.method.lower()] for row in ROUTES}
    assert sum(len(methods) for methods in openapi["paths"].values()) == len(ROUTES)
    names = [operation["operationId"] for operation in said.values()]
    assert len(set(names)) == len(names)
    for row in ROUTES:
        operation = said[row.method, row.path]
        assert operation["summary"] == row.summary
        assert operation["responses"]["200"]["content"]


def test_whatever_the_document_refers_to_is_in_it(openapi: dict[str, Any]) -> None:
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(openapi)))
    assert referred <= set(openapi["components"]["schemas"])
    assert {"Problems", "Error", "Message"} <= referred


def test_the_document_says_how_to_come_in(openapi: dict[str, Any]) -> None:
    assert openapi["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    assert {"bearer": []} in openapi["security"]
    assert openapi["paths"]["/v1/health/"]["get"]["security"] == []


def test_streams_are_told_from_json(openapi: dict[str, Any]) -> None:
    content = openapi["paths"]["/v1/agents/{agent_id}/messages"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Agent", agent_state(DETAILS)),
        ("Memory", memory(DETAILS)),
        ("Block", block(BLOCK)),
        ("BlockVersion", block_version(VERSION)),
        ("Tool", tool(TOOL)),
        ("Run", run(RUN)),
        ("ChatCompletion", ChatAnswer("run-1", "agent-1", frozenset()).body()),
        ("ModelResponse", ResponseFrames("run-1", ResponsesBody(model="agent-1", input="hi"), frozenset()).body()),
        ("RunMetrics", run_metrics(RUN, [STEP], ["tool-1"])),
        ("Step", step(STEP)),
        ("StepMetrics", step_metrics(STEP)),
        ("TokenCounts", token_counts(Usage())),
        ("Reply", letta_response([], "end_turn", Usage())),
        ("Usage", usage_statistics(Usage())),
        ("Conversation", conversation(CONVERSATION)),
        ("Approval", waiting(WAITING, time_limit=None)),
    ],
)
def test_a_documented_object_has_the_fields_that_are_sent(name: str, shown: dict[str, Any]) -> None:
    assert fields(name) == set(shown)


def test_documented_fields_of_open_objects_are_sent() -> None:
    message = Message(id="message-1", agent_id="agent-1", role="user", parts=(TextPart(text="x"),), created_at=1)
    assert fields("Message") < set(public(message, Generation.V1)[0])
    assert fields("Model") < set(model(MODEL))
    assert fields("EmbeddingModel") < set(embedding_model(EMBEDDING))


def test_the_document_is_served() -> None:
    served = call(APPLICATION, "GET", "/openapi.json", [])
    assert served.headers["content-type"] == "application/json"
    assert served.json["info"] == {"title": "Perdure", "version": "9.9"}
    assert served.json["openapi"].startswith("3.1")


def test_the_docs_page_and_all_it_loads_come_from_this_server() -> None:
    page = call(APPLICATION, "GET", "/docs", [])
    assert "default-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(loaded) == 4
    for path in loaded:
        assert call(APPLICATION, "GET", f"/{path}", []).status == 200
    start = call(APPLICATION, "GET", "/docs/start.js", [])
    for text in (page.body, start.body):
        assert b"//" not in text
    assert b"validatorUrl: null" in start.body
