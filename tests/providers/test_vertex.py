from pathlib import Path
from typing import Any

import pytest

from perdure.domain.errors import Invalid, NotFound
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.models import Model
from perdure.providers.base import AnyDelta, Finished, ModelRequest, TextDelta
from perdure.providers.catalog import Catalog, ProviderReport
from perdure.providers.google_auth import METADATA_NAME, METADATA_PATH
from perdure.providers.http import HttpClient
from perdure.providers.vertex import vertex_endpoint
from tests.providers.cataloguing import cataloguing
from tests.providers.chat import HELLO, SYSTEM
from tests.providers.gemini import chunk, text
from tests.providers.scripted import Answer, Asked, Scripted, events, lists, run, serving, streams
from tests.providers.test_google_auth import ACCOUNT, key_file

HERE = {"GOOGLE_CLOUD_PROJECT": "my-project", "GOOGLE_CLOUD_LOCATION": "us-central1"}
PLACE = "/v1beta1/projects/my-project/locations/us-central1/publishers/google"
LIST = {
    "publisherModels": [
        {"name": "publishers/google/models/gemini-3.8-flash"},
        {"name": "publishers/google/models/gemini-2.5-flash-image"},
        {"name": "publishers/google/models/gemini-embedding-001"},
        {"name": "publishers/google/models/text-embedding-005"},
        {"name": "publishers/google/models/imagen-4.0-generate-001"},
        {"nameless": True},
    ]
}


def answering(replies: dict[str, Any]) -> Answer:
    """Gives tokens and lists, and streams for the rest."""
    listing, talk = lists(replies), streams(*events(chunk(text("from the cloud"), finish="STOP")))

    async def answer(asked: Asked, writer: Any) -> None:
        await (talk if "stream" in asked.path else listing)(asked, writer)

    return answer


def environment(server: Scripted, folder: Path) -> dict[str, str]:
    keys = key_file(folder, **ACCOUNT, project_id="of-the-key", token_uri=f"{server.url}/token")
    return {**HERE, **keys, "GOOGLE_VERTEX_BASE_URL": f"{server.url}/"}


REPLIES = {
    "/token": {"access_token": "t1", "expires_in": 3599},
    "/v1beta1/publishers/google/models?pageSize=1000": LIST,
}


def test_models_are_listed_and_asked_with_a_token(tmp_path: Path) -> None:
    async def go() -> tuple[list[Model], list[AnyDelta], ProviderReport, list[Asked]]:
        async with (
            serving(answering(REPLIES)) as server,
            cataloguing(environment(server, tmp_path)) as catalog,
        ):
            model = await catalog.resolve(TENANT, "google_vertex/gemini-3.8-flash")
            request = ModelRequest(model=model, messages=(SYSTEM, HELLO))
            got = [delta async for batch in catalog.stream(TENANT, request) for delta in batch]
            return await catalog.models(TENANT), got, (await catalog.report(TENANT))[0], server.asked

    models, got, report, asked = run(go())
    assert [model.handle for model in models] == ["google_vertex/gemini-3.8-flash", "local/tiny"]
    assert (models[0].provider_type, models[0].context_window) == ("google_vertex", 1_048_576)
    assert got == [TextDelta("from the cloud"), Finished("stop")]
    assert report.embedding_models == ("gemini-embedding-001", "text-embedding-005")
    assert (report.has_key, report.refused) == (True, {"gemini-2.5-flash-image": "not a chat model"})
    [talk] = [each for each in asked if "stream" in each.path]
    assert talk.path == f"{PLACE}/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
    assert {each.headers.get("authorization") for each in asked if each.path != "/token"} == {"Bearer t1"}


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_each_location_has_its_host(location: str, host: str, tmp_path: Path) -> None:
    keys = {**key_file(tmp_path, **ACCOUNT, project_id="of-the-key"), "GOOGLE_CLOUD_LOCATION": location}
    endpoint = vertex_endpoint(keys, HttpClient(), "google_vertex", "google", "")
    assert endpoint is not None
    assert endpoint.url == f"https://{host}/v1beta1/projects/of-the-key/locations/{location}/publishers/google"
    assert "PRIVATE" not in repr(endpoint)


@pytest.mark.parametrize(("replies", "logins"), [({"access_token": "t1", "expires_in": 3599}, 1), (404, 2)])
def test_a_machine_of_googles_has_a_service_account(replies: Any, logins: int) -> None:
    """Without a key file the token is its own, from the server beside it, which wants to be asked in a certain way."""
    metadata = {METADATA_PATH: replies, "/v1beta1/publishers/google/models?pageSize=1000": LIST}

    async def go() -> tuple[ProviderReport, list[Asked]]:
        async with serving(answering(metadata)) as server:
            beside = {METADATA_NAME: server.url.removeprefix("http://"), "GOOGLE_VERTEX_BASE_URL": server.url}
            async with cataloguing({**HERE, **beside}) as catalog:
                return (await catalog.report(TENANT))[0], server.asked

    report, asked = run(go())
    login = [each for each in asked if each.path == METADATA_PATH]
    assert {each.headers["metadata-flavor"] for each in login} == {"Google"}
    assert len(login) == logins
    if logins == 1:
        assert "gemini-3.8-flash" in str(report.models)
        assert asked[-1].headers["authorization"] == "Bearer t1"
    else:
        assert report.error is not None
        assert "GOOGLE_APPLICATION_CREDENTIALS must name a key file" in report.error.detail


@pytest.mark.parametrize("missing", ["GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_PROJECT"])
def test_without_all_it_needs_it_is_not_there_and_says_what_to_set(missing: str, tmp_path: Path) -> None:
    variables = {**HERE, **key_file(tmp_path, **ACCOUNT)}
    del variables[missing]

    async def go() -> str:
        async with cataloguing(variables) as catalog:
            with pytest.raises(NotFound) as raised:
                await catalog.resolve(TENANT, "google_vertex/gemini-3.8-flash")
            return raised.value.message

    assert "set GOOGLE_CLOUD_LOCATION and GOOGLE_CLOUD_PROJECT" in run(go())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GOOGLE_CLOUD_LOCATION", "evil.example/"),
        ("GOOGLE_CLOUD_PROJECT", "a/b"),
        ("GOOGLE_VERTEX_BASE_URL", "nowhere"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file"),
    ],
)
def test_values_of_no_use_are_named(variable: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=variable):
        Catalog({**HERE, **key_file(tmp_path, **ACCOUNT), variable: value})
