from typing import Any

import pytest

from perdure.domain.errors import NotFound
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.models import EmbeddingModel
from perdure.providers.catalog import ProviderReport
from perdure.providers.listing import PAGES
from tests.providers.cataloguing import OPENAI_LIST, listed, report_of, resolved, serving_lists, windows
from tests.providers.scripted import Asked, run


def test_openai_style_with_the_given_models_last() -> None:
    models = listed(OPENAI_LIST, OPENAI_API_KEY="k")
    assert [model.handle for model in models] == ["openai/gpt-4o", "openai/qwen", "local/tiny"]
    first = models[0]
    assert (first.provider_type, first.endpoint_type, first.context_window) == ("openai", "openai", 128_000)
    assert first.endpoint is not None
    assert first.endpoint.endswith("/v1")


def test_models_that_cannot_chat_are_left_out_with_a_reason() -> None:
    names = [
        "whisper-1",
        "tts-1",
        "dall-e-3",
        "gpt-4o-realtime-preview",
        "o1-pro",
        "gpt-5-codex",
        "babbage-002",
        "gpt-5.1",
    ]
    report = report_of({"/v1/models": {"data": [{"id": name} for name in names]}}, "OPENAI_BASE_URL", "/v1")
    assert report.models == ("gpt-5.1",)
    assert set(report.refused) == set(names[:-1])
    assert "Responses API" in report.refused["o1-pro"]
    asked_so = {"PERDURE_PROVIDER_OPENAI_DIALECT": "openai_responses"}
    report = report_of({"/v1/models": {"data": [{"id": name} for name in names]}}, "OPENAI_BASE_URL", "/v1", **asked_so)
    assert report.models == ("o1-pro", "gpt-5-codex", "gpt-5.1")


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"context_length": 8192}, 8192),
        ({"context_window": 16384}, 16384),
        ({"max_context_length": 32000}, 32000),
        ({"max_model_len": "many"}, 32_768),
        ({}, 32_768),
    ],
)
def test_context_windows_come_from_the_listing_where_it_has_them(entry: dict[str, Any], window: int) -> None:
    models = listed({"/v1/models": {"data": [{"id": "some/model", **entry}]}}, "VLLM_API_BASE", "")
    assert windows(models[:1]) == {"vllm/some/model": window}


def test_context_windows_by_name_and_for_strangers() -> None:
    data = [{"id": name} for name in ("gpt-4.1-mini", "o3-mini", "gpt-4-0613", "never-heard-of")]
    assert windows(listed({"/v1/models": {"data": data}})[:-1]) == {
        "openai/gpt-4.1-mini": 1_047_576,
        "openai/o3-mini": 200_000,
        "openai/gpt-4-0613": 8_192,
        "openai/never-heard-of": 128_000,
    }


def show(asked: Asked) -> Any:
    shown: dict[str, Any] = {
        "llama3.1:8b": {
            "capabilities": ["completion", "tools"],
            "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        },
        "small:latest": {
            "capabilities": ["completion", "tools"],
            "parameters": "stop x\nnum_ctx    8192",
            "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        },
        "gemma:2b": {"capabilities": ["completion"], "model_info": {}},
        "nomic-embed-text:latest": {
            "capabilities": ["embedding"],
            "model_info": {"general.architecture": "bert", "bert.embedding_length": 512},
        },
        "old:latest": {"template": "{{ if .Tools }}", "model_info": {}},
    }
    return shown.get(asked.json["model"], 500)


OLLAMA = {
    "/api/tags": {"models": [{"name": n} for n in ("llama3.1:8b", "small:latest", "gemma:2b", "old:latest", "odd")]},
    "/api/show": show,
}


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_ollama_is_probed_model_by_model(suffix: str) -> None:
    models = listed(OLLAMA, "OLLAMA_BASE_URL", suffix)[:-1]
    assert windows(models) == {"ollama/llama3.1:8b": 131072, "ollama/small:latest": 8192, "ollama/old:latest": 32_768}
    assert {(model.provider_type, model.endpoint_type) for model in models} == {("ollama", "ollama")}


def test_ollama_models_without_tools_are_refused_with_a_reason() -> None:
    report = report_of(OLLAMA, "OLLAMA_BASE_URL")
    assert report.refused["gemma:2b"] == "has no tool support"
    assert "said 500" in report.refused["odd"]

    async def go() -> str:
        async with serving_lists(OLLAMA, "OLLAMA_BASE_URL", "") as (catalog, _):
            with pytest.raises(NotFound) as raised:
                await catalog.resolve(TENANT, "ollama/gemma:2b")
            return raised.value.message

    message = run(go())
    assert "has no tool support" in message
    assert "'ollama/llama3.1:8b'" in message


def test_what_speaks_only_some_of_ollamas_api_is_believed_to_do_the_rest() -> None:
    tags = {"models": [{"name": "m:latest"}, {"name": "nomic-embed-text:latest"}]}
    report = report_of({"/api/tags": tags}, "OLLAMA_BASE_URL")
    assert (report.models, report.embedding_models, report.refused) == (
        ("m:latest",), ("nomic-embed-text:latest",), {},
    )  # fmt: skip
    assert report_of({"/v1/models": {"data": [{"id": "m"}]}}, "OLLAMA_BASE_URL").models == ("m",)


def test_a_name_without_a_tag_means_the_latest() -> None:
    assert resolved("ollama/small", OLLAMA, variable="OLLAMA_BASE_URL", suffix="").name == "small:latest"


def test_names_that_come_twice_or_could_not_be_stored() -> None:
    names = ["a", "a", "org/b:tag", "with space", "модель", "", None, "nul\0", "two\nlines"]
    report = report_of({"/v1/models": {"data": [{"id": name} for name in names]}}, "VLLM_API_BASE")
    assert report.models == ("a", "org/b:tag", "with space", "модель")


def test_ollama_embedding_models_know_their_dimensions() -> None:
    async def go() -> list[EmbeddingModel]:
        tags = {"models": [{"name": "nomic-embed-text:latest"}, {"name": "llama3.1:8b"}]}
        async with serving_lists({**OLLAMA, "/api/tags": tags}, "OLLAMA_BASE_URL", "") as (catalog, _):
            return await catalog.embedding_models(TENANT)

    [model] = run(go())
    assert (model.handle, model.dimensions) == ("ollama/nomic-embed-text:latest", 512)


@pytest.mark.parametrize("capabilities", [7, 0.5, True])
def test_capabilities_that_are_no_list_are_as_none(capabilities: Any) -> None:
    shown = {"capabilities": capabilities, "template": "{{ .Tools }}"}
    replies = {"/api/tags": {"models": [{"name": "odd"}]}, "/api/show": shown}
    assert windows(listed(replies, "OLLAMA_BASE_URL")[:-1]) == {"ollama/odd": 32_768}


def test_lm_studio_tells_kinds_and_windows() -> None:
    data = [
        {"id": "qwen", "type": "llm", "max_context_length": 32768, "loaded_context_length": 4096},
        {"id": "eyes", "type": "vlm", "max_context_length": 8192},
        {"id": "nomic", "type": "embeddings", "max_context_length": 2048},
    ]
    models = listed({"/api/v0/models": {"data": data}}, "LMSTUDIO_BASE_URL", "")
    assert windows(models[:-1]) == {"lmstudio/qwen": 4096, "lmstudio/eyes": 8192}
    assert models[0].provider_type == "lmstudio_openai"


def test_lm_studio_since_0_4_tells_what_is_loaded_and_how() -> None:
    def instance(length: int) -> dict[str, Any]:
        return {"id": "qwen", "config": {"context_length": length}}

    entries = [
        {
            "type": "llm",
            "key": "qwen",
            "max_context_length": 32768,
            "loaded_instances": [instance(8192), instance(4096)],
        },
        {"type": "llm", "key": "idle/one", "max_context_length": 16384, "loaded_instances": []},
        {"type": "embedding", "key": "nomic", "max_context_length": 2048, "loaded_instances": []},
        {"type": "llm", "display_name": "nameless"},
    ]
    replies = {"/api/v1/models": {"models": entries}, "/api/v0/models": {"data": [{"id": "old"}]}}
    models = listed(replies, "LMSTUDIO_BASE_URL", "/v1")
    assert windows(models[:-1]) == {"lmstudio/qwen": 4096, "lmstudio/idle/one": 16384}
    assert report_of(replies, "LMSTUDIO_BASE_URL").embedding_models == ("nomic",)


def test_a_model_that_ollama_runs_has_the_window_it_was_given() -> None:
    running = {"models": [{"name": "llama3.1:8b", "context_length": 4096}, {"name": "old:latest"}]}
    models = listed({**OLLAMA, "/api/ps": running}, "OLLAMA_BASE_URL", "")[:-1]
    assert windows(models) == {"ollama/llama3.1:8b": 4096, "ollama/small:latest": 8192, "ollama/old:latest": 32_768}


def test_lm_studio_without_that_listing_is_asked_the_plain_way() -> None:
    models = listed({"/v1/models": {"data": [{"id": "qwen"}]}}, "LMSTUDIO_BASE_URL", "/v1")
    assert windows(models[:-1]) == {"lmstudio/qwen": 32_768}


def test_llama_cpp_has_the_window_it_was_started_with() -> None:
    replies = {
        "/v1/models": {"data": [{"id": "m.gguf", "meta": {"n_ctx_train": 131072}}]},
        "/props": {"default_generation_settings": {"n_ctx": 4096}},
    }
    assert windows(listed(replies, "LLAMACPP_BASE_URL", "")[:1]) == {"llamacpp/m.gguf": 4096}
    del replies["/props"]
    assert windows(listed(replies, "LLAMACPP_BASE_URL", "")[:1]) == {"llamacpp/m.gguf": 131072}


def test_llama_cpp_tells_whether_a_template_has_a_place_for_tools() -> None:
    able: dict[str, Any] = {"supports_tools": False, "supports_tool_calls": False}
    replies = {"/v1/models": {"data": [{"id": "m"}]}, "/props": {"chat_template_caps": able}}
    assert report_of(replies, "LLAMACPP_BASE_URL").without_tools == {"m"}
    able["supports_tool_calls"] = True
    assert report_of(replies, "LLAMACPP_BASE_URL").without_tools == set()


def test_a_router_of_llama_cpp_is_not_made_to_load_models() -> None:
    def entry(name: str, value: str, **more: Any) -> dict[str, Any]:
        return {"id": name, "status": {"value": value, "args": ["llama-server", "--ctx-size", "8192"], **more}}

    entries = [
        entry("org/up:Q4", "loaded"), entry("down", "unloaded"), entry("broken", "unloaded", failed=True, exit_code=1),
        {**entry("bge-m3", "loaded"), "meta": {"n_embd": 1024, "n_ctx": 512}},
    ]  # fmt: skip
    own = "/props?model=org/up:Q4&autoload=false"
    replies = {
        "/v1/models": {"data": entries},
        "/props": {"role": "router", "default_generation_settings": {"n_ctx": 7}},
        own: {"default_generation_settings": {"n_ctx": 4096}},
    }

    async def go() -> tuple[ProviderReport, list[str], list[EmbeddingModel]]:
        async with serving_lists(replies, "LLAMACPP_BASE_URL", "") as (catalog, server):
            report = (await catalog.report(TENANT))[0]
            return report, [asked.path for asked in server.asked], await catalog.embedding_models(TENANT)

    report, asked, embedding_models = run(go())
    assert report.windows == {"org/up:Q4": 4096, "down": 8192}
    assert report.refused == {"broken": "did not load (exit code 1)"}
    assert set(asked) == {"/v1/models", own}
    assert [(model.name, model.dimensions) for model in embedding_models] == [("bge-m3", 1024)]


def test_a_bare_list_with_types_and_models_without_tools() -> None:
    data = [
        {"id": "a", "type": "chat", "context_length": 4096},
        {"id": "b", "type": "image"},
        {"id": "c", "supported_parameters": ["temperature"]},
        {"id": "d", "active": False},
        {"id": "e", "type": "embedding"},
        {"nameless": True},
        "nonsense",
    ]
    report = report_of({"/v1/models": data}, "PERDURE_PROVIDER_TOGETHER_BASE_URL")
    assert (report.name, report.models, report.embedding_models) == ("together", ("a",), ("e",))
    assert set(report.refused) == {"b", "c", "d"}


@pytest.mark.parametrize("odd", [{}, [], {"data": None}, {"data": {"id": "x"}}, "text", None])
def test_a_list_that_is_none_is_empty(odd: Any) -> None:
    assert [model.handle for model in listed({"/v1/models": odd})] == ["local/tiny"]


def gemini(name: str, *methods: str, **fields: Any) -> dict[str, Any]:
    return {"name": f"models/{name}", "supportedGenerationMethods": methods, **fields}


def test_google_lists_page_by_page_and_says_what_each_model_is_for() -> None:
    pages = {
        "/v1beta/models?pageSize=1000": {
            "models": [
                gemini("gemini-3.8-flash", "generateContent", "countTokens", inputTokenLimit=1048576),
                gemini("gemini-embedding-001", "embedContent", inputTokenLimit=2048),
                gemini("gemini-3.1-flash-image", "generateContent"),
                gemini("gemini-2.5-flash-preview-tts", "generateContent"),
                gemini("gemma-3-27b-it", "generateContent"),
                gemini("imagen-4.0", "predict"),
                {"name": "tunedModels/mine", "supportedGenerationMethods": ["generateContent"]},
                "nonsense",
            ],
            "nextPageToken": "a+b&c",
        },
        "/v1beta/models?pageSize=1000&pageToken=a%2Bb%26c": {"models": [gemini("gemini-4-argon", "generateContent")]},
    }
    report = report_of(pages, "GEMINI_BASE_URL", GEMINI_API_KEY="k")
    assert report.models == ("gemini-3.8-flash", "gemini-4-argon")
    assert report.embedding_models == ("gemini-embedding-001",)
    assert report.refused == {
        "gemini-3.1-flash-image": "not a chat model",
        "gemini-2.5-flash-preview-tts": "not a chat model",
        "gemma-3-27b-it": "has no tool support",
    }
    models = listed(pages, "GEMINI_BASE_URL", "/v1beta/")
    assert windows(models[:-1]) == {"google_ai/gemini-3.8-flash": 1048576, "google_ai/gemini-4-argon": 1048576}
    assert {(model.provider_type, model.endpoint_type) for model in models[:-1]} == {("google_ai", "google_ai")}


def test_a_list_whose_pages_never_end_is_left() -> None:
    asked: list[str] = []

    def page(question: Asked) -> Any:
        asked.append(question.path)
        return {"models": [gemini(f"gemini-9-{len(asked)}", "generateContent")], "nextPageToken": "again"}

    pages = {"/v1beta/models?pageSize=1000": page, "/v1beta/models?pageSize=1000&pageToken=again": page}
    assert len(listed(pages, "GEMINI_BASE_URL", "")) == len(asked) + 1 == PAGES + 1
