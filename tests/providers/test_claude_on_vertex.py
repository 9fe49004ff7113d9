from pathlib import Path
from typing import Any

import pytest

from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.models import Model
from perdure.providers.base import AnyDelta, Finished, ModelRequest, TextDelta
from tests.providers.cataloguing import cataloguing, refused
from tests.providers.chat import ADD, HELLO, SYSTEM
from tests.providers.claude import shape, sse, text, whole
from tests.providers.scripted import Answer, Asked, Scripted, lists, run, serving, streams
from tests.providers.test_google_auth import ACCOUNT, key_file

HERE = {"ANTHROPIC_VERTEX_PROJECT_ID": "my-project", "CLOUD_ML_REGION": "europe-west1"}
PLACE = "/v1beta1/projects/my-project/locations/europe-west1/publishers/anthropic"
REPLIES = {
    "/token": {"access_token": "t1", "expires_in": 3599},
    "/v1beta1/publishers/anthropic/models?pageSize=1000": {
        "publisherModels": [
            {"name": "publishers/anthropic/models/claude-sonnet-4-5"},
            {"name": "publishers/anthropic/models/something-else"},
        ]
    },
}


def answering() -> Answer:
    """Gives tokens and lists, and streams for the rest."""
    listing, talk = lists(REPLIES), streams(*sse(*whole(text(0, "from the cloud"))))

    async def answer(asked: Asked, writer: Any) -> None:
        await (talk if "Predict" in asked.path else listing)(asked, writer)

    return answer


def environment(server: Scripted, folder: Path) -> dict[str, str]:
    keys = key_file(folder, **ACCOUNT, token_uri=f"{server.url}/token")
    return {**HERE, **keys, "ANTHROPIC_VERTEX_BASE_URL": server.url}


def test_claude_is_listed_and_asked_with_a_token(tmp_path: Path) -> None:
    async def go() -> tuple[list[Model], list[AnyDelta], Asked]:
        async with serving(answering()) as server, cataloguing(environment(server, tmp_path)) as catalog:
            model = await catalog.resolve(TENANT, "anthropic_vertex/claude-sonnet-4-5")
            request = ModelRequest(model=model, messages=(SYSTEM, HELLO), tools=(ADD,))
            got = [delta async for batch in catalog.stream(TENANT, request) for delta in batch]
            return await catalog.models(TENANT), got, server.asked[-1]

    models, got, asked = run(go())
    assert [model.handle for model in models] == ["anthropic_vertex/claude-sonnet-4-5", "local/tiny"]
    assert (models[0].endpoint_type, models[0].context_window) == ("anthropic", 200_000)
    assert (shape(got), got[-1]) == ([TextDelta("from the cloud")], Finished("stop"))
    assert asked.path == f"{PLACE}/models/claude-sonnet-4-5:streamRawPredict"
    assert asked.headers["authorization"] == "Bearer t1"
    assert asked.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert (asked.json["anthropic_version"], asked.json["stream"]) == ("vertex-2023-10-16", True)
    assert "model" not in asked.json


@pytest.mark.parametrize("missing", ["ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"])
def test_without_all_it_needs_it_says_what_to_set(missing: str, tmp_path: Path) -> None:
    variables = {**HERE, **key_file(tmp_path, **ACCOUNT)}
    del variables[missing]
    why = str(refused("anthropic_vertex/claude-opus-5", variables))
    assert "set CLOUD_ML_REGION and ANTHROPIC_VERTEX_PROJECT_ID" in why
