"""Embeddings of servers that no one here wrote, and what a live server says of an agent's embedding model."""

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perdure.domain.errors import ModelError
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.models import Embedding
from perdure.providers import embeddings
from perdure.providers.catalog import Catalog
from tests.providers.scripted import Asked, lists, serving
from tests.rig.aimock import AiMock
from tests.rig.llmock import LlMock
from tests.rig.server import Server

LIMIT = 30.0
SMALL = "openai/text-embedding-3-small"
FIXTURES: list[dict[str, Any]] = [
    {"match": {"inputText": "known"}, "response": {"embedding": [0.25, -0.5, 1.0]}},
    {
        "match": {"inputText": "refused"},
        "response": {"error": {"message": "bad input", "type": "invalid_request_error"}, "status": 400},
    },
    {"match": {"userMessage": "chat"}, "response": {"content": "Hi."}},
]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiMock]:
    with AiMock(tmp_path_factory.mktemp("aimock"), FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlMock]:
    with LlMock(tmp_path_factory.mktemp("llmock")) as running:
        yield running


def embed(environment: dict[str, str], model: str, *texts: str) -> list[Embedding]:
    async def go() -> list[Embedding]:
        catalog = Catalog(environment)
        try:
            async with asyncio.timeout(LIMIT):
                return await catalog.embed(DEFAULT_TENANT, model, texts)
        finally:
            await catalog.close()

    return asyncio.run(go())


def test_many_texts_through_aimock_keep_their_order(aimock: AiMock) -> None:
    texts = [f"text number {n}" for n in range(100)]
    found = embed(aimock.environment, SMALL, *texts)
    assert {(each.model, each.dimensions) for each in found} == {(SMALL, 1536)}
    assert len({tuple(each.vector) for each in found}) == 100
    assert embed(aimock.environment, SMALL, *texts[70:]) == found[70:]
    assert all(math.isfinite(number) for number in found[0].vector)


def test_a_model_of_aimock_that_is_not_what_its_name_says_is_told(aimock: AiMock) -> None:
    with pytest.raises(ModelError) as raised:
        embed(aimock.environment, SMALL, "known")
    assert "3 floats where 1536 are expected" in raised.value.detail
    with pytest.raises(ModelError) as raised:
        embed(aimock.environment, SMALL, "refused")
    assert (raised.value.error_type, raised.value.detail) == ("llm_bad_request", "bad input")


@pytest.mark.parametrize("status", [429, 503])
def test_faults_of_llmock_are_waited_out(llmock: LlMock, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(embeddings, "FIRST_WAIT_SECONDS", 0.01)
    llmock.reset()
    llmock.behave(*[{"type": "fail", "status": status, "retry_after": 0.01}] * 2)
    found = embed(llmock.environment, SMALL, "one", "two")
    assert [each.dimensions for each in found] == [1536, 1536]
    asked = [each for each in llmock.requests() if each["path"].endswith("/embeddings")]
    assert len(asked) == 3


def test_an_agent_says_the_truth_about_its_embedding_model(new_server: Callable[..., Server]) -> None:
    """The length of vectors that neither a list nor a name tells is found out by asking, once."""
    replies = {
        "/v1/models": {"data": [{"id": "my-embedder"}, {"id": "gpt-4o"}]},
        "/v1/embeddings": lambda asked: {"data": [{"index": 0, "embedding": [0.5] * 7}]},
    }

    def talk(url: str) -> list[dict[str, Any]]:
        server = new_server({"PERDURE_PROVIDER_BOX_BASE_URL": f"{url}/v1"}).start()
        made = [server.new_agent(model="box/gpt-4o", embedding="box/my-embedder") for _ in range(2)]
        return [server.get(f"/v1/agents/{agent['id']}").json["embedding_config"] for agent in made]

    async def go() -> tuple[list[dict[str, Any]], list[Asked]]:
        async with asyncio.timeout(LIMIT), serving(lists(replies)) as box:
            return await asyncio.to_thread(talk, box.url), box.asked

    configs, asked = asyncio.run(go())
    assert [(each["handle"], each["embedding_dim"]) for each in configs] == [("box/my-embedder", 7)] * 2
    assert [each.path for each in asked].count("/v1/embeddings") == 1
