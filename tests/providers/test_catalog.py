import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from perdure.domain.errors import Invalid, ModelError, NotFound
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.messages import Message, TextPart
from perdure.domain.models import EmbeddingModel, Model
from perdure.providers import handles, source
from perdure.providers.base import AnyDelta, Finished, ModelRequest, TextDelta
from perdure.providers.catalog import ProviderReport
from tests.providers.cataloguing import (
    OPENAI_LIST,
    cataloguing,
    refused,
    resolved,
    serving_lists,
)
from tests.providers.scripted import events, lists, plain, run, says, serving, streams


@pytest.mark.parametrize("handle", ["gpt-4o", "", "/gpt-4o", "openai/"])
def test_a_handle_of_the_wrong_form_is_told_the_right_one(handle: str) -> None:
    error = refused(handle)
    assert isinstance(error, Invalid)
    assert "'openai/gpt-4o'" in error.message


def test_a_bare_name_is_told_whose_it_may_be() -> None:
    async def go() -> str:
        async with serving_lists(OPENAI_LIST) as (catalog, _):
            await catalog.models(TENANT)
            with pytest.raises(Invalid) as raised:
                await catalog.resolve(TENANT, "qwen")
            return raised.value.message

    assert "did you mean 'openai/qwen'?" in run(go())


def test_near_names_come_first_in_what_is_available_also_those_of_other_providers() -> None:
    async def go() -> str:
        names = [*(f"m-{number}" for number in range(30)), "llama3.1:8b-instruct", "llama3.1:8b"]
        async with serving_lists({"/v1/models": {"data": [{"id": name} for name in names]}}) as (catalog, _):
            assert (await catalog.resolve(TENANT, "openai/llama3.1:8b")).name == "llama3.1:8b"
            with pytest.raises(NotFound) as raised:
                await catalog.resolve(TENANT, "ollama/llama3.1:7b")
            return raised.value.message

    assert "Available: 'openai/llama3.1:8b', " in run(go())


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        ("openai/gpt-4o", "set OPENAI_API_KEY to use it"),
        ("ollama/llama3", "set OLLAMA_BASE_URL to use it"),
        ("my-box/x", "set PERDURE_PROVIDER_MY_BOX_BASE_URL"),
        ("local/other", "local does not list it"),
    ],
)
def test_what_nobody_serves_is_not_found_and_says_what_to_do(handle: str, words: str) -> None:
    error = refused(handle)
    assert isinstance(error, NotFound)
    assert words in error.message
    assert "'local/tiny'" in error.message


def test_no_more_than_ten_handles_are_named_those_of_the_provider_first() -> None:
    async def go() -> str:
        data = [{"id": f"model-{n}"} for n in range(30)]
        async with serving_lists({"/v1/models": {"data": data}}) as (catalog, _):
            with pytest.raises(NotFound) as raised:
                await catalog.resolve(TENANT, "openai/none-such")
            return raised.value.message

    message = run(go())
    assert message.count("'openai/model-") == 10
    assert "and 21 more" in message


def test_listed_models_resolve_also_through_the_alias() -> None:
    assert resolved("openai/qwen", OPENAI_LIST).handle == "openai/qwen"
    assert resolved("openai-proxy/qwen", OPENAI_LIST).handle == "openai/qwen"


def test_given_providers_resolve() -> None:
    async def go() -> Model:
        async with cataloguing({}) as catalog:
            return await catalog.resolve(TENANT, "local/tiny")

    assert run(go()).context_window == 1000


def test_a_server_without_a_list_is_believed() -> None:
    model = resolved("openai/whatever", {"/v1/models": 404})
    assert (model.handle, model.context_window) == ("openai/whatever", 128_000)


def test_a_known_name_needs_its_list_behind_another_address_but_not_at_openai() -> None:
    with pytest.raises(NotFound):
        resolved("openai/gpt-4.1", OPENAI_LIST)
    assert resolved("openai/gpt-4.1", {"/v1/models": 500}).context_window == 1_047_576

    async def go() -> tuple[Model, EmbeddingModel]:
        async with cataloguing({"OPENAI_API_KEY": "k"}) as catalog:
            known = await catalog.resolve(TENANT, "openai/gpt-4o-2024-08-06")
            return known, await catalog.resolve_embedding(TENANT, "openai/text-embedding-3-small")

    model, embedding = run(go())
    assert model.endpoint == "https://api.openai.com/v1"
    assert embedding.dimensions == 1536


def test_embedding_handles() -> None:
    async def go() -> tuple[EmbeddingModel, str]:
        async with serving_lists(OPENAI_LIST) as (catalog, _):
            with pytest.raises(NotFound) as raised:
                await catalog.resolve_embedding(TENANT, "openai/gpt-4o")
            return await catalog.resolve_embedding(TENANT, "openai/text-embedding-3-large"), raised.value.message

    model, message = run(go())
    assert (model.dimensions, model.endpoint_type) == (3072, "openai")
    assert "'openai/text-embedding-3-large'" in message
    assert "text-embedding-3-small" in str(refused("small", embedding=True))


def test_a_model_pulled_a_moment_ago_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "MISS_SECONDS", 0.0)

    async def go() -> Model:
        replies: dict[str, Any] = {"/v1/models": {"data": []}}
        async with serving_lists(replies) as (catalog, _):
            await catalog.models(TENANT)
            replies["/v1/models"] = OPENAI_LIST["/v1/models"]
            return await catalog.resolve(TENANT, "openai/qwen")

    assert run(go()).name == "qwen"


def test_lists_are_asked_for_once_however_many_want_them() -> None:
    async def go() -> int:
        async with serving_lists(OPENAI_LIST) as (catalog, server):
            await asyncio.gather(*(catalog.models(TENANT) for _ in range(10)))
            await catalog.resolve(TENANT, "openai/qwen")
            return len(server.asked)

    assert run(go()) == 1


def test_a_provider_that_fails_is_left_out_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    monkeypatch.setattr(source, "FAILURE_SECONDS", 0.0)

    async def go() -> list[str]:
        replies: dict[str, Any] = {"/v1/models": 500}
        async with serving_lists(replies) as (catalog, _):
            for _ in range(3):
                handles = [model.handle for model in await catalog.models(TENANT)]
            replies["/v1/models"] = OPENAI_LIST["/v1/models"]
            await catalog.models(TENANT)
            return handles

    assert run(go()) == ["local/tiny"]
    assert [line["event"] for line in logged()] == ["provider_left_out", "provider_back"]


def test_a_slow_provider_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ASK_SECONDS", 0.5)

    async def go() -> tuple[list[str], str | None]:
        async with serving(says()) as silent, serving(lists(OPENAI_LIST)) as quick:
            environment = {"VLLM_API_BASE": silent.url, "OPENAI_BASE_URL": quick.url}
            async with cataloguing(environment) as catalog:
                handles = [model.handle for model in await catalog.models(TENANT)]
                reports = {row.name: row.error for row in await catalog.report(TENANT)}
                return handles, reports["vllm"] and reports["vllm"].detail

    handles, error = run(go())
    assert handles == ["openai/gpt-4o", "openai/qwen", "local/tiny"]
    assert error == "It did not list its models within 0.5 seconds."


def test_the_report_says_how_each_provider_is_and_never_a_key() -> None:
    async def go() -> list[ProviderReport]:
        async with serving(lists(OPENAI_LIST)) as good, serving(says(plain(401, b'{"error": "who are you"}'))) as bad:
            environment = {
                "OPENAI_BASE_URL": f"{good.url}/v1",
                "OPENAI_API_KEY": "sk-very-secret-and-long",
                "VLLM_API_BASE": bad.url,
            }
            async with cataloguing(environment) as catalog:
                return await catalog.report(TENANT)

    openai, vllm, local = run(go())
    assert (openai.has_key, openai.models, openai.embedding_models) == (
        True,
        ("gpt-4o", "qwen"),
        ("text-embedding-3-large",),
    )
    assert (vllm.has_key, vllm.error and vllm.error.detail, vllm.models) == (False, "who are you", ())
    assert (local.url, local.models) == (None, ("tiny",))
    assert "secret" not in repr([openai, vllm, local])


def default(environment: Mapping[str, str], replies: dict[str, Any] | None = None) -> str:
    async def go() -> str:
        if replies is None:
            async with cataloguing(environment) as catalog:
                return await catalog.default_model(TENANT)
        async with serving_lists(replies, **environment) as (catalog, _):
            return await catalog.default_model(TENANT)

    return run(go())


def test_the_default_model() -> None:
    assert default({}) == "local/tiny"
    assert default({"LETTA_DEFAULT_LLM_HANDLE": "openai/qwen"}, OPENAI_LIST) == "openai/qwen"
    assert default({"PERDURE_DEFAULT_MODEL": "openai/qwen"}, OPENAI_LIST) == "openai/qwen"


def test_with_a_provider_somebody_has_to_choose() -> None:
    with pytest.raises(Invalid) as raised:
        default({}, OPENAI_LIST)
    assert "'openai/gpt-4o', 'openai/qwen', 'local/tiny'" in raised.value.message
    assert "LETTA_DEFAULT_LLM_HANDLE" in raised.value.message


def request_for(model: Model) -> ModelRequest:
    hello = Message(id="m", agent_id="a", role="user", parts=(TextPart(text="Hello"),), created_at=0)
    return ModelRequest(model=model, messages=(hello,))


def test_a_request_goes_to_the_provider_of_its_model() -> None:
    stop = {"choices": [{"delta": {"content": "from there"}, "finish_reason": "stop"}]}

    async def go() -> list[AnyDelta]:
        async with (
            serving(streams(*events(stop, "[DONE]"))) as server,
            cataloguing({"OPENAI_BASE_URL": server.url}) as catalog,
        ):
            there = await catalog.resolve(TENANT, "openai/anything")
            here = await catalog.resolve(TENANT, "local/tiny")
            return [
                d
                for model in (there, here)
                async for batch in catalog.stream(TENANT, request_for(model))
                for d in batch
            ]

    assert run(go()) == [TextDelta("from there"), Finished("stop"), TextDelta("from here"), Finished("stop")]


def test_a_model_of_a_provider_that_is_gone_says_what_to_set() -> None:
    model = Model(
        handle="groq/llama",
        name="llama",
        provider_name="groq",
        provider_type="groq",
        endpoint_type="groq",
        context_window=8192,
    )

    async def go() -> ModelError:
        async with cataloguing({}) as catalog:
            with pytest.raises(ModelError) as raised:
                await anext(catalog.stream(TENANT, request_for(model)))
            return raised.value

    assert "set GROQ_API_KEY" in run(go()).detail
