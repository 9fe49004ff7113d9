"""Agents, blocks, tools and models over HTTP, with a real data file behind them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.api.application import create_application
from perdure.domain.ids import example_id
from perdure.runs.jobs import Jobs
from perdure.tools.registry import Registry
from tests.agents.studio import EMBEDDING, MODELS, KnownModels, Studio
from tests.api.in_process import BEARER, JSON, Answer, call, server
from tests.rig.stores import SqlitePlace

Ask = Callable[..., Answer]


class ListedModels(KnownModels):
    async def models(self, tenant: str) -> list[Any]:
        return list(MODELS.values())

    async def embedding_models(self, tenant: str) -> list[Any]:
        return [EMBEDDING]


class IdleRunner:
    """Has no runs to cancel."""

    async def cancel(self, tenant: str, *, agent_id: str) -> list[str]:
        return []


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    with Studio(SqlitePlace(tmp_path)) as studio:
        parts = {"catalog": ListedModels(), "registry": Registry(), "vault": studio.vault, "runner": IdleRunner()}
        jobs = Jobs(studio.db, {}, lambda: "server-1")
        app = create_application(server(db=studio.db, jobs=jobs, max_body=1_000_000, **parts))

        def ask(method: str, path: str, body: Any = None) -> Answer:
            sent = b"" if body is None else json.dumps(body).encode()
            return call(app, method, path, (("host", "x"), BEARER, JSON), sent)

        yield ask


def test_the_life_of_an_agent(ask: Ask) -> None:
    body = {"name": "Ada", "memory_blocks": [{"label": "human", "value": "Bob"}], "tags": ["t"]}
    made = ask("POST", "/v1/agents/", body).json
    path = f"/v1/agents/{made['id']}"
    assert ask("GET", path).json == made
    assert ask("GET", "/v1/agents/?tags=t&tags=u&limit=5&include=agent.blocks").json == [made]
    assert ask("GET", "/v1/agents/count?tags=u").json == 0
    assert ask("GET", "/v1/tags/").json == ["t"]
    assert ask("PATCH", path, {"name": "Eve"}).json["name"] == "Eve"
    assert ask("GET", f"{path}/core-memory").json["blocks"] == made["blocks"]
    assert ask("DELETE", path).json == {"message": f"Agent {made['id']} deleted"}
    assert ask("DELETE", path).status == 404
    assert ask("GET", path).status == 404


def test_a_reset_is_asked_for_by_query_or_body(ask: Ask) -> None:
    path = f"/v1/agents/{ask('POST', '/v1/agents/', {'agent_type': 'memgpt_v2_agent'}).json['id']}/reset-messages"
    assert len(ask("PATCH", path).json["message_ids"]) == 1
    assert len(ask("PATCH", f"{path}?add_default_initial_messages=true").json["message_ids"]) == 4
    assert len(ask("PATCH", path, {}).json["message_ids"]) == 1
    assert len(ask("PATCH", path, {"add_default_initial_messages": True}).json["message_ids"]) == 4


def test_a_block_by_itself_and_on_an_agent(ask: Ask) -> None:
    agent = f"/v1/agents/{ask('POST', '/v1/agents/', {}).json['id']}"
    block = ask("POST", "/v1/blocks/", {"label": "notes/today", "value": "x", "limit": 5}).json
    attached = ask("PATCH", f"{agent}/core-memory/blocks/attach/{block['id']}").json
    assert attached["memory"]["blocks"] == [block]
    by_label = f"{agent}/core-memory/blocks/notes%2Ftoday"
    assert ask("GET", by_label).json == block
    assert ask("PATCH", by_label, {"value": "y"}).json["value"] == "y"
    assert ask("PATCH", by_label, {"value": "123456"}).status == 400
    assert ask("GET", f"/v1/blocks/{block['id']}").json["value"] == "y"
    assert ask("PATCH", f"/v1/blocks/{block['id']}", {"description": "d"}).json["description"] == "d"
    assert [each["id"] for each in ask("GET", f"{agent}/core-memory/blocks").json] == [block["id"]]
    assert len(ask("GET", f"/v1/blocks/{block['id']}/agents").json) == 1
    assert ask("GET", "/v1/blocks/count?connected_to_agents_count_gt=0").json == 1
    assert ask("PATCH", f"{agent}/core-memory/blocks/detach/{block['id']}").json["blocks"] == []
    assert ask("DELETE", f"/v1/blocks/{block['id']}").status == 200
    assert ask("GET", "/v1/blocks/").json == []


def test_tools(ask: Ask) -> None:
    agent = f"/v1/agents/{ask('POST', '/v1/agents/', {'include_base_tools': False}).json['id']}"
    (tool,) = ask("GET", "/v1/tools/?names=send_message").json
    assert ask("GET", f"/v1/tools/{tool['id']}").json == tool
    assert ask("GET", "/v1/tools/count").json == len(ask("POST", "/v1/tools/add-base-tools").json)
    assert ask("PATCH", f"{agent}/tools/attach/{tool['id']}").json["tools"] == [tool]
    assert ask("GET", f"{agent}/tools").json == [tool]
    assert ask("PATCH", f"{agent}/tools/detach/{tool['id']}").json["tools"] == []


def test_models(ask: Ask) -> None:
    assert [each["handle"] for each in ask("GET", "/v1/models/").json] == list(MODELS)
    assert [each["name"] for each in ask("GET", "/v1/models/?provider_type=ollama").json] == ["small"]
    assert ask("GET", "/v1/models/?provider_category=byok").json == []
    assert ask("GET", "/v1/models/embedding").json[0]["handle"] == EMBEDDING.handle


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/agents/agent_id", 422),
        ("GET", f"/v1/agents/{example_id('agent')}", 404),
        ("GET", f"/v1/agents/{example_id('agent')}/core-memory/blocks", 404),
        ("GET", f"/v1/agents/{example_id('agent')}/core-memory/blocks/human", 404),
        ("GET", f"/v1/agents/{example_id('agent')}/tools", 404),
        ("PATCH", f"/v1/agents/{example_id('agent')}/reset-messages", 404),
        ("GET", f"/v1/blocks/{example_id('block')}/agents", 404),
        ("GET", f"/v1/agents/?after={example_id('agent')}", 404),
        ("GET", "/v1/agents/?limit=0", 422),
        ("GET", "/v1/agents/?order=up", 422),
        ("GET", "/v1/agents/?order_by=name", 422),
        ("GET", f"/v1/blocks/?connected_to_agents_count_eq={2**70}", 422),
        ("GET", f"/v1/agents/?limit={2**70}", 422),
    ],
)
def test_what_is_wrong_or_missing(ask: Ask, method: str, path: str, status: int) -> None:
    assert ask(method, path).status == status
