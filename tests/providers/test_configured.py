from collections.abc import Mapping

import pytest

from perdure.domain.errors import Invalid
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.providers.catalog import Catalog, ProviderReport
from perdure.providers.remote import RemoteProvider
from tests.providers.cataloguing import OPENAI_LIST, cataloguing, listed, windows
from tests.providers.scripted import Asked, lists, run, serving


def names(environment: Mapping[str, str]) -> list[str]:
    async def go() -> list[str]:
        async with cataloguing(environment) as catalog:
            return [provider.name for provider in catalog.providers]

    return run(go())


def test_keys_and_addresses_configure_providers() -> None:
    assert names({}) == ["local"]
    assert names({"OPENAI_API_KEY": "", "OLLAMA_BASE_URL": " "}) == ["local"]
    assert names({"OPENAI_API_KEY": "k", "GROQ_API_KEY": "k", "OLLAMA_BASE_URL": "http://box:11434"}) == [
        "openai",
        "ollama",
        "groq",
        "local",
    ]
    assert names({"PERDURE_PROVIDER_MY_BOX_BASE_URL": "http://box"}) == ["my-box", "local"]
    assert names({"VLLM_API_BASE": "http://box", "VLLM_HANDLE_BASE": "gpu"}) == ["gpu", "local"]
    assert names({"OLLAMA_API_KEY": "only a key"}) == ["local"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OPENAI_BASE_URL": "localhost:8000"}, "OPENAI_BASE_URL must be the address"),
        ({"OPENAI_API_KEY": "a\nb"}, "OPENAI_API_KEY holds characters"),
        ({"PERDURE_PROVIDER_X_BASE_URL": "ftp://x"}, "PERDURE_PROVIDER_X_BASE_URL"),
        (
            {"PERDURE_PROVIDER_X_BASE_URL": "http://x", "PERDURE_PROVIDER_X_CONTEXT_WINDOW": "big"},
            "PERDURE_PROVIDER_X_CONTEXT_WINDOW must be a number of tokens",
        ),
        (
            {"PERDURE_PROVIDER_X_BASE_URL": "http://x", "PERDURE_PROVIDER_X_TOOL_CHOICE": "maybe"},
            "named, required, auto",
        ),
        (
            {"PERDURE_PROVIDER_X_BASE_URL": "http://x", "PERDURE_PROVIDER_X_DIALECT": "latin"},
            "PERDURE_PROVIDER_X_DIALECT must be one of openai_chat, openai_responses",
        ),
        ({"LETTA_LLM_STREAM_TIMEOUT_SECONDS": "0"}, "LETTA_LLM_STREAM_TIMEOUT_SECONDS must be a number of seconds"),
        ({"LETTA_LLM_REQUEST_TIMEOUT_SECONDS": "nan"}, "LETTA_LLM_REQUEST_TIMEOUT_SECONDS"),
    ],
)
def test_values_of_no_use_are_named(variables: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as raised:
        Catalog(variables)
    assert words in raised.value.message


def test_each_provider_gets_its_own_key_and_headers() -> None:
    async def go() -> tuple[Asked, Asked]:
        async with serving(lists(OPENAI_LIST)) as one, serving(lists({})) as two:
            environment = {
                "OPENAI_BASE_URL": one.url,
                "OPENAI_API_KEY": "first",
                "PERDURE_PROVIDER_OPENROUTER_BASE_URL": two.url,
                "OPENROUTER_API_KEY": "second",
                "OPENROUTER_TITLE": "Mine",
            }
            async with cataloguing(environment) as catalog:
                await catalog.models(TENANT)
                return one.asked[0], two.asked[0]

    first, second = run(go())
    assert first.headers["authorization"] == "Bearer first"
    assert second.headers["authorization"] == "Bearer second"
    assert (second.headers["x-title"], second.path) == ("Mine", "/v1/models")


def dialects(environment: Mapping[str, str], *models: str) -> list[str]:
    """What each of these models of the first provider is asked in."""

    async def go() -> list[str]:
        async with cataloguing(environment) as catalog:
            provider = catalog.providers[0]
            assert isinstance(provider, RemoteProvider)
            return [provider.kind.dialect_of(model) for model in models]

    return run(go())


@pytest.mark.parametrize(
    ("variables", "reasoning", "ordinary"),
    [
        ({"OPENAI_API_KEY": "k"}, "openai_responses", "openai_chat"),
        (
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://eu.api.openai.com/v1"},
            "openai_responses", "openai_chat",
        ),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:8000"}, "openai_chat", "openai_chat"),
        ({"OPENAI_BASE_URL": "https://notapi.openai.com.example"}, "openai_chat", "openai_chat"),
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:8000", "PERDURE_PROVIDER_OPENAI_DIALECT": "openai_responses"},
            "openai_responses", "openai_responses",
        ),
        ({"OPENAI_API_KEY": "k", "PERDURE_PROVIDER_OPENAI_DIALECT": "openai_chat"}, "openai_chat", "openai_chat"),
        ({"AZURE_BASE_URL": "https://mine.openai.azure.com"}, "openai_responses", "openai_chat"),
        ({"VLLM_API_BASE": "http://127.0.0.1:8000"}, "openai_chat", "openai_chat"),
    ],
)  # fmt: skip
def test_what_models_are_asked_in(variables: dict[str, str], reasoning: str, ordinary: str) -> None:
    said = dialects(variables, "gpt-5", "o3-mini", "gpt-6-astra", "gpt-5-chat-latest", "gpt-4o", "gpt-35-turbo")
    assert said == [reasoning] * 3 + [ordinary] * 3


@pytest.mark.parametrize("address", ["", "/", "/openai/v1", "/openai/v1/"])
def test_azure_is_asked_under_its_v1_api_with_its_own_header(address: str) -> None:
    async def go() -> list[Asked]:
        listing = {"data": [{"id": "mine", "model": "gpt-5.4"}, {"id": "vectors", "model": "text-embedding-3-large"}]}
        places = {"/openai/deployments?api-version=2023-03-15-preview": listing}
        async with serving(lists(places)) as server:
            environment = {
                "AZURE_BASE_URL": f"{server.url}{address}", "AZURE_API_KEY": "sesame", "AZURE_API_VERSION": "2024-10-21"
            }  # fmt: skip
            async with cataloguing(environment) as catalog:
                models, vectors = await catalog.models(TENANT), await catalog.embedding_models(TENANT)
                assert [(each.handle, each.context_window) for each in models[:-1]] == [("azure/mine", 1_050_000)]
                assert [(each.handle, each.dimensions) for each in vectors] == [("azure/vectors", 3072)]
                assert (models[0].provider_type, models[0].endpoint_type) == ("azure", "azure")
                assert models[0].endpoint == f"{server.url}/openai/v1"
                return server.asked

    for asked in run(go()):
        assert asked.headers["api-key"] == "sesame"
        assert "authorization" not in asked.headers


def test_credentials_in_an_address_become_a_header() -> None:
    async def go() -> tuple[Asked, ProviderReport]:
        async with serving(lists(OPENAI_LIST)) as server:
            address = server.url.replace("http://", "http://me:s%20cret@")
            async with cataloguing({"OPENAI_BASE_URL": f"{address}/v1"}) as catalog:
                return (await catalog.report(TENANT))[0], server.asked[0]

    report, asked = run(go())
    assert asked.headers["authorization"] == "Basic bWU6cyBjcmV0"
    assert "cret" not in str(report)


def test_a_window_and_a_tool_choice_can_be_set_by_hand() -> None:
    models = listed(
        OPENAI_LIST,
        "PERDURE_PROVIDER_BOX_BASE_URL",
        PERDURE_PROVIDER_BOX_CONTEXT_WINDOW="9000",
        PERDURE_PROVIDER_BOX_TOOL_CHOICE="auto",
    )
    assert windows(models[:-1]) == {"box/gpt-4o": 9000, "box/qwen": 9000}
